"""Evidence that is missing: noted where it is looked for in vain, collected where it is reported.

Whoever goes on without a run's weights or answers, because they were altered or cannot be computed
on this machine, says so here. Who has the analysis done collects it, and the report says it beside
the verdict.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar

from convscope.errors import UserError, one_line
from convscope.training.runs import Run

_notes: ContextVar[list[str] | None] = ContextVar("notes", default=None)


def note_missing(what: object) -> None:
    """Note, in one line, evidence that an analysis goes on without.

    It goes to the innermost `missing_evidence`, once; nowhere without one.
    """
    notes, line = _notes.get(), one_line(what, 500)
    if notes is not None and line not in notes:
        notes.append(line)


def note_unreadable(what: str, run: Run, error: UserError) -> None:
    """Note that something of a run is missing, and why; without the path, a page's is another."""
    path = one_line(run.path)
    why = str(error).removeprefix(f"run {path}: ").replace(f"{path}/", "")
    note_missing(f"{what} of run {run.id}: {why}")


@contextlib.contextmanager
def missing_evidence(notes: list[str] | None = None) -> Iterator[list[str]]:
    """A list of what is noted inside; `notes` goes on with an earlier list."""
    found = [] if notes is None else notes
    token = _notes.set(found)
    try:
        yield found
    finally:
        _notes.reset(token)
