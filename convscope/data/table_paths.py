"""The paths of a table's rows: put together, made whole, and looked for."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Sequence
from pathlib import Path

from convscope.data.columns import FIELD
from convscope.data.layout import split_of
from convscope.data.listing import quoted
from convscope.data.tables import Table
from convscope.errors import UserError, one_line

TRIED = 50  # first rows by which the column of paths is chosen, and folders that are looked into

# of a folder and a name in it: what is wrong with the file ("" for nothing) and its stamp; None
# where it is missing
Look = Callable[[str, str], tuple[str, str] | None]


def paths_of(table: Table, given: str) -> list[str]:
    """The paths of the rows: a column, or a text with columns in braces."""
    if given in table.header:
        return [plain_path(text) for text in table[given]]
    names = FIELD.findall(given)
    if not names:
        raise UserError(
            f"{table.shown}: has no column {one_line(given)!r}; its columns are "
            f"{quoted(table.header)}; put columns of a longer path in braces, images/{{id}}.jpg"
        )
    cells = zip(*(table[name] for name in names), strict=True)
    pieces = FIELD.split(given)[::2]
    return [
        "".join(p + c.strip() for p, c in zip(pieces, (*row, ""), strict=True)) for row in cells
    ]


def plain_path(text: str) -> str:
    """A path without spaces around it, with slashes where it was written on Windows."""
    return text.strip().replace("\\", "/")


def full_path(path: str, folder: Path, folders: dict[str, str]) -> str:
    """The full path without "." and ".."; `folders` keeps those of the folders, for speed."""
    head, slash, name = path.rpartition("/")
    if name in ("", ".", "..") or os.sep != "/":
        return os.path.normpath(folder / path) if path else ""
    if head not in folders:
        folders[head] = os.path.normpath(folder / (head + slash))
    return f"{folders[head]}/{name}"


def start_elsewhere(paths: Sequence[str], folder: Path, look: Look) -> str:
    """The folders of another machine with which all paths begin; "" where they are of this one.

    That is so where no file is there as its path says and some are there without these folders.

    paths: of all rows.
    folder: where relative paths start.
    look: tells whether a file is there.
    """
    tried = [path.split("/") for path in paths[:TRIED] if path]

    def there(count: int) -> bool:
        cut = (full_path("/".join(parts[count:]), folder, {}) for parts in tried)
        return any(look(*os.path.split(path)) is not None for path in cut)

    if not tried or there(0):
        return ""
    for count in range(1, min(map(len, tried))):
        start = "/".join([*tried[0][:count], ""])
        if all(path.startswith(start) for path in paths if path) and there(count):
            return start
    return ""


def remedy(table: Table, column: str, first: str) -> str:
    """What would find the first file: a folder beside the table, another ending, or both."""
    folder = Path(table.shown).parent
    place, name = os.path.split(os.path.normpath(folder / first))
    for entry in Disk().entries(place):
        if entry.casefold() == name.casefold():
            return f"{one_line(entry, 80)!r} is there: write the names in the same letters"
    fits = f"say --columns 'path=FOLDER/{{{column}}}.jpg' with a folder and an ending that fit"
    if column not in table.header or not folder.is_dir():
        return fits
    meant = split_of(Path(table.shown).stem) or ("train", "")

    def rank(place: Path) -> tuple[int, str]:
        """Names are the same in train/ and test/: those of the table's own split come first."""
        said = split_of(place.name)
        return (1 if said is None else 2 * (said[0] != meant[0])), place.name

    places = sorted((entry for entry in folder.iterdir() if entry.is_dir()), key=rank)[:TRIED]
    for place in (folder, folder.parent, *places):
        for ending in ("", ".jpg", ".jpeg", ".png", ".JPG", ".tif", ".bmp"):
            path = os.path.normpath(place / f"{first}{ending}")
            if Disk()(*os.path.split(path)) is not None:
                inside = "" if place == folder else f"{one_line(place.name)}/"
                inside = "../" if place == folder.parent != folder else inside
                return f"say --columns 'path={inside}{{{column}}}{ending}'"
    return fits


class Disk:
    """Looks at files on the disk, each folder listed once: faster than file by file."""

    def __init__(self) -> None:
        self.folders: dict[str, dict[str, os.DirEntry[str]]] = {}

    def __call__(self, folder: str, name: str) -> tuple[str, str] | None:
        """What is wrong with a file, or "", and its stamp; None where it is missing."""
        if folder not in self.folders:
            self.folders[folder] = self.entries(folder)
        entry = self.folders[folder].get(name)
        try:
            # a name in other letters may be there, too, and a folder that cannot be listed
            info = entry.stat() if entry is not None else Path(folder, name).stat()
        except PermissionError:
            return "permission denied", "-"
        except (OSError, ValueError):  # the latter for a zero byte in the path
            return None if entry is None else ("a link that leads nowhere or in a loop", "-")
        stamp = f"{info.st_size} {info.st_mtime_ns}"
        if not stat.S_ISREG(info.st_mode):
            return "not a regular file", stamp
        return ("" if info.st_size else "empty file"), stamp

    def entries(self, folder: str) -> dict[str, os.DirEntry[str]]:
        """The entries of a folder by name; {} where they cannot be listed."""
        try:
            with os.scandir(folder or ".") as entries:
                return {entry.name: entry for entry in entries}
        except (OSError, ValueError):  # as above
            return {}
