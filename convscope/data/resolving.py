"""What a name or path means: which data set, under which key in the cache, and how it is made."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import cast, get_args

from convscope.data import shapes
from convscope.data.cache import expanded
from convscope.data.content import Content, Maker, Progress
from convscope.data.decoding import READING, read_images
from convscope.data.folders import Classes, survey
from convscope.data.known import KNOWN, get
from convscope.data.listing import Skipped, text_of
from convscope.data.npz import read_npz
from convscope.data.pixels import Resize
from convscope.errors import UserError, did_you_mean, one_line
from convscope.words import listed

OWN = "the user's own data"  # their licence


@dataclass(frozen=True)
class Request:
    """What the user asked for.

    Attributes:
        key: The folder's name in the cache; it changes when the content does.
        name: What the data set is called in reports.
        make: Makes the content.
        shown: What the user gave, printable.
        notes: What is known of the data, as sentences without the full stop.
        rule: How folders were read now, "" where the data are no folder.
        skipped: What was left out now.
    """

    key: str
    name: str
    make: Maker
    shown: str
    notes: tuple[str, ...] = ()
    rule: str = ""
    skipped: tuple[Skipped, ...] = ()


def names() -> dict[str, str]:
    """The known data sets: name -> a line that describes it."""
    known = {name: entry.description for name, entry in KNOWN.items()}
    return known | {
        "shapes": "generated figures on clutter, 10 classes, 32×32 RGB, made on the spot; "
        "needs depth, not much time"
    }


def resolve(
    name_or_path: str | Path,
    size: int | None,
    resize: str = "crop",
    classes: str = "folders",
) -> Request:
    """What `load` was asked for. Raises UserError where there is no such thing.

    Args:
        name_or_path: A known name, a folder of images or an .npz file.
        size: Side in pixels of the images of a folder; None chooses it from the images.
        resize: What becomes of images of a folder that are not square.
        classes: Which folders of a folder are classes.
    """
    check_reading(resize, classes)
    whole = isinstance(size, int) and not isinstance(size, bool)
    if size is not None and (not whole or not 1 <= size <= 4096):
        raise UserError(f"size = {one_line(size)}: must be a whole number from 1 to 4,096 pixels")
    given, shown = str(name_or_path), one_line(name_or_path)
    if given in names():
        _check_of_folders(given, resize, classes)
        return _known(given, size)
    path = expanded(given)
    info = _existing(path, given, shown)
    resolved = path.resolve()
    name = os.fsencode(resolved.name or "/").decode("utf-8", "backslashreplace")
    if path.is_dir():
        return _folder(
            path, resolved, name, (size, cast(Resize, resize), cast(Classes, classes)), shown
        )
    if path.suffix.lower() != ".npz" or not path.is_file():
        raise UserError(
            f"data {shown!r}: not a folder; "
            f"give a folder of images, an .npz file or one of {', '.join(names())}"
        )
    if size is not None:
        raise UserError(
            f"size = {size}: the images of an .npz file keep their size; "
            "size is for folders of images"
        )

    _check_of_folders("the arrays of an .npz file", resize, classes)

    def make(workspace: Path, progress: Progress | None) -> Content:
        splits, named, notes = read_npz(path)
        return Content(splits, named, f"the file {one_line(name)}", OWN, notes)

    return Request(_key("npz", resolved, f"{info.st_size} {info.st_mtime_ns}"), name, make, shown)


def check_reading(resize: str, classes: str) -> None:
    """UserError where a way of reading a folder is not known.

    Args:
        resize: What becomes of images that are not square: crop, squash or pad.
        classes: Which folders are classes: folders or nested.
    """
    for name, given, known in (
        ("resize", resize, get_args(Resize)),
        ("classes", classes, get_args(Classes)),
    ):
        if given not in known:
            raise UserError(f"{name} = {one_line(given)!r}: must be {listed(known, 'or')}")


def _check_of_folders(what: str, resize: str, classes: str) -> None:
    """UserError where a choice is given that means something for folders alone."""
    for name, given, usual in (("resize", resize, "crop"), ("classes", classes, "folders")):
        if given != usual:
            raise UserError(
                f"{name} = {given}: {what} has no use for it; {name} is for folders of images"
            )


def _existing(path: Path, given: str, shown: str) -> os.stat_result:
    """What the system knows of the path; UserError where it is not there or cannot be reached."""
    try:
        return path.stat()
    except (OSError, ValueError) as error:
        # os.path.islink is False for a name that is too long, where pathlib raises
        if isinstance(error, OSError) and os.path.islink(path):  # noqa: PTH114
            raise UserError(
                f"data {shown!r}: a link that leads nowhere or in a loop; give a folder of images"
            ) from None
        if isinstance(error, PermissionError):
            raise UserError(f"data {shown!r}: permission denied; make it readable") from None
        hint = did_you_mean(given, names())
        raise UserError(
            f"data {shown!r}: no such file or folder, and no known data set{hint}"
        ) from None


def _known(name: str, size: int | None) -> Request:
    """A data set that has a name."""
    side = shapes.SIDE if name == "shapes" else KNOWN[name].side
    if size not in (None, side):
        raise UserError(
            f"size = {size}: {name} has images of {side}×{side}; size is for folders of images"
        )
    if name == "shapes":
        return Request(f"shapes-{shapes.REVISION}", name, _generated, name)

    def make(workspace: Path, progress: Progress | None) -> Content:
        splits, source = get(name, workspace, progress)
        return Content(splits, KNOWN[name].classes, source, KNOWN[name].licence)

    return Request(name, name, make, name, KNOWN[name].notes)


def _generated(workspace: Path, progress: Progress | None) -> Content:
    splits = {
        "train": shapes.generate(shapes.NUM_TRAIN),
        "test": shapes.generate(shapes.NUM_TEST, split=1),
    }
    licence = "none needed: generated, no one's work is in it"
    return Content(splits, shapes.CLASSES, "generated by convscope", licence)


def _folder(
    path: Path, resolved: Path, name: str, how: tuple[int | None, Resize, Classes], shown: str
) -> Request:
    """A folder of images, listed now and decoded when it is made.

    how: size, resize and classes.
    """
    size, resize, classes = how
    seen = survey(path, classes)

    def make(workspace: Path, progress: Progress | None) -> Content:
        found = read_images(seen.listing(), size, progress, resize)
        return Content(
            found.splits,
            tuple(map(text_of, seen.names)),
            "a folder of images",
            OWN,
            found.notes,
            found.preview,
        )

    key = _key("folder", resolved, seen.signature, str(how), str(READING))
    # what is skipped may change while the images stay: it is said anew each time
    return Request(key, name, make, shown, seen.notes, seen.rule, seen.skipped)


def _key(kind: str, path: Path, *parts: str) -> str:
    content = b"/".join([os.fsencode(path), *(part.encode() for part in parts)])
    return f"{kind}-{hashlib.sha256(content).hexdigest()[:20]}"
