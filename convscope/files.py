"""Files that are read strictly and written whole: strict JSON, atomic writes, seals."""

from __future__ import annotations

import errno
import functools
import hashlib
import json
import math
import os
import time
from pathlib import Path
from typing import Any

from convscope.errors import UserError, one_line

TICK = 100_000_000  # nanoseconds, more than between two ticks of a file system's clock

WHOLE = 1_000_000  # bytes of a file that is read at once
OPENED = os.O_RDONLY | getattr(os, "O_BINARY", 0)  # the latter on Windows

CANNOT_SYNC = {errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EBADF}  # of a folder

LONG = 500  # items of a list of which each has one line

_hashes: dict[tuple[int, int, int, int, int], str] = {}  # by device, inode, size and times


_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False)


def parse_json(raw: bytes) -> Any:
    """The value of a JSON text in UTF-8, without duplicate keys, NaN, infinities or 1e999.

    Raises UserError, with line and column where the syntax is wrong.
    """
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"not UTF-8 at byte {error.start}") from None
    if not text.strip():
        raise UserError("empty")
    try:
        if text.startswith("\ufeff"):
            return json.loads(text)  # which says what is wrong
        return _decoder().decode(text)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise UserError(f"not JSON at {place}: {error.msg}") from None
    except UserError:
        raise
    except RecursionError:
        raise UserError("JSON that is nested too deep") from None
    except ValueError:  # Python's limit on the digits of a whole number
        raise UserError("JSON with a number of too many digits") from None


@functools.cache
def _decoder() -> json.JSONDecoder:
    """Made once: folders hold tens of thousands of small files."""
    return json.JSONDecoder(
        object_pairs_hook=_without_duplicates,
        parse_constant=_refused_constant,
        parse_float=_finite,
    )


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for key, value in pairs:
        if key in tree:
            raise UserError(f"key {one_line(key)!r} stands twice")
        tree[key] = value
    return tree


def _refused_constant(token: str) -> Any:
    raise UserError(f"{token} is not a JSON number")


def _finite(token: str) -> float:
    if not math.isfinite(number := float(token)):
        raise UserError(f"{token} is beyond the range of numbers")
    return number


def dump(value: Any) -> bytes:
    """`value` as canonical JSON: keys sorted, no blanks; ValueError for NaN and infinities."""
    return _ENCODER.encode(value).encode()


def seal(result: dict[str, Any]) -> str:
    """SHA-256 of all keys but "seal": finds accidents and edits, not forgers."""
    return hashlib.sha256(dump({k: v for k, v in result.items() if k != "seal"})).hexdigest()


def content_of(path: str) -> bytes:
    """A small file's content, in half the time of `Path.read_bytes`: folders hold thousands.

    Raises OSError.
    """
    file = os.open(path, OPENED)
    try:
        return _rest_of(file)
    finally:
        os.close(file)


def _rest_of(file: int) -> bytes:
    parts = []
    while part := os.read(file, 1 << 16):
        parts.append(part)
    return b"".join(parts)


def sha256_of(path: Path | str) -> str:
    """SHA-256 of a file's content; a file that has not changed is read once in this process.

    Raises OSError.
    """
    file = os.open(path, OPENED)
    try:
        found = os.fstat(file)
        times = found.st_mtime_ns, found.st_ctime_ns
        key = found.st_dev, found.st_ino, found.st_size, *times
        if key in _hashes:
            return _hashes[key]
        if found.st_size < WHOLE:
            digest = hashlib.sha256(_rest_of(file)).hexdigest()
        else:
            with open(file, "rb", closefd=False) as whole:
                digest = hashlib.file_digest(whole, "sha256").hexdigest()
    finally:
        os.close(file)
    # two changes within a tick of the file system's clock have one time between them
    if abs(time.time_ns() - found.st_mtime_ns) > TICK:
        _hashes[key] = digest
    return digest


def set_aside(path: Path, why: str) -> Path:
    """Rename what cannot be trusted, never to be used, never lost; returns its new path.

    path: a file or a folder.
    why: the reason, kept in a file beside it that ends in .why.
    """
    aside = path.with_name(f"{path.name}.set-aside-{time.time_ns()}")
    path.rename(aside)
    write_bytes(aside.with_name(aside.name + ".why"), (one_line(why, 1000) + "\n").encode())
    return aside


def write_json(path: Path, value: Any, indent: int = 2) -> None:
    """Write `value` as indented JSON, as `write_bytes` does; ValueError for NaN and infinities.

    Of a long list each item has one line, which is much quicker where there are thousands.
    """
    write_bytes(path, (indented(value, " " * indent) + "\n").encode())


def indented(value: Any, step: str, margin: str = "") -> str:
    """JSON over several lines, but for the items of long lists.

    step: what each level is set in by.
    margin: of the line that it begins in.
    """
    inner = margin + step
    if isinstance(value, dict) and value:
        pairs = [f"{_text(str(key))}: {indented(item, step, inner)}" for key, item in value.items()]
        return "{\n" + ",\n".join(inner + pair for pair in pairs) + f"\n{margin}}}"
    if isinstance(value, list | tuple) and value:
        whole = len(value) < LONG
        items = [indented(item, step, inner) if whole else _text(item) for item in value]
        return "[\n" + ",\n".join(inner + item for item in items) + f"\n{margin}]"
    return _text(value)


_text = json.JSONEncoder(allow_nan=False).encode  # without indentation it runs as C


def write_bytes(path: Path, content: bytes, sync: bool = True) -> None:
    """Write a file whole: whatever happens, it has its old content or its new one.

    path: the file; its folder is there.
    content: all of its bytes.
    sync: wait until the disk has them. Without it, a loss of power may tear the file: for
        what can be made again.
    """
    part = path.with_name(f"{path.name}.part")
    with part.open("wb") as file:
        file.write(content)
        file.flush()
        if sync:
            os.fsync(file.fileno())
    part.replace(path)
    if sync:
        sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Wait until the disk has the folder's entries.

    Not on Windows, which cannot open a folder, nor on a network's file system that cannot do so.
    """
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in CANNOT_SYNC:
            raise
    finally:
        os.close(descriptor)
