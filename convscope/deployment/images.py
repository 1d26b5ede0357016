"""The images that people name: files, folders, archives, standard input."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from convscope.data import is_archive, is_hidden, is_image, opened_archive, text_of
from convscope.errors import UserError, one_line
from convscope.words import count

STDIN = "-"
SNIFFED = 512  # bytes
ARCHIVES = {  # how an archive begins -> the ending by which it is read
    b"PK\x03\x04": ".zip",
    b"\x1f\x8b": ".tar.gz",
    b"BZh": ".tar.bz2",
    b"\xfd7zXZ\x00": ".tar.xz",
}
TAR_MAGIC = (257, b"ustar")  # where it stands, and what
MOST_LINE = 4096  # bytes of a path


@dataclass
class Found:
    """Image files, in order.

    paths: where they are.
    names: what they are called in results.
    notes: what was left out, sentences without the full stop.
    """

    paths: list[Path] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, path: Path, name: str) -> None:
        self.paths.append(path)
        self.names.append(text_of(name))


@contextlib.contextmanager
def image_files(given: Sequence[str | Path]) -> Iterator[Found]:
    """The image files that these names stand for; unpacked ones are there as long as it is open.

    given: files, folders (with all below them), archives (.zip, .tar, .tar.gz …), or "-": standard
        input, which is an image, an archive, or a path on each line.

    Raises UserError for what is not there and for a folder or archive without images.
    """
    found = Found()
    with tempfile.TemporaryDirectory(prefix="convscope-") as workspace:
        for place, name in enumerate(given):
            add_named(found, str(name), Path(workspace) / str(place))
        if not found.paths:
            raise UserError("no images: name files, folders, archives, or - for standard input")
        yield found


def add_named(found: Found, name: str, workspace: Path) -> None:
    """Add what one name stands for."""
    if name == STDIN:
        add_stdin(found, workspace)
        return
    path, shown = Path(name), one_line(name)
    try:
        kind = "folder" if path.is_dir() else "file" if path.exists() else ""
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise UserError(f"images {shown!r}: {why}") from None
    if not kind:
        raise UserError(f"images {shown!r}: no such file or folder")
    if kind == "folder":
        add_folder(found, name)
    elif is_archive(path):
        add_archive(found, path, name, workspace)
    else:
        found.add(path, name)


def add_folder(found: Found, folder: str) -> None:
    """Add the images below a folder, in order of their names; links to folders are not followed."""
    before, hidden, other = len(found.paths), 0, 0
    for here, folders, files in os.walk(folder):
        hidden += sum(map(is_hidden, folders)) + sum(map(is_hidden, files))
        folders[:] = sorted((one for one in folders if not is_hidden(one)), key=os.fsencode)
        for file in sorted(files, key=os.fsencode):
            if is_hidden(file):
                continue
            if is_image(file):
                path = Path(here, file)
                found.add(path, str(path))
            else:
                other += 1
    check_some(found, before, f"images {one_line(folder)!r}: no images in this folder")
    note_skipped(found, folder, hidden, other)


def add_archive(found: Found, path: Path, shown: str, workspace: Path) -> None:
    """Add the images of an archive, which are unpacked below the workspace."""
    before = len(found.paths)
    with opened_archive(path) as archive:
        hidden = [n for n in archive.sizes if any(map(is_hidden, PurePosixPath(n).parts))]
        seen = sorted(set(archive.sizes) - set(hidden), key=os.fsencode)
        wanted = {n: workspace / f"{i:08d}" for i, n in enumerate(seen) if is_image(n)}
        workspace.mkdir(exist_ok=True)
        archive.unpack(wanted, None)
    for member, file in wanted.items():
        found.add(file, f"{shown}/{member}")
    check_some(found, before, f"images {one_line(shown)!r}: no images in this archive")
    note_skipped(found, shown, len(hidden), len(seen) - len(wanted))


def check_some(found: Found, before: int, message: str) -> None:
    if len(found.paths) == before:
        raise UserError(message)


def note_skipped(found: Found, place: str, hidden: int, other: int) -> None:
    parts = [(hidden, "hidden entry", "hidden entries"), (other, "file that is no image", "")]
    plural = {"file that is no image": "files that are no images"}
    said = [count(n, one, many or plural.get(one, "")) for n, one, many in parts if n]
    if said:
        found.notes.append(f"{one_line(place)}: skipped {' and '.join(said)}")


def add_stdin(found: Found, workspace: Path) -> None:
    """Add what standard input holds."""
    workspace.mkdir(exist_ok=True)
    file = workspace / "stdin"
    with file.open("wb") as target:
        shutil.copyfileobj(sys.stdin.buffer, target)
    with file.open("rb") as source:
        start = source.read(SNIFFED)
    if not start.strip():
        raise UserError("images '-': standard input is empty; send an image, an archive or paths")
    ending = next((kind for magic, kind in ARCHIVES.items() if start.startswith(magic)), "")
    if start[TAR_MAGIC[0] :].startswith(TAR_MAGIC[1]):
        ending = ".tar"
    if ending:
        archive = file.rename(file.with_name(f"stdin{ending}"))
        add_archive(found, archive, "standard input", workspace / "unpacked")
    elif is_text(start):
        add_lines(found, file.read_bytes())
    else:
        found.add(file, "standard input")


def is_text(start: bytes) -> bool:
    """Whether these bytes may be paths: no zero byte, and a first line as short as a path."""
    first = start.split(b"\n", 1)[0].rstrip(b"\r")
    netpbm = len(first) >= 2 and first[:1] == b"P" and first[1:2].isdigit() and len(first) == 2
    printable = all(byte >= 32 or byte in b"\t\r\n" for byte in start)
    return printable and not netpbm and len(first) <= MOST_LINE


def add_lines(found: Found, content: bytes) -> None:
    """Add the files that are named, a path on each line."""
    for line in content.splitlines():
        if name := os.fsdecode(line).strip():
            if name == STDIN:
                raise UserError("images '-': a line of standard input is '-'; write paths")
            path = Path(name)
            if not path.is_file():
                raise UserError(f"images {one_line(name)!r}: no such file, of standard input")
            found.add(path, name)
