"""Data sets by name or path: `load` gives splits of images and labels that can be indexed, `info` says what is in them.

Every data set ends in one cache form, a folder of .npy files and meta.json, that is memory-mapped and hashed. Images are
uint8, stored N×H×W×C and shown as N×C×H×W (channels_last strides).
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from convscope.data import shapes
from convscope.data.cache import (
    FORMAT,
    Content,
    Damaged,
    Pair,
    cache_folder,
    expanded,
    open_cached,
    write_cached,
)
from convscope.data.dataset import DataInfo, Dataset, Split, info
from convscope.data.decoding import read_images
from convscope.data.folders import Listing, scan
from convscope.data.npz import read_npz
from convscope.data.sources import KNOWN, DataUnavailable, get
from convscope.errors import UserError, did_you_mean, one_line

__all__ = [
    "DataInfo",
    "DataUnavailable",
    "Dataset",
    "Split",
    "cache_folder",
    "fetch",
    "info",
    "load",
    "names",
]

Progress = Callable[[str, int, int | None], None]

TEST_SHARE, TEST_SEED = Fraction(1, 5), 0  # of data without a test set of its own


def names() -> dict[str, str]:
    """The known data sets: name -> a line that describes it."""
    known = {name: entry.description for name, entry in KNOWN.items()}
    return known | {
        "shapes": "generated figures on clutter, 10 classes, 32×32 RGB, made on the spot; needs depth, not much time"
    }


def load(
    name_or_path: str | Path,
    *,
    val: float = 0.1,
    split_seed: int = 0,
    size: int | None = None,
    progress: Progress | None = None,
    verify: bool = True,
) -> Dataset:
    """A data set by its name (see `names`), a folder of images or an .npz file, from the cache or brought there first.

    `val` is the share of the training images held out for validation, the same share of each class, drawn by `split_seed`;
    data with a validation set of their own keep it. `size` is the side of the images of a folder (see folders.py). `verify=False`
    leaves out the hash of the cached files, for a process whose parent has just checked it. A name wins over a folder of
    that name: write ./name for the folder. Raises UserError, and DataUnavailable where no source of a named set can be used.
    """
    if isinstance(val, bool) or not isinstance(val, int | float) or not 0 <= val <= 0.9:
        raise UserError(f"val = {one_line(val)}: from 0 to 0.9")
    if (
        isinstance(split_seed, bool)
        or not isinstance(split_seed, int)
        or not 0 <= split_seed < 2**63
    ):
        raise UserError(f"split_seed = {one_line(split_seed)}: a whole number from 0 to 2⁶³ - 1")
    request = _resolve(name_or_path, size)
    _, meta, stored, remarks = _ensure(request, progress, verify)
    classes, notes = tuple(meta["classes"]), [*meta["notes"], *remarks]
    kept, held = stored["train"], stored.get("val")
    if held is not None:
        notes.append(
            f"the data's own validation set is used ({len(held[1]):,} images); val = {val:g} is not"
        )
    elif val:
        kept_rows, held_rows = _hold_out(kept[1], Fraction(str(val)), split_seed, len(classes))
        kept, held = (
            (kept[0][kept_rows], kept[1][kept_rows]),
            (kept[0][held_rows], kept[1][held_rows]),
        )
        if not len(held_rows):
            notes.append(
                f"val = {val:g} of {len(kept_rows)} training images is less than one: no validation set"
            )
    else:
        held = (kept[0][:0], kept[1][:0])
    counts = np.bincount(kept[1], minlength=len(classes))
    for label in np.flatnonzero(counts < 2):
        number = f"{counts[label]} training image{'' if counts[label] == 1 else 's'} after holding out test and validation images"
        raise UserError(
            f"{request.shown}: class {one_line(classes[label])!r} has {number}; add images, at least 2 must remain"
        )
    train, valid, test = (
        Split(torch.from_numpy(x).permute(0, 3, 1, 2), torch.from_numpy(y))
        for x, y in (kept, held, stored["test"])
    )
    made = (meta["hash"], meta["source"], meta["licence"], tuple(notes), (float(val), split_seed))
    return Dataset(request.name, train, valid, test, classes, *made)


def fetch(
    name_or_path: str | Path, *, size: int | None = None, progress: Progress | None = None
) -> Path:
    """Make sure that the cache holds the data set, whole and checked; returns its folder. Raises as `load` does."""
    return _ensure(_resolve(name_or_path, size), progress, verify=True)[0]


@dataclass(frozen=True)
class _Request:
    """What the user asked for: the cache's key, and how to make the content (workspace, progress)."""

    key: str
    name: str
    make: Callable[[Path, Progress | None], Content]
    shown: str


def _resolve(name_or_path: str | Path, size: int | None) -> _Request:
    if size is not None and (
        isinstance(size, bool) or not isinstance(size, int) or not 1 <= size <= 4096
    ):
        raise UserError(f"size = {one_line(size)}: a whole number from 1 to 4,096 pixels")
    given, shown = str(name_or_path), one_line(name_or_path)
    if given in names():
        side = shapes.SIDE if given == "shapes" else KNOWN[given].side
        if size not in (None, side):
            raise UserError(
                f"size = {size}: {given} has images of {side}×{side}; size is for folders of images"
            )
        return _Request(
            f"shapes-{shapes.REVISION}" if given == "shapes" else given, given, _maker(given), shown
        )
    path = expanded(given)
    try:
        info = path.stat()
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and os.path.islink(path):  # noqa: PTH114  False for a name that is too long
            raise UserError(
                f"data {shown!r}: a link that leads nowhere or in a loop; give a folder of images"
            ) from None
        if isinstance(error, PermissionError):
            raise UserError(f"data {shown!r}: permission denied; make it readable") from None
        hint = did_you_mean(given, names())
        raise UserError(
            f"data {shown!r}: no such file or folder, and no known data set{hint}"
        ) from None
    resolved = path.resolve()
    name = os.fsencode(resolved.name or "/").decode("utf-8", "backslashreplace")
    if path.is_dir():
        listing = scan(path)
        return _Request(
            _key("folder", resolved, listing.signature, str(size)),
            name,
            _folder_maker(listing, size),
            shown,
        )
    if path.suffix.lower() != ".npz" or not path.is_file():
        raise UserError(
            f"data {shown!r}: not a folder; give a folder of images, an .npz file or one of {', '.join(names())}"
        )
    if size is not None:
        raise UserError(
            f"size = {size}: the images of an .npz file keep their size; size is for folders of images"
        )

    def make(workspace: Path, progress: Progress | None) -> Content:
        splits, classes = read_npz(path)
        return Content(splits, classes, f"the file {one_line(name)}", "the user's own data")

    return _Request(_key("npz", resolved, f"{info.st_size} {info.st_mtime_ns}"), name, make, shown)


def _key(kind: str, path: Path, *parts: str) -> str:
    return f"{kind}-{hashlib.sha256(b'/'.join([os.fsencode(path), *(part.encode() for part in parts)])).hexdigest()[:20]}"


def _maker(name: str) -> Callable[[Path, Progress | None], Content]:
    def make(workspace: Path, progress: Progress | None) -> Content:
        if name == "shapes":
            splits = {
                "train": shapes.generate(shapes.NUM_TRAIN),
                "test": shapes.generate(shapes.NUM_TEST, split=1),
            }
            return Content(
                splits,
                shapes.CLASSES,
                "generated by convscope.shapes",
                "none needed: generated, no one's work is in it",
            )
        splits, source = get(name, workspace, progress)
        return Content(splits, KNOWN[name].classes, source, KNOWN[name].licence)

    return make


def _folder_maker(listing: Listing, size: int | None) -> Callable[[Path, Progress | None], Content]:
    def make(workspace: Path, progress: Progress | None) -> Content:
        splits, notes = read_images(listing, size, progress)
        return Content(
            splits,
            listing.classes,
            "a folder of images",
            "the user's own data",
            (*listing.notes, *notes),
        )

    return make


def _hold_out(
    labels: NDArray[np.int64], share: Fraction, seed: int, num_classes: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Row numbers kept and held out, each ascending: `share` of each class by the largest remainder, one at least kept."""
    rows = [np.flatnonzero(labels == label) for label in range(num_classes)]
    quotas = [share * len(r) for r in rows]
    counts = [int(quota) for quota in quotas]
    by_remainder = sorted(
        range(num_classes), key=lambda label: (counts[label] - quotas[label], label)
    )
    for label in by_remainder[: round(share * len(labels)) - sum(counts)]:
        counts[label] += 1
    generator = torch.Generator().manual_seed(seed)
    drawn = [
        r[torch.randperm(len(r), generator=generator).numpy()[: min(n, len(r) - 1)]]
        for r, n in zip(rows, counts, strict=True)
    ]
    held = np.zeros(len(labels), np.bool_)
    held[np.concatenate(drawn)] = True
    return np.flatnonzero(~held), np.flatnonzero(held)


def _ensure(
    request: _Request, progress: Progress | None, verify: bool
) -> tuple[Path, dict[str, Any], dict[str, Pair], list[str]]:
    """Cache folder, meta.json, split -> arrays, and remarks on a damaged copy; makes the content where it is missing."""
    root = cache_folder() / "datasets"
    target, remarks = root / f"{request.key}.v{FORMAT}", []
    with _one_line_errors(root):
        if target.exists():
            try:
                return target, *open_cached(target, verify), remarks
            except Damaged as error:
                aside = next(
                    a
                    for n in itertools.count(1)
                    if not (a := target.with_name(f"{target.name}.damaged-{n}")).exists()
                )
                with contextlib.suppress(FileNotFoundError):  # another process has set it aside
                    target.rename(aside)
                remarks.append(
                    f"the cached copy was damaged ({error}); it was set aside as {one_line(aside)} and made again"
                )
        root.mkdir(parents=True, exist_ok=True)
        for left in root.glob(".making-*"):  # by a process that was killed
            if time.time() - left.stat().st_mtime > 86_400:
                shutil.rmtree(left, ignore_errors=True)
        workspace = Path(tempfile.mkdtemp(prefix=".making-", dir=root))
    try:
        content = _with_test(request.make(workspace, progress))
        with _one_line_errors(root):
            write_cached(target, content, workspace)
            return target, *open_cached(target, verify=False), remarks
    finally:
        shutil.rmtree(workspace, ignore_errors=True)


def _with_test(content: Content) -> Content:
    """Hold out a test set where the data have none."""
    if "test" in content.splits:
        return content
    images, labels = content.splits["train"]
    kept, held = _hold_out(labels, TEST_SHARE, TEST_SEED, len(content.classes))
    if not len(held):
        raise UserError(
            f"{len(labels)} images are too few to hold out {float(TEST_SHARE):.0%} as a test set; add images or a test set"
        )
    splits = content.splits | {
        "train": (images[kept], labels[kept]),
        "test": (images[held], labels[held]),
    }
    note = f"no test set was given: {float(TEST_SHARE):.0%} of each class ({len(held):,} images) is held out as one, by a fixed seed"
    return replace(content, splits=splits, notes=(*content.notes, note))


@contextlib.contextmanager
def _one_line_errors(root: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        why = error.strerror or one_line(error)
        raise UserError(
            f"cache folder {one_line(root)}: {why}; set CONVSCOPE_CACHE to a folder with room that can be written"
        ) from None
