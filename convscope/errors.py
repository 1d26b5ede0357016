"""Errors that are the user's, texts that fit one line, and lines on standard error."""

from __future__ import annotations

import sys
from collections.abc import Iterable


class UserError(ValueError):
    """The user's input is wrong: one line that repeats the input and says what would work."""


def one_line(text: object, limit: int = 200) -> str:
    """`text` printable on one line: control characters escaped, long texts cut in the middle.

    text: anything; its `str` is shown.
    limit: most characters that are shown whole.
    """
    shown = str(text)
    if not shown.isprintable():
        shown = "".join(
            c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode()
            for c in shown
        )
    return shown if len(shown) <= limit else f"{shown[: limit // 2]}…{shown[-limit // 3 :]}"


def say(text: str) -> None:
    """A line on standard error. Work goes on where that cannot take it, as on a full disk.

    Raises BrokenPipeError where its reader has gone.
    """
    try:
        print(text, file=sys.stderr, flush=True)
    except BrokenPipeError:
        raise
    except OSError:
        return


def did_you_mean(word: object, known: Iterable[str]) -> str:
    """The end of a message: "; did you mean 'cifar10'?", or "; known: a, b" where none is near.

    word: what the user gave.
    known: the names that would work.
    """
    import difflib

    known = list(known)
    near = difflib.get_close_matches(str(word), known, n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else f"; known: {', '.join(known)}"
