"""A data set by its name or path: from the cache, or brought there first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from convscope.data.by_hash import folder_with
from convscope.data.cache import open_cached, open_groups
from convscope.data.content import Content, Pair, Progress
from convscope.data.dataset import Dataset, Split
from convscope.data.depth import Scale
from convscope.data.fetching import in_cache
from convscope.data.groups import hold_out_groups, no_group_left, told
from convscope.data.listed import Options
from convscope.data.preview import Preview
from convscope.data.resolving import Request, looked_at
from convscope.data.splitting import check_counts, hold_out
from convscope.errors import UserError, one_line


def load(
    name_or_path: str | Path,
    *,
    val: float = 0.1,
    split_seed: int = 0,
    size: int | None = None,
    columns: str | None = None,
    group_by: str | None = None,
    resize: str = "crop",
    classes: str = "folders",
    progress: Progress | None = None,
    verify: bool = True,
) -> Dataset:
    """A data set, from the cache or brought there first.

    name_or_path: a known name (see `names`), a folder of images, a table of image files
        (.csv, .tsv, .parquet), an archive of these (.zip, .tar, .tar.gz), images in parquet or
        arrow files, hf:OWNER/NAME, or an .npz file. ./name is the folder where both exist.
    val: share of the training images held out for validation, the same share of each class,
        from 0 to 0.9. Data with a validation set of their own keep it.
    split_seed: draws the images that are held out, from 0 to 2⁶³ - 1.
    size: side in pixels of the images of a folder; None chooses it from the images.
    columns: the columns of a table where their names are not the usual ones, as
        "path=file,label=kind,split=part,group=patient"; split= or group= leaves a column out.
    group_by: images of a group stay in one split: a column of the table, "parent" (the
        folder of the image) or "prefix" (its name up to the last number).
    resize: of images that are not square "crop" keeps the centre, "squash" changes the aspect
        ratio, "pad" adds black bars.
    classes: "folders": what lies below a class folder belongs to it; "nested": each folder with
        images is a class, named by its path, as a/b.
    progress: called with what is done, how much of it, and of how much (None: not known).
    verify: whether the cached files' hash is checked; not where a parent process has just done so.

    Raises UserError, and DataUnavailable where no source of a known set can be used.
    """
    _check_split(val, split_seed)
    request = looked_at(name_or_path, Options(size, columns, group_by, resize, classes))
    folder, (meta, stored), remarks = in_cache(request, progress, verify)
    return _split(request, folder, meta, stored, remarks, val, split_seed)


def load_by_hash(name: str, data_hash: str, val: float, split_seed: int) -> Dataset:
    """A data set of this machine's cache by its content, wherever it came from.

    name: what it is called.
    data_hash: SHA-256, as a Dataset has it.
    val, split_seed: as for `load`.
    Raises UserError where the cache has no such set.
    """
    _check_split(val, split_seed)
    folder = folder_with(data_hash)
    if folder is None:
        raise UserError(f"data {one_line(name)!r}: {data_hash[:12]} is not in this machine's cache")
    meta, stored = open_cached(folder, verify=False)

    def never(workspace: Path, progress: Progress | None) -> Content:
        raise AssertionError("it is there")

    request = Request(folder.name, name, never, one_line(name))
    return _split(request, folder, meta, stored, [], val, split_seed)


def _split(
    request: Request,
    folder: Path,
    meta: dict[str, Any],
    stored: dict[str, Pair],
    remarks: Sequence[str],
    val: float,
    split_seed: int,
) -> Dataset:
    """A cached set as a Dataset, with validation images held out."""
    names = tuple(meta["classes"])
    if (groups := open_groups(folder, meta)) is None:
        kept, held, said = _with_validation(stored, val, split_seed, len(names))
    else:
        shown = request.shown
        kept, held, said = _with_group_validation(shown, stored, groups, val, split_seed, names)
    check_counts(request.shown, np.bincount(kept[1], minlength=len(names)).tolist(), names)
    train, valid, test = (_as_split(*part) for part in (kept, held, stored["test"]))
    return Dataset(
        request.name,
        train,
        valid,
        test,
        names,
        hash=meta["hash"],
        source=meta["source"],
        licence=meta["licence"],
        notes=(*request.notes, *meta["notes"], *remarks, *said),
        held_out=(float(val), split_seed),
        preview=_preview(meta, request),
        scales={depth: Scale(*ends) for depth, ends in meta.get("scales", {}).items()},
    )


def _as_split(images: np.ndarray, labels: np.ndarray) -> Split:
    return Split(torch.from_numpy(images).permute(0, 3, 1, 2), torch.from_numpy(labels))


def _preview(meta: dict[str, Any], request: Request) -> Preview | None:
    """What the files were; how the folders are read and what is skipped is that of now."""
    if not meta.get("preview"):
        return None
    stored = Preview.from_json(meta["preview"])
    return replace(stored, rule=request.rule, skipped=request.skipped) if request.rule else stored


def _check_split(val: float, split_seed: int) -> None:
    if isinstance(val, bool) or not isinstance(val, int | float) or not 0 <= val <= 0.9:
        raise UserError(f"val = {one_line(val)}: must be from 0 to 0.9")
    whole = isinstance(split_seed, int) and not isinstance(split_seed, bool)
    if not whole or not 0 <= split_seed < 2**63:
        raise UserError(
            f"split_seed = {one_line(split_seed)}: must be a whole number from 0 to 2⁶³ - 1"
        )


def _with_validation(
    stored: dict[str, Pair], val: float, split_seed: int, num_classes: int
) -> tuple[Pair, Pair, list[str]]:
    """The training images kept, the validation images, and what is to be said of them."""
    images, labels = stored["train"]
    if (own := stored.get("val")) is not None:
        count = f"{len(own[1]):,} images"
        note = f"the data's own validation set is used ({count}); val = {val:g} is not"
        return (images, labels), own, [note]
    if not val:
        return (images, labels), (images[:0], labels[:0]), []
    kept, held = hold_out(labels, Fraction(str(val)), split_seed, num_classes)
    notes = []
    if not len(held):
        count = f"{len(kept)} training images"
        notes.append(f"val = {val:g} of {count} is less than one: no validation set")
    return (images[kept], labels[kept]), (images[held], labels[held]), notes


def _with_group_validation(
    shown: str,
    stored: dict[str, Pair],
    groups: NDArray[np.int64],
    val: float,
    split_seed: int,
    classes: tuple[str, ...],
) -> tuple[Pair, Pair, list[str]]:
    """As `_with_validation`, of whole groups."""
    if "val" in stored or not val:
        return _with_validation(stored, val, split_seed, len(classes))
    images, labels = stored["train"]
    share = Fraction(str(val))
    kept, held = hold_out_groups(labels, groups, share, split_seed, len(classes))
    if not len(held):
        what = f"a validation set (val = {val:g})"
        raise no_group_left(shown, what, len(np.unique(groups)))
    note = told(labels, groups, held, classes, "the validation set")
    return (images[kept], labels[kept]), (images[held], labels[held]), [note]
