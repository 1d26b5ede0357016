"""What is said when a command cannot go on."""

from __future__ import annotations

import errno
import re
import sys

import typer

from convscope.cli.start import typed
from convscope.errors import one_line

DISK_ERRORS = {
    errno.ENOSPC,
    errno.EFBIG,
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
    errno.EIO,
    getattr(errno, "EDQUOT", errno.ENOSPC),
}
# typer brings its own click; the base of its public BadParameter is the same class wherever it
# comes from
USAGE_ERROR: type[typer.BadParameter] = next(  # pyright: ignore[reportAssignmentType]
    cls for cls in typer.BadParameter.__mro__ if cls.__name__ == "ClickException"
)


def usage_message(error: typer.BadParameter) -> str:
    """The parser's message on one line, with the value that was given."""
    return one_line(with_value(error, " ".join(error.format_message().split())), 400)


def with_value(error: Exception, message: str) -> str:
    """The message with the value that was given, where the parser leaves it out."""
    for option in getattr(getattr(error, "param", None), "opts", []):
        for word, following in zip(sys.argv, [*sys.argv[1:], ""], strict=True):
            joined = word.partition("=")[2] if word.startswith(f"{option}=") else ""
            value = following if word == option else joined
            if value and value not in message:
                return f"{option} {value!r}: {message}"
    return message


def disk_message(error: OSError) -> str:
    place = f"{one_line(error.filename)}: " if error.filename else ""
    return f"{place}{error.strerror}; what was written before is unchanged, go on with: {typed()}"


def output_lost(error: OSError) -> str:
    return f"standard output: {error.strerror}; what was printed is not all there"


def unloadable(error: ImportError) -> str:
    """What is said where a compiled library cannot be loaded; "" of other imports that fail."""
    text = one_line(error, 200)
    if isinstance(error, ModuleNotFoundError) or not re.search(r"\.(so|dylib|dll|pyd)\b|DLL", text):
        return ""
    return (
        f"a library cannot be loaded: {text}; give the process more memory (ulimit -v), or "
        "install torch and numpy again"
    )
