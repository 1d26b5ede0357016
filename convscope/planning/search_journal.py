"""The search's trials in a file that optuna-dashboard opens, and Optuna's messages kept quiet."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from convscope.errors import one_line

if TYPE_CHECKING:
    from optuna import Study

# Hyperband assigns brackets by name and number: a fixed name makes them reproducible
STUDY_NAME = "convscope"

JOURNAL = "search.journal"


class Journal:
    """The search's trials in a file that optuna-dashboard opens, in their order.

    A trial is written once it and all before it have ended. A file that cannot be written ends the
    journal and never the search; `problem` says why.
    path: of the file; None: nothing is written.
    """

    def __init__(self, path: Path | None) -> None:
        self.path, self.written, self.problem = path, 0, ""
        self.copy: Study | None = None
        with self.guarded():
            if path is not None:
                self.copy = self.fresh(path)

    def fresh(self, path: Path) -> Study:
        import optuna
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend

        # those of an earlier process; the study's own lock keeps others out
        for old in (path, path.with_name(f"{path.name}.lock")):
            old.unlink(missing_ok=True)
        return optuna.create_study(
            study_name=STUDY_NAME, storage=JournalStorage(JournalFileBackend(str(path)))
        )

    def write(self, study: Study) -> None:
        with self.guarded():
            trials = study.get_trials(deepcopy=False) if self.copy is not None else []
            while (
                self.copy is not None
                and self.written < len(trials)
                and trials[self.written].state.is_finished()
            ):
                self.copy.add_trial(trials[self.written])
                self.written += 1

    @contextlib.contextmanager
    def guarded(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError, RuntimeError, KeyError) as error:
            # a full disk, no rights, a file that somebody else has changed
            self.copy, self.problem = None, one_line(error)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Optuna says nothing meanwhile; its verbosity is left as it was."""
    import optuna

    level = optuna.logging.get_verbosity()
    with warnings.catch_warnings():
        # what is experimental or deprecated in Optuna is tested with the versions that we allow
        warnings.simplefilter("ignore")
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        try:
            yield
        finally:
            optuna.logging.set_verbosity(level)
