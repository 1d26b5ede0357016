"""The entries of folders: what counts, and what systems and programs leave beside images."""

# os.path returns False where pathlib raises (permissions, loops, names too long)
# ruff: noqa: PTH110, PTH112, PTH118

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TypeVar

from convscope.data.listing import HIDDEN, SYSTEM, Skips, is_image
from convscope.errors import UserError, one_line

Named = TypeVar("Named")


@dataclass(frozen=True)
class Look:
    """The entries of one folder, in order of their names' bytes.

    folders: names of the folders that count.
    files: the other entries that count.
    junk: name and reason of each entry that does not.
    broken: names of links that lead nowhere and are not named as images.
    """

    folders: tuple[str, ...] = ()
    files: tuple[os.DirEntry[str], ...] = ()
    junk: tuple[tuple[str, str], ...] = ()
    broken: tuple[str, ...] = ()

    @property
    def images(self) -> int:
        """Number of files that are named as images."""
        return sum(is_image(entry.name) for entry in self.files)


class Tree:
    """A folder's entries, each folder listed once."""

    def __init__(self) -> None:
        self._looks: dict[str, Look] = {}

    def look(self, folder: str) -> Look:
        """The entries of a folder. Raises UserError where it cannot be listed."""
        if folder not in self._looks:
            try:
                self._looks[folder] = _look(folder)
            except OSError as error:
                raise UserError(
                    f"{one_line(folder)}: cannot be listed ({error.strerror}); "
                    "make it readable or move it away"
                ) from None
        return self._looks[folder]

    def peek(self, folder: str) -> Look:
        """The same of a folder that may turn out not to matter: empty where it is unreadable."""
        try:
            return self.look(folder)
        except UserError:
            return Look()

    def used(self, folder: str, skips: Skips, below: bool = False) -> Look:
        """The entries of a folder that is read: what does not count is skipped.

        below: whether it lies in a class folder, where more names are those of thumbnails.
        """
        look = self.look(folder)
        if look.broken:
            raise UserError(
                f"{one_line(os.path.join(folder, look.broken[0]))}: "
                "a link that leads nowhere or in a loop; remove it"
            )
        for name, why in look.junk:
            skips.add(os.path.join(folder, name), why)
        if not below:
            return look
        small = [name for name in look.folders if name.lower() in THUMBNAILS]
        for name in small:
            skips.add(os.path.join(folder, name), SYSTEM)
        kept = tuple(name for name in look.folders if name not in small)
        return Look(kept, look.files, look.junk, ())


# folders and files that storage systems, operating systems and viewers of images make
MADE = {
    *("@eadir", "@recycle", "#recycle", "#snapshot", "@recently-snapshot", "@__thumb", "@tmp"),
    *(
        "$recycle.bin",
        "system volume information",
        "lost+found",
        "recycler",
        "network trash folder",
    ),
    *("__macosx", "__pycache__", "_vti_cnf", "thmbnl", "temporary items", "ipynb_checkpoints"),
    *("thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "icon\r", "zbthumbnail.info"),
}
MADE_BEGINNINGS = ("synophoto_", "synofile_", "synovideo_", "albumart_{", "~$", "thumbs.db:")

# folders that hold smaller copies, where they lie in a class folder
THUMBNAILS = {"thumbnails", "thumbnail", "thumbs", "thumb", "_thumbs", "_thumbnails"}


def why_junk(name: str) -> str:
    """Why an entry of this name does not count; "" where it does."""
    low = name.lower()
    if low in MADE or low.startswith((*MADE_BEGINNINGS, "._", ".ds_store")):
        return SYSTEM
    if low.startswith((".thumb", ".@__", ".apple", ".trash", ".ipynb_checkpoints", ".picasa")):
        return SYSTEM
    return HIDDEN if name.startswith(".") else ""


def in_order(named: dict[str, Named]) -> list[Named]:
    """The values in order of the bytes of their names."""
    ascii_names = "".join(named).isascii()  # whose order is that of their bytes
    return [named[name] for name in sorted(named, key=None if ascii_names else os.fsencode)]


def _look(folder: str) -> Look:
    """List a folder. Raises OSError."""
    with os.scandir(folder) as entries:
        found = in_order({entry.name: entry for entry in entries})
    folders: list[str] = []
    files: list[os.DirEntry[str]] = []
    junk: list[tuple[str, str]] = []
    broken: list[str] = []
    for entry in found:
        if why := why_junk(entry.name):
            junk.append((entry.name, why))
        elif os.path.isdir(entry.path) if entry.is_symlink() else entry.is_dir():
            folders.append(entry.name)
        elif entry.is_symlink() and not is_image(entry.name) and not os.path.exists(entry.path):
            broken.append(entry.name)
        else:
            files.append(entry)
    return Look(tuple(folders), tuple(files), tuple(junk), tuple(broken))
