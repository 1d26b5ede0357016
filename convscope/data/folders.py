"""What a folder of images holds, before any image is opened: classes, files and their faults.

A folder is root/CLASS/images or root/{train,val,test}/CLASS/images. Images that differ in size
become squares when they are decoded: the shorter side is resized to `size` with antialiasing, the
centre is kept. Without a `size` it is the median of the images' shorter sides, rounded down to a
multiple of 4, from 16 to 64; images that are all one square of at most 64 pixels stay as they are.
"""

# os.path returns False where pathlib raises (permissions, loops, names too long)
# ruff: noqa: PTH110, PTH112

from __future__ import annotations

import hashlib
import os
import stat
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from convscope.errors import UserError, one_line

SPLITS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}

SUFFIXES = {
    *(".png", ".jpg", ".jpeg", ".jfif", ".bmp", ".gif", ".webp"),
    *(".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm"),
}

NUM_NAMED = 5  # items named in a message


@dataclass(frozen=True)
class File:
    """An image file.

    path: where it is.
    shown: relative to the root, printable.
    split: train, val or test.
    label: number of its class.
    status: why it cannot be read, as far as the listing tells; "" where nothing is known.
    """

    path: Path
    shown: str
    split: str
    label: int
    status: str


@dataclass(frozen=True)
class Listing:
    """What a folder holds.

    root: the folder.
    files: its images, in order of their names' bytes.
    classes: names of the classes, in the order of the labels.
    notes: what was skipped, a sentence.
    signature: changes when a path, a size or a time of modification does.
    """

    root: Path
    files: tuple[File, ...]
    classes: tuple[str, ...]
    notes: tuple[str, ...]
    signature: str


def scan(root: Path) -> Listing:
    """List a folder of images.

    Raises UserError for a folder that has no two classes with images, or whose splits have
    different classes.
    """
    skipped: list[str] = []
    folders = _split_folders(root, skipped)
    names = {split: _class_names(root, folder, skipped) for split, folder in folders.items()}
    classes = names["train"]
    _check_same_classes(root, names)
    _check_class_names(root, classes)

    files: list[File] = []
    signature = hashlib.sha256()
    for split, folder in folders.items():
        for label, name in enumerate(classes):
            for path, status, stamp in _walk(root, folder / name, skipped, ()):
                relative = os.fsencode(path.relative_to(root))
                signature.update(b"%d:%s %s\n" % (len(relative), relative, stamp.encode()))
                files.append(File(path, _relative(path, root), split, label, status))
    _check_counts(root, files, classes, folders)
    notes = ()
    if skipped:
        named = quoted(sorted(skipped))
        notes = (f"skipped {len(skipped)} hidden or non-image entries: {named}",)
    texts = tuple(_text(name) for name in classes)
    return Listing(root, tuple(files), texts, notes, signature.hexdigest())


def quoted(items: Iterable[str]) -> str:
    """As "'a', 'b'", and after a few of them "and 4 more"."""
    items = list(items)
    more = f" and {len(items) - NUM_NAMED} more" if len(items) > NUM_NAMED else ""
    return ", ".join(repr(one_line(item, 80)) for item in items[:NUM_NAMED]) + more


def _split_folders(root: Path, skipped: list[str]) -> dict[str, Path]:
    """Split -> its folder of classes; the root itself where it has no folders of splits."""
    tops = _entries(root, root, [])
    folders = [entry for entry in tops if os.path.isdir(entry.path)]
    splits = sorted(entry.name for entry in folders if _is_split(root, entry))
    if not splits or len(splits) != len(folders):
        return {"train": root}
    found: dict[str, Path] = {}
    for name in splits:
        split = SPLITS[name.lower()]
        if split in found:
            raise UserError(
                f"{one_line(root)}: {found[split].name} and {name} are both {split} folders; "
                "keep one"
            )
        found[split] = root / name
    if "train" not in found:
        raise UserError(
            f"{one_line(root)}: has {', '.join(splits)} but no train folder; add train/CLASS/images"
        )
    skipped += [_relative(entry.path, root) for entry in tops if not os.path.isdir(entry.path)]
    return found


def _is_split(root: Path, entry: os.DirEntry[str]) -> bool:
    """Whether a folder is named for a split and holds folders."""
    return entry.name.lower() in SPLITS and any(
        os.path.isdir(below.path) for below in _entries(root, Path(entry.path), [])
    )


def _entries(root: Path, folder: Path, skipped: list[str]) -> list[os.DirEntry[str]]:
    """The entries of a folder in order of their names' bytes; hidden ones are `skipped`."""
    try:
        with os.scandir(folder) as entries:
            found = sorted(entries, key=lambda entry: os.fsencode(entry.name))
    except OSError as error:
        raise UserError(
            f"{one_line(folder)}: cannot be listed ({error.strerror}); "
            "make it readable or move it away"
        ) from None
    shown = [
        entry for entry in found if not entry.name.startswith(".") and entry.name != "__MACOSX"
    ]
    skipped += [_relative(entry.path, root) for entry in found if entry not in shown]
    for entry in shown:
        if entry.is_symlink() and not _is_image(entry.name) and not os.path.exists(entry.path):
            raise UserError(
                f"{one_line(entry.path)}: a link that leads nowhere or in a loop; remove it"
            )
    return shown


def _class_names(root: Path, folder: Path, skipped: list[str]) -> tuple[str, ...]:
    """The names of the folders in a folder of classes; files beside them are `skipped`."""
    entries = _entries(root, folder, skipped)
    classes = tuple(entry.name for entry in entries if os.path.isdir(entry.path))
    loose = [entry for entry in entries if not os.path.isdir(entry.path)]
    if not classes:
        images = sum(_is_image(entry.name) for entry in loose)
        held = f"holds {images} images and" if images else "is empty:"
        raise UserError(
            f"{one_line(folder)}: {held} no class folders; "
            "put the images of each class in a folder of its own, CLASS/image.png"
        )
    skipped += [_relative(entry.path, root) for entry in loose]
    return classes


def _check_same_classes(root: Path, names: dict[str, tuple[str, ...]]) -> None:
    """UserError where the splits have different classes."""
    classes = names["train"]
    for split, others in names.items():
        if others != classes:
            ours, theirs = sorted(set(classes) - set(others)), sorted(set(others) - set(classes))
            parts = "; ".join(
                f"{where} alone has {quoted(map(_text, only))}"
                for where, only in (("train", ours), (split, theirs))
                if only
            )
            raise UserError(
                f"{one_line(root)}: train and {split} have different classes: {parts}; "
                "give both the same class folders"
            )


def _check_class_names(root: Path, classes: tuple[str, ...]) -> None:
    """UserError where there is one class alone, or two that some systems take for one."""
    if len(classes) == 1:
        raise UserError(
            f"{one_line(root)}: one class alone, {one_line(_text(classes[0]))!r}; "
            "a classifier needs two or more class folders"
        )
    seen: dict[str, str] = {}
    for name in classes:
        key = unicodedata.normalize("NFC", name).casefold()
        if key in seen:
            pair = f"{one_line(_text(seen[key]))!r} and {one_line(_text(name))!r}"
            raise UserError(
                f"{one_line(root)}: classes {pair} differ by case or accent encoding only; "
                "merge or rename one"
            )
        seen[key] = name


def _check_counts(
    root: Path, files: list[File], classes: tuple[str, ...], splits: Iterable[str]
) -> None:
    """UserError where images are missing."""
    shown = one_line(root)
    num_train = sum(file.split == "train" for file in files)
    if not files:
        endings = " ".join(sorted(SUFFIXES))
        raise UserError(
            f"{shown}: no images in its {len(classes)} class folders; known endings: {endings}"
        )
    if num_train < len(classes):
        raise UserError(
            f"{shown}: fewer images ({num_train}) than classes ({len(classes)}); "
            "each class needs at least two"
        )
    present = {(file.split, file.label) for file in files}
    remedy = "add some or remove the folder"
    for split in splits:
        empty = [_text(name) for label, name in enumerate(classes) if (split, label) not in present]
        if empty and split == "train":
            raise UserError(f"{shown}: no images in class {quoted(empty)}; {remedy}")
        if len(empty) == len(classes):
            raise UserError(f"{shown}: no images in its {split} folder; {remedy}")


def _walk(
    root: Path, folder: Path, skipped: list[str], above: tuple[tuple[int, int], ...]
) -> Iterator[tuple[Path, str, str]]:
    """Each image file below a class folder, what is wrong with it (or ""), and its stamp."""
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
            link = "a link that leads nowhere or in a loop"
            yield path, link if entry.is_symlink() else "cannot be read", "-"
            continue
        if stat.S_ISDIR(info.st_mode):
            yield from _walk(root, path, skipped, (*above, here))
        elif not _is_image(entry.name):
            skipped.append(_relative(path, root))
        else:
            status = "" if stat.S_ISREG(info.st_mode) else "not a regular file"
            status = status or ("empty file" if info.st_size == 0 else "")
            yield path, status, f"{info.st_size} {info.st_mtime_ns}"


def _is_image(name: str) -> bool:
    return Path(name).suffix.lower() in SUFFIXES


def _relative(path: Path | str, root: Path) -> str:
    """The path below the root, printable."""
    return one_line(_text(os.path.relpath(path, root)), 80)


def _text(name: str) -> str:
    """A file name as text that UTF-8 can hold: bytes that are not UTF-8 become \\xNN."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")
