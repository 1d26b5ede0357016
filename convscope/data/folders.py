"""What a folder of images holds, before any image is opened: classes, files and their faults.

A folder is root/CLASS/images or root/{train,val,test}/CLASS/images. Images in folders of a class
folder count to the class, or with "nested" each folder that holds images is a class. Images that
differ in size become squares when they are decoded. Without a `size` it is the median of the
images' shorter sides, rounded down to a multiple of 4, from 16 to 64; images that are all one
square of at most 64 pixels stay as they are.
"""

# ruff: noqa: PTH116, PTH118 - names of folders are texts, as the system lists them

from __future__ import annotations

import hashlib
import os
import stat
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

from convscope.data.layout import also_there, class_folders, layout_of, notes_on_nesting
from convscope.data.listing import (
    EMPTY,
    FORMAT,
    NUM_NAMED,
    OTHER,
    SUFFIXES,
    File,
    Listing,
    Skipped,
    Skips,
    is_image,
    quoted,
    shown_name,
    text_of,
    why_loose,
)
from convscope.data.sniffing import ending_by_content
from convscope.data.tree import Tree, in_order
from convscope.errors import UserError, one_line
from convscope.words import listed

Classes = Literal["folders", "nested"]  # what a class is: a class folder, or each folder below too


@dataclass
class _Scan:
    """A scan on its way: what was listed and what was skipped."""

    root: str
    tree: Tree = field(default_factory=Tree)
    skips: Skips = field(init=False)

    def __post_init__(self) -> None:
        self.skips = Skips(self.root)


class _Found(NamedTuple):
    """An image file on its way: its folder below the split's folder, name, fault, stamp."""

    folder: str
    path: str
    status: str
    stamp: str


@dataclass(frozen=True)
class Survey:
    """What a folder holds, as texts: enough to know whether it has changed.

    root: the folder.
    found: split -> its images.
    nested: whether each folder that holds images is a class.
    names: names of the classes, in the order of the labels.
    notes: what is to be said of it.
    rule: how the folders were read.
    skipped: what was left out.
    """

    root: Path
    found: dict[str, list[_Found]]
    nested: bool
    names: tuple[str, ...]
    notes: tuple[str, ...]
    rule: str
    skipped: tuple[Skipped, ...]

    @property
    def signature(self) -> str:
        """Changes when a path, a size or a time of modification does."""
        start = _start(str(self.root))
        lines = [f"{one.path[start:]}\0{one.stamp}" for part in self.found.values() for one in part]
        return hashlib.sha256(os.fsencode("\0".join([*self.found, *lines]))).hexdigest()

    def listing(self) -> Listing:
        """The images as files with labels."""
        start = _start(str(self.root))
        numbers = {name: label for label, name in enumerate(self.names)}
        files = tuple(
            File(
                one.path,
                shown_name(one.path[start:]),
                split,
                numbers[one.folder if self.nested else _top(one.folder)],
                one.status,
            )
            for split, part in self.found.items()
            for one in part
        )
        texts = tuple(text_of(name) for name in self.names)
        return Listing(self.root, files, texts, self.notes, self.signature, self.rule, self.skipped)


def survey(root: Path, classes: Classes = "folders") -> Survey:
    """List a folder of images.

    root: the folder.
    classes: "folders": a class is a folder of the root or of a split; "nested": each folder
        that holds images is a class, named by its path, as a/b.

    Raises UserError for a folder that has no two classes with images, whose splits have different
    classes, or whose names can be read in two ways.
    """
    scan = _Scan(str(root))
    layout = layout_of(scan.root, scan.tree, scan.skips)
    nested = classes == "nested"
    tops = {
        split: class_folders(scan.root, folder, scan.tree, scan.skips)
        for split, folder in layout.folders.items()
    }
    if not nested:
        _check_same_classes(root, tops)
        _check_class_names(root, tops["train"], scan, layout.folders["train"])
    found = {
        split: [one for name in tops[split] for one in _walk(scan, folder, name, ())]
        for split, folder in layout.folders.items()
    }
    names = tops
    if nested:
        names = {split: _holding(found[split]) for split in found}
        _without_images(scan, layout.folders, tops, found)
        _check_same_classes(root, names)
        _check_class_names(root, names["train"], scan, layout.folders["train"])
    notes = layout.notes
    if not nested:
        notes += notes_on_nesting(layout.folders["train"], tops["train"], scan.tree)
    skipped = scan.skips.summary()
    _check_counts(root, found, names["train"], nested, scan.skips)
    rule = _rule(scan.root, layout.folders, len(names["train"]), nested)
    return Survey(root, found, nested, names["train"], (*notes, *map(str, skipped)), rule, skipped)


def _start(root: str) -> int:
    """Where the path below the root begins in a path."""
    return len(root.rstrip(os.sep)) + 1


def _top(folder: str) -> str:
    """The class folder of a folder below it."""
    return folder.split(os.sep, 1)[0]


def _rule(root: str, folders: dict[str, str], num_classes: int, nested: bool) -> str:
    """How the folders were read: "3 classes in train/ and test/"."""
    kind = "nested folders as classes" if nested else "classes"
    if list(folders.values()) == [root]:
        return f"{num_classes} {kind}, no folders of splits"
    names = {split: shown_name(os.path.relpath(path, root)) for split, path in folders.items()}
    said = [
        f"{name}/" if name.lower() == split else f"{name}/ ({split})"
        for split, name in names.items()
    ]
    return f"{num_classes} {kind} in {listed(said)}"


def _holding(found: list[_Found]) -> tuple[str, ...]:
    """The folders that hold images, in order of their names' bytes."""
    return tuple(sorted({one.folder for one in found}, key=os.fsencode))


def _without_images(
    scan: _Scan,
    folders: dict[str, str],
    tops: dict[str, tuple[str, ...]],
    found: dict[str, list[_Found]],
) -> None:
    """Skip class folders without a single image: nested, they are no classes."""
    for split, names in tops.items():
        holding = {_top(one.folder) for one in found[split]}
        for name in names:
            if name not in holding:
                scan.skips.add(os.path.join(folders[split], name), EMPTY)


def _check_same_classes(root: Path, names: dict[str, tuple[str, ...]]) -> None:
    """UserError where the splits have different classes."""
    classes = names["train"]
    for split, others in names.items():
        if others != classes:
            ours, theirs = sorted(set(classes) - set(others)), sorted(set(others) - set(classes))
            parts = "; ".join(
                f"{where} alone has {quoted(map(text_of, only))}"
                for where, only in (("train", ours), (split, theirs))
                if only
            )
            raise UserError(
                f"{one_line(root)}: train and {split} have different classes: {parts}; "
                "give both the same class folders"
            )


def _check_class_names(root: Path, classes: tuple[str, ...], scan: _Scan, train: str) -> None:
    """UserError where there are not two classes, or two that some systems take for one."""
    if len(classes) < 2:
        name = classes[0] if classes else ""
        inside = os.path.join(train, name)
        look = scan.tree.peek(inside)
        while len(look.folders) == 1 and not look.images:  # folder/folder/CLASS
            inside = os.path.join(inside, look.folders[0])
            look = scan.tree.peek(inside)
        below = look.folders
        more = also_there(scan.tree.peek(train))
        if name and len(below) > 1 and train == scan.root:
            more = f", or give {one_line(inside)} if its folders are the classes"
        elif name and len(below) > 1:
            more = f", or move those in {one_line(inside)} up if they are the classes"
        raise UserError(
            f"{one_line(root)}: one class alone, {one_line(text_of(name))!r}; "
            f"a classifier needs two or more class folders{more}"
            if name
            else f"{one_line(root)}: no folder with images; a classifier needs two or more"
        )
    seen: dict[str, str] = {}
    for name in classes:
        key = unicodedata.normalize("NFC", name).casefold().strip()
        if key in seen:
            pair = f"{one_line(text_of(seen[key]))!r} and {one_line(text_of(name))!r}"
            raise UserError(
                f"{one_line(root)}: classes {pair} differ by case, spaces or accent encoding only; "
                "merge or rename one"
            )
        seen[key] = name


def _check_counts(
    root: Path,
    found: dict[str, list[_Found]],
    classes: tuple[str, ...],
    nested: bool,
    skips: Skips,
) -> None:
    """UserError where images are missing."""
    shown, num_train = one_line(root), len(found["train"])
    unread = "".join(
        f"; {one}: save them as PNG or JPEG" for one in skips.summary() if one.why == FORMAT
    )
    if not any(found.values()):
        endings = " ".join(sorted(SUFFIXES))
        raise UserError(
            f"{shown}: no images in its {len(classes)} class folders; known endings: "
            f"{endings}{unread}{_unnamed(skips, classes)}"
        )
    if num_train < len(classes):
        raise UserError(
            f"{shown}: fewer images ({num_train}) than classes ({len(classes)}); "
            "each class needs at least two"
        )
    remedy = "add some or remove the folder"
    for split, files in found.items():
        present = {one.folder if nested else _top(one.folder) for one in files}
        empty = [text_of(name) for name in classes if name not in present]
        if empty and split == "train":
            raise UserError(
                f"{shown}: no images in class {quoted(empty)}; {remedy}{unread}"
                f"{_unnamed(skips, empty)}"
            )
        if len(empty) == len(classes):
            raise UserError(f"{shown}: no images in its {split} folder; {remedy}")


def _unnamed(skips: Skips, classes: Sequence[str]) -> str:
    """What is to be said of files in these classes that are not named as images, or ""."""
    start = _start(skips.root)
    others = [path[start:] for path in sorted(skips.found.get(OTHER, ()))]
    others = [path for path in others if set(Path(path).parts[:-1]) & set(classes)]
    if not others:
        return ""
    which = f"; {quoted(map(text_of, others))}"
    for path in others[:NUM_NAMED]:
        if (right := ending_by_content(Path(skips.root, path))) and not path.endswith(right):
            return f"{which}: by its content {shown_name(path)!r} is an image, name it {right}"
    return f"{which}: not named as images"


def _walk(
    scan: _Scan, above: str, folder: str, ancestors: tuple[tuple[int, int], ...]
) -> Iterator[_Found]:
    """Each image file below a class folder.

    above: the folder of the class folders; folder: below it; ancestors: guards against loops.
    """
    here_path = os.path.join(above, folder)
    info = os.stat(here_path)
    here = (info.st_dev, info.st_ino)
    if here in ancestors:
        raise UserError(
            f"{one_line(here_path)}: a link that leads back to a folder above it; remove it"
        )
    look = scan.tree.used(here_path, scan.skips, below=True)
    entries: list[str | os.DirEntry[str]] = [*look.files]
    if look.folders:
        named = dict(zip(look.folders, look.folders, strict=True))
        entries = in_order(named | {entry.name: entry for entry in look.files})
    for entry in entries:
        if isinstance(entry, str):
            yield from _walk(scan, above, os.path.join(folder, entry), (*ancestors, here))
            continue
        name, path = entry.name, f"{here_path}{os.sep}{entry.name}"
        if not is_image(name):
            scan.skips.add(path, why_loose(name))
            continue
        try:
            info = entry.stat()
        except OSError:
            link = "a link that leads nowhere or in a loop"
            yield _Found(folder, path, link if entry.is_symlink() else "cannot be read", "-")
            continue
        status = "" if stat.S_ISREG(info.st_mode) else "not a regular file"
        status = status or ("empty file" if info.st_size == 0 else "")
        yield _Found(folder, path, status, f"{info.st_size} {info.st_mtime_ns}")
