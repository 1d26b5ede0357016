"""What a name or path means: which data set, under which key in the cache, and how it is made."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from convscope.data import shapes
from convscope.data.cache import expanded
from convscope.data.content import Content, Maker, Progress
from convscope.data.decoding import read_images
from convscope.data.folders import scan
from convscope.data.known import KNOWN, get
from convscope.data.npz import read_npz
from convscope.errors import UserError, did_you_mean, one_line

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
    """

    key: str
    name: str
    make: Maker
    shown: str
    notes: tuple[str, ...] = ()


def names() -> dict[str, str]:
    """The known data sets: name -> a line that describes it."""
    known = {name: entry.description for name, entry in KNOWN.items()}
    return known | {
        "shapes": "generated figures on clutter, 10 classes, 32×32 RGB, made on the spot; "
        "needs depth, not much time"
    }


def resolve(name_or_path: str | Path, size: int | None) -> Request:
    """What `load` was asked for. Raises UserError where there is no such thing.

    Args:
        name_or_path: A known name, a folder of images or an .npz file.
        size: Side in pixels of the images of a folder; None chooses it from the images.
    """
    check_size(size)
    given, shown = str(name_or_path), one_line(name_or_path)
    if given in names():
        return _known(given, size)
    path = expanded(given)
    info = _existing(path, given, shown)
    resolved = path.resolve()
    name = os.fsencode(resolved.name or "/").decode("utf-8", "backslashreplace")
    if path.is_dir():
        return _folder(path, resolved, name, size, shown)
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

    def make(workspace: Path, progress: Progress | None) -> Content:
        splits, classes = read_npz(path)
        return Content(splits, classes, f"the file {one_line(name)}", OWN)

    return Request(_key("npz", resolved, f"{info.st_size} {info.st_mtime_ns}"), name, make, shown)


def check_size(size: int | None) -> None:
    """UserError where images cannot have this side."""
    whole = isinstance(size, int) and not isinstance(size, bool)
    if size is not None and (not whole or not 1 <= size <= 4096):
        raise UserError(f"size = {one_line(size)}: must be a whole number from 1 to 4,096 pixels")


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


def _folder(path: Path, resolved: Path, name: str, size: int | None, shown: str) -> Request:
    """A folder of images, listed now and decoded when it is made."""
    listing = scan(path)

    def make(workspace: Path, progress: Progress | None) -> Content:
        splits, notes = read_images(listing, size, progress)
        notes = (*listing.notes, *notes)
        return Content(splits, listing.classes, "a folder of images", OWN, notes)

    key = _key("folder", resolved, listing.signature, str(size))
    return Request(key, name, make, shown)


def _key(kind: str, path: Path, *parts: str) -> str:
    content = b"/".join([os.fsencode(path), *(part.encode() for part in parts)])
    return f"{kind}-{hashlib.sha256(content).hexdigest()[:20]}"
