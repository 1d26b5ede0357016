"""Folders of images and .npz files -> arrays of one size, with every fault of the input named in one line.

A folder is root/CLASS/images or root/{train,val,test}/CLASS/images. Images that differ in size become squares: the shorter side
is resized to `size` with antialiasing, the centre is kept. Without a `size` it is the median of the images' shorter
sides, rounded down to a multiple of 4, from 16 to 64; images that are all one square of at most 64 pixels stay as they are.
"""

# os.path returns False where pathlib raises (permissions, loops, names too long)
# ruff: noqa: PTH110, PTH112

from __future__ import annotations

import hashlib
import os
import stat
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from convscope.errors import UserError, one_line

Progress = Callable[[str, int, int | None], None]

Pair = tuple[NDArray[np.uint8], NDArray[np.int64]]  # images N×H×W×C, labels N

SPLITS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}

SUFFIXES = {
    ".png",
    ".jpg",
    ".jpeg",
    ".jfif",
    ".bmp",
    ".gif",
    ".webp",
    ".tif",
    ".tiff",
    ".ppm",
    ".pgm",
    ".pbm",
    ".pnm",
}

FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM")  # decoders that run no other program

MAX_PIXELS = 50_000_000

NUM_NAMED = 5  # bad files named in a message


@dataclass(frozen=True)
class File:
    path: Path
    shown: str  # relative to the root, printable
    split: str
    label: int
    status: str  # why it can't be read, as far as the listing tells; "" where nothing is known against it


@dataclass(frozen=True)
class Listing:
    """What a folder holds, before any image is opened."""

    root: Path
    files: tuple[File, ...]
    classes: tuple[str, ...]
    notes: tuple[str, ...]
    signature: str  # changes when a path, a size or a time of modification does


def scan(root: Path) -> Listing:
    """List a folder: classes, files in order of their names' bytes, and what was skipped.

    Raises UserError for a folder that has no two classes with images, or whose splits have different classes.
    """
    shown = one_line(root)
    skipped: list[str] = []
    tops = _entries(root, root, [])
    folders = [entry for entry in tops if os.path.isdir(entry.path)]
    holds_folders = {
        e.name
        for e in folders
        if e.name.lower() in SPLITS
        and any(os.path.isdir(x.path) for x in _entries(root, Path(e.path), []))
    }
    if holds_folders and len(holds_folders) == len(folders):
        splits: dict[str, Path] = {}
        for name in sorted(holds_folders):
            split = SPLITS[name.lower()]
            if split in splits:
                raise UserError(
                    f"{shown}: {splits[split].name} and {name} are both {split} folders; keep one"
                )
            splits[split] = root / name
        if "train" not in splits:
            raise UserError(
                f"{shown}: has {', '.join(sorted(holds_folders))} but no train folder; add train/CLASS/images"
            )
    else:
        splits = {"train": root}
    if root not in splits.values():  # else the listing of the classes says it
        skipped += [
            one_line(_text(entry.name), 80) for entry in tops if not os.path.isdir(entry.path)
        ]

    names = {split: _class_names(root, folder, skipped) for split, folder in splits.items()}
    classes = names["train"]
    for split, others in names.items():
        if others != classes:
            ours, theirs = sorted(set(classes) - set(others)), sorted(set(others) - set(classes))
            parts = [
                f"{where} alone has {_some(map(_text, only))}"
                for where, only in (("train", ours), (split, theirs))
                if only
            ]
            raise UserError(
                f"{shown}: train and {split} have different classes: {'; '.join(parts)}; give both the same class folders"
            )
    _check_class_names(shown, root, classes)

    files: list[File] = []
    signature = hashlib.sha256()
    for split, folder in splits.items():
        for label, name in enumerate(classes):
            for path, status, stamp in _walk(root, folder / name, skipped, ()):
                relative = os.fsencode(path.relative_to(root))
                signature.update(b"%d:%s %s\n" % (len(relative), relative, stamp.encode()))
                files.append(
                    File(
                        path,
                        one_line(_text(os.fspath(path.relative_to(root))), 80),
                        split,
                        label,
                        status,
                    )
                )
    _check_counts(shown, files, classes, splits)
    notes = (
        (f"skipped {len(skipped)} hidden or non-image entries: {_some(sorted(skipped))}",)
        if skipped
        else ()
    )
    return Listing(
        root, tuple(files), tuple(_text(name) for name in classes), notes, signature.hexdigest()
    )


def _entries(root: Path, folder: Path, skipped: list[str]) -> list[os.DirEntry[str]]:
    """The entries of a folder in order of their names' bytes, hidden ones aside."""
    try:
        with os.scandir(folder) as entries:
            found = sorted(entries, key=lambda entry: os.fsencode(entry.name))
    except OSError as error:
        raise UserError(
            f"{one_line(folder)}: can't be listed ({error.strerror}); make it readable or move it away"
        ) from None
    shown = [
        entry for entry in found if not entry.name.startswith(".") and entry.name != "__MACOSX"
    ]
    skipped += [
        one_line(_text(os.path.relpath(entry.path, root)), 80)
        for entry in found
        if entry not in shown
    ]
    for entry in shown:
        if entry.is_symlink() and not _is_image(entry.name) and not os.path.exists(entry.path):
            raise UserError(
                f"{one_line(entry.path)}: a link that leads nowhere or in a loop; remove it"
            )
    return shown


def _class_names(root: Path, folder: Path, skipped: list[str]) -> tuple[str, ...]:
    entries = _entries(root, folder, skipped)
    classes = tuple(entry.name for entry in entries if os.path.isdir(entry.path))
    loose = [entry for entry in entries if not os.path.isdir(entry.path)]
    images = [entry.name for entry in loose if _is_image(entry.name)]
    if not classes:
        held = (
            f"holds {len(images)} images and no class folders"
            if images
            else "is empty: no class folders"
        )
        raise UserError(
            f"{one_line(folder)}: {held}; put the images of each class in a folder of its own, CLASS/image.png"
        )
    skipped += [one_line(_text(os.path.relpath(entry.path, root)), 80) for entry in loose]
    return classes


def _check_class_names(shown: str, root: Path, classes: tuple[str, ...]) -> None:
    if len(classes) == 1:
        raise UserError(
            f"{shown}: one class alone, {one_line(_text(classes[0]))!r}; a classifier needs two or more class folders"
        )
    seen: dict[str, str] = {}
    for name in classes:
        key = unicodedata.normalize("NFC", name).casefold()
        if key in seen:
            pair = f"{one_line(_text(seen[key]))!r} and {one_line(_text(name))!r}"
            raise UserError(
                f"{shown}: classes {pair} differ by case or accent encoding only; merge or rename one"
            )
        seen[key] = name


def _check_counts(
    shown: str, files: list[File], classes: tuple[str, ...], splits: Iterable[str]
) -> None:
    num_train = sum(file.split == "train" for file in files)
    if not files:
        raise UserError(
            f"{shown}: no images in its {len(classes)} class folders; known endings: {' '.join(sorted(SUFFIXES))}"
        )
    if num_train < len(classes):
        raise UserError(
            f"{shown}: fewer images ({num_train}) than classes ({len(classes)}); each class needs at least two"
        )
    present = {(file.split, file.label) for file in files}
    for split in splits:
        empty = [_text(name) for label, name in enumerate(classes) if (split, label) not in present]
        if empty and split == "train":
            raise UserError(
                f"{shown}: no images in class {_some(empty)}; add some or remove the folder"
            )
        if empty and len(empty) == len(classes):
            raise UserError(
                f"{shown}: no images in its {split} folder; add some or remove the folder"
            )


def _walk(
    root: Path, folder: Path, skipped: list[str], above: tuple[tuple[int, int], ...]
) -> Iterator[tuple[Path, str, str]]:
    """Each image file below a class folder with what is wrong with it ("" if nothing is known) and its stamp."""
    info = folder.stat()
    here = (info.st_dev, info.st_ino)
    if here in above:
        raise UserError(
            f"{one_line(folder)}: a link that leads back to a folder above it; remove it"
        )
    for entry in _entries(root, folder, skipped):
        path = folder / entry.name
        try:
            info = entry.stat()
        except OSError:
            yield (
                path,
                "a link that leads nowhere or in a loop" if entry.is_symlink() else "can't be read",
                "-",
            )
            continue
        if stat.S_ISDIR(info.st_mode):
            yield from _walk(root, path, skipped, (*above, here))
        elif not _is_image(entry.name):
            skipped.append(one_line(_text(os.path.relpath(path, root)), 80))
        else:
            status = "" if stat.S_ISREG(info.st_mode) else "not a regular file"
            yield (
                path,
                status or ("empty file" if info.st_size == 0 else ""),
                f"{info.st_size} {info.st_mtime_ns}",
            )


def _is_image(name: str) -> bool:
    return Path(name).suffix.lower() in SUFFIXES


def _text(name: str) -> str:
    """A file name as text that UTF-8 can hold: bytes that aren't UTF-8 become \\xNN."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _some(items: Iterable[str]) -> str:
    items = list(items)
    more = f" and {len(items) - NUM_NAMED} more" if len(items) > NUM_NAMED else ""
    return ", ".join(repr(one_line(item, 80)) for item in items[:NUM_NAMED]) + more
