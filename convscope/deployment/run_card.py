"""Runs by what people name, and what is known of a run: images, epochs, figures."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

from convscope.errors import UserError, one_line
from convscope.training import Run, list_runs, runs_named

Named = Run | Path | str


def runs(folder: Path | str) -> list[Run]:
    """The finished runs below a folder of runs, a study or a folder of studies.

    A run that was altered is left out, with a warning. Raises UserError where there is no folder.
    """
    if not Path(folder).is_dir():
        raise UserError(f"folder {one_line(folder)!r}: no such folder; name a folder of runs")
    found: list[Run] = []
    for item in list_runs(Path(folder)):
        if isinstance(item, Run):
            found.append(item)
        else:
            warnings.warn(f"left out: {item}", stacklevel=2)
    return found


def load_run(path: Path | str) -> Run:
    """A finished run by its folder; a study's folder stands for its winner.

    Of several seeds of the winner it is the one of lowest validation loss. Raises UserError where
    there is no finished run, and where one was altered.
    """
    return best_of(seeds_of(path))


def one_run(named: Named) -> Run:
    """The run itself, or that of a folder; UserError for a run that has no network."""
    run = named if isinstance(named, Run) else load_run(named)
    check_finished(run)
    return run


def all_runs(named: Named | Sequence[Named]) -> tuple[Run, ...]:
    """All runs of one configuration that a name stands for, or that are given."""
    if isinstance(named, Run):
        found: tuple[Run, ...] = (named,)
    elif isinstance(named, str | Path):
        found = seeds_of(named)
    else:
        found = tuple(run for one in named for run in all_runs(one))
    if not found:
        raise UserError("runs: none was given; give one or more")
    for run in found:
        check_finished(run)
    return found


def seeds_of(path: Path | str) -> tuple[Run, ...]:
    """The runs of one configuration: of a run's folder one, of a study its winner's."""
    return runs_named(str(path)).runs


def best_of(found: Sequence[Run]) -> Run:
    """The seed of lowest validation loss; without validation images the first seed."""

    def key(run: Run) -> tuple[bool, float, int]:
        loss = run.best.get("val_loss") if run.rows else None
        return loss is None, 0.0 if loss is None else loss, run.recipe.seed

    return min(found, key=key)


def check_finished(run: Run) -> None:
    if run.status != "finished":
        why = f" ({one_line(run.message)})" if run.message else ""
        raise UserError(
            f"run {one_line(run.path)}: {run.status.replace('_', ' ')}{why}; "
            "it has no network to use, name a finished run"
        )
