"""Evidence that is missing: noted where it is looked for in vain, collected where it is reported.

Whoever goes on without a run's weights or answers, because they were altered or cannot be computed
on this machine, says so here. Who has the analysis done collects it, and the report says it beside
the verdict.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar

from convscope.errors import one_line

_notes: ContextVar[list[str] | None] = ContextVar("notes", default=None)


def note_missing(what: object) -> None:
    """Note, in one line, evidence that an analysis goes on without.

    It goes to the innermost `missing_evidence`, once; nowhere without one.
    """
    notes, line = _notes.get(), one_line(what, 500)
    if notes is not None and line not in notes:
        notes.append(line)


@contextlib.contextmanager
def missing_evidence(notes: list[str] | None = None) -> Iterator[list[str]]:
    """A list of what is noted inside; `notes` goes on with an earlier list."""
    found = [] if notes is None else notes
    token = _notes.set(found)
    try:
        yield found
    finally:
        _notes.reset(token)
