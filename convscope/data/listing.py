"""What a listing of images holds: its files, its classes, and what was skipped and why."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from convscope.errors import one_line

SUFFIXES = {
    *(".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".bmp", ".gif", ".webp"),
    *(".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".pfm"),
}

TABLE_SUFFIXES = (".csv", ".tsv", ".parquet")

ARCHIVE_SUFFIXES = (*(".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz"),)

# images of formats that are not read: said apart, since they may be the greater part
UNREAD = {
    *(".heic", ".heif", ".avif", ".jp2", ".j2k", ".jxl", ".dcm", ".dicom", ".nii", ".svg"),
    *(".cr2", ".cr3", ".nef", ".arw", ".dng", ".raf", ".orf", ".rw2", ".psd", ".exr", ".tga"),
    *(".npy", ".mha", ".nrrd", ".svs", ".ndpi", ".czi", ".hdr", ".fits"),
}

NUM_NAMED = 5  # items named in a message

# why an entry is skipped, in the order in which it is said
HIDDEN = "hidden"
SYSTEM = "made by a system, such as thumbnails"
FORMAT = "in a format that is not read"
OTHER = "not an image"
BESIDE = "neither a split nor a class"
COPY = "a copy of the folders beside it"
UNLABELLED = "images without a class folder"
EMPTY = "without images"


@dataclass(frozen=True, eq=False, slots=True)
class File:
    """An image file.

    place: where it is, as text: of 100,000 files, paths as objects take longer than all else.
    shown: relative to the root, printable.
    split: train, val or test.
    label: number of its class.
    status: why it cannot be read, as far as the listing tells; "" where nothing is known.
    """

    place: str
    shown: str
    split: str
    label: int
    status: str

    @property
    def path(self) -> Path:
        """Where it is."""
        return Path(self.place)


@dataclass(frozen=True)
class Skipped:
    """Entries that were left out for one reason.

    why: the reason.
    count: number of entries.
    examples: the first of them.
    """

    why: str
    count: int
    examples: tuple[str, ...]

    def __str__(self) -> str:
        entries = "entry" if self.count == 1 else "entries"
        return f"skipped {self.count:,} {entries} ({self.why}): {quoted_of(self)}"


@dataclass(frozen=True)
class Listing:
    """What a folder holds.

    root: the folder.
    files: its images, in order of their names' bytes.
    classes: names of the classes, in the order of the labels.
    notes: what was skipped and what else is to be said, sentences without the full stop.
    signature: changes when a path, a size or a time of modification does.
    rule: how the folders were read, a sentence without the full stop.
    skipped: what was left out.
    """

    root: Path
    files: tuple[File, ...]
    classes: tuple[str, ...]
    notes: tuple[str, ...]
    signature: str
    rule: str = ""
    skipped: tuple[Skipped, ...] = ()


@dataclass
class Skips:
    """Collects what is skipped, below a root."""

    root: str
    found: dict[str, list[str]] = field(default_factory=dict)

    def add(self, path: str, why: str) -> None:
        self.found.setdefault(why, []).append(path)

    def summary(self) -> tuple[Skipped, ...]:
        """By reason, each with its first names in order."""
        order = (HIDDEN, SYSTEM, FORMAT, OTHER, BESIDE, COPY, UNLABELLED, EMPTY)
        return tuple(
            Skipped(
                why,
                len(self.found[why]),
                tuple(relative(path, self.root) for path in sorted(self.found[why])[:NUM_NAMED]),
            )
            for why in order
            if why in self.found
        )


def quoted(items: Iterable[str]) -> str:
    """As "'a', 'b'", and after a few of them "and 4 more"."""
    items = list(items)
    more = f" and {len(items) - NUM_NAMED} more" if len(items) > NUM_NAMED else ""
    return ", ".join(repr(one_line(item, 80)) for item in items[:NUM_NAMED]) + more


def quoted_of(skipped: Skipped) -> str:
    """The examples of what was skipped, and how many more there are."""
    more = skipped.count - len(skipped.examples)
    return quoted(skipped.examples) + (f" and {more:,} more" if more else "")


def is_image(name: str) -> bool:
    return ending(name) in SUFFIXES


def why_loose(name: str) -> str:
    """Why a file beside class folders, or one that is no image, is skipped."""
    if is_image(name):
        return UNLABELLED
    return FORMAT if ending(name) in UNREAD else OTHER


def ending(name: str) -> str:
    """The ending of a file's name in lower case, with its dot; "" where there is none."""
    return name[name.rfind(".") :].lower() if "." in name else ""


def relative(path: str | Path, root: str | Path) -> str:
    """The path below the root, printable."""
    return shown_name(os.path.relpath(path, root))


def shown_name(name: str) -> str:
    """A file's name on one line, cut where it is very long."""
    if name.isascii() and name.isprintable() and len(name) <= 80:
        return name
    return one_line(text_of(name), 80)


def text_of(name: str) -> str:
    """A file name as text that UTF-8 can hold: bytes that are not UTF-8 become \\xNN."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")
