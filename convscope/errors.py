"""Errors that are the user's, and texts that fit one line."""

from __future__ import annotations

import typing


class UserError(ValueError):
    """The user's input is wrong. The message is one line that repeats the input and says what would work."""


def one_line(text: object, limit: int = 200) -> str:
    """Printable on one line: control characters escaped, long values cut in the middle."""
    shown = "".join(
        c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode()
        for c in str(text)
    )
    return shown if len(shown) <= limit else f"{shown[: limit // 2]}…{shown[-limit // 3 :]}"


def did_you_mean(word: object, known: typing.Iterable[str]) -> str:
    """'; did you mean …?' with the nearest known name, or the list of names."""
    import difflib

    known = list(known)
    near = difflib.get_close_matches(str(word), known, n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else f"; known: {', '.join(known)}"
