"""Standard streams as they are found: closed, missing, or of an encoding that lacks our signs."""

from __future__ import annotations

import codecs
import contextlib
import errno
import os
import sys
from typing import Any

# what stands for a sign where the encoding has no such sign; others become "?"
PLAIN = {
    "×": "x",
    "→": "->",
    "←": "<-",
    "–": "-",
    "—": "-",
    "−": "-",
    "·": "*",
    "…": "...",
    "≤": "<=",
    "≥": ">=",
    "≈": "~",
    "≠": "!=",
    "±": "+-",
    "√": "sqrt ",
    "σ": "sigma",
    "μ": "mu",
    "“": '"',
    "”": '"',
    "„": '"',
    "‘": "'",
    "’": "'",
    "²": "^2",
    "³": "^3",
    "é": "e",
    "\u00a0": " ",
    "\u202f": " ",
}
IN_PLAIN_SIGNS = "convscope-plain"  # the name under which codecs knows `plain_signs`


def settle_streams() -> None:
    """Give the process streams that can be written: no command fails for want of one.

    A closed descriptor is opened on the null device, for a file that is opened later would take
    its number and be sent what libraries print.
    """
    for descriptor in range(3):
        if not is_usable(descriptor):
            with contextlib.suppress(OSError):
                null = os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
                if null != descriptor:
                    os.dup2(null, descriptor)
                    os.close(null)
    codecs.register_error(IN_PLAIN_SIGNS, plain_signs)
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream = getattr(sys, name)
        if stream is None or getattr(stream, "closed", False):
            null = os.open(os.devnull, os.O_RDWR)
            setattr(sys, name, os.fdopen(null, mode, encoding="utf-8", errors="replace"))
        elif mode == "w":
            write_plainly(stream)


def drop_what_is_unwritten() -> None:
    """What a full disk has not taken goes nowhere: else Python fails once more at its end."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def is_usable(descriptor: int) -> bool:
    """Whether a standard descriptor is open, those of output to be written.

    A full disk behind it is none of its faults: what is written later says so.
    """
    try:
        os.fstat(descriptor)
        if descriptor:
            os.write(descriptor, b"")
    except OSError as error:
        return error.errno != errno.EBADF
    return True


def write_plainly(stream: Any) -> None:
    """Have a stream replace the signs that its encoding lacks."""
    if hasattr(stream, "reconfigure"):
        with contextlib.suppress(OSError, ValueError):
            stream.reconfigure(errors=IN_PLAIN_SIGNS)


def plain_signs(error: UnicodeError) -> tuple[str, int]:
    """What is written for the signs that could not be encoded, and where to go on."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    failed = error.object[error.start : error.end]
    return "".join(PLAIN.get(sign, "?") for sign in failed), error.end
