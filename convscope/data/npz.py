"""Image arrays in .npz files."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convscope.data.array_names import CLASSES, NAMES, meaning_of
from convscope.data.content import Pair
from convscope.data.depth import Extent, Scale, extent_of, scale_of
from convscope.data.listing import quoted
from convscope.data.memory import refuse_what_does_not_fit
from convscope.errors import UserError, one_line
from convscope.words import listed

AT_ONCE = 1_000  # images that are scaled together

Arrays = dict[str, NDArray[Any]]
Pairs = dict[str, tuple[str, str]]  # split -> names of its images and of its labels


def read_npz(path: Path) -> tuple[dict[str, Pair], tuple[str, ...], tuple[str, ...]]:
    """The splits, the classes, and what is to be said of an .npz file. No pickles are read.

    Names are those in use: x_train and y_train, train_images and train_labels, X_test, val_x and
    so on, or images and labels; names of the classes may be there. Images are N×H×W, N×H×W×C or
    N×C×H×W with C up to 4: uint8, or other numbers, scaled as `convscope.data.depth` says. Labels
    are N or N×1 whole numbers, or N×K with a single 1 in each row. Raises UserError for anything
    else.
    """
    shown = one_line(path)
    arrays, present = _arrays(path, shown)
    pairs, notes = _pairs(shown, arrays, present)
    images = {split: _shaped(shown, names[0], arrays[names[0]]) for split, names in pairs.items()}
    scale = _scale(shown, images, pairs)
    splits: dict[str, Pair] = {}
    for split, (_, name) in pairs.items():
        labels = _labels(shown, name, arrays[name])
        splits[split] = (_bytes(images[split], scale), labels)
        counts = [len(array) for array in splits[split]]
        if counts[0] != counts[1]:
            found = f"{counts[0]:,} images in {pairs[split][0]} and {counts[1]:,} labels in {name}"
            raise UserError(f"{shown}: {found}; give each image one label")
    shapes = sorted({part.shape[1:] for part, _ in splits.values()})
    texts = [name for name in arrays if _plain(name) in CLASSES]
    classes = _classes(shown, arrays[texts[0]] if texts else None, splits)
    if len(shapes) > 1:
        raise UserError(
            f"{shown}: train, val and test images differ in shape: {shapes}; give all one shape"
        )
    said = scale.said if scale is not None else ""
    return splits, classes, (*notes, *([said] if said else []))


def _plain(name: str) -> str:
    """A name without case and signs."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _arrays(path: Path, shown: str) -> tuple[Arrays, list[str]]:
    """The arrays that have a meaning here, and the names of all."""
    try:
        with zipfile.ZipFile(path) as archive:
            needed = sum(member.file_size for member in archive.infolist())
        refuse_what_does_not_fit(needed, f"{shown}: unpacks to", "store fewer images")
        with np.load(path, allow_pickle=False) as archive:
            names = [n for n in archive.files if meaning_of(n) or _plain(n) in CLASSES]
            return {name: archive[name] for name in names}, sorted(archive.files)
    except UserError:
        raise
    except PermissionError:
        raise UserError(f"{shown}: permission denied; make it readable") from None
    except Exception as error:  # zipfile, zlib and numpy raise many kinds on damaged files
        detail = "holds Python objects" if "allow_pickle" in str(error) else one_line(error, 80)
        raise UserError(
            f"{shown}: not a readable .npz file ({detail}); "
            "write it with numpy.savez(x_train=…, y_train=…)"
        ) from None


def _pairs(shown: str, arrays: Arrays, present: Iterable[str]) -> tuple[Pairs, tuple[str, ...]]:
    """The names of the arrays of each split, and what is to be said of them.

    The names of Keras and of MedMNIST come first where a file has several.
    """
    pairs: Pairs = {}
    for split, candidates in NAMES.items():
        usual = [pair for pair in candidates if pair[0] in arrays and pair[1] in arrays]
        if usual:
            pairs[split] = usual[0]
            continue
        found = {
            kind: [name for name in arrays if meaning_of(name) == (split, kind)]
            for kind in ("images", "labels")
        }
        if found["images"] and found["labels"]:
            for kind, names in found.items():
                if len(names) > 1:
                    raise UserError(
                        f"{shown}: {quoted(names)} may all be the {split} {kind}; keep one"
                    )
            pairs[split] = (found["images"][0], found["labels"][0])
    if "train" not in pairs:
        raise UserError(
            f"{shown}: holds {quoted(present) or 'nothing'}; "
            "needs x_train and y_train (x_test, y_test), or images and labels"
        )
    used = {name for pair in pairs.values() for name in pair}
    left = [name for name in present if name not in used and _plain(name) not in CLASSES]
    unusual = [pair for split, pair in pairs.items() if pair not in NAMES[split]]
    notes = [f"read {listed(f'{a} with {b}' for a, b in unusual)}"] if unusual else []
    if left:
        notes.append(f"arrays that are not used: {quoted(left)}")
    return pairs, tuple(notes)


def _shaped(shown: str, name: str, images: NDArray[Any]) -> NDArray[Any]:
    """Images as N×H×W×C."""
    if images.dtype.kind not in "uifb":
        raise UserError(f"{shown}: {name} is {images.dtype}; store uint8, 0 to 255")
    given = images.shape
    if images.ndim == 3:
        images = images[..., None]
    elif images.ndim == 4 and images.shape[3] > 4 >= images.shape[1]:
        images = images.transpose(0, 2, 3, 1)
    if images.ndim != 4 or images.shape[3] > 4 or 0 in images.shape:
        raise UserError(
            f"{shown}: {name} has shape {given}; needs N×H×W, N×H×W×C or N×C×H×W with C from 1 to 4"
        )
    return images


def _scale(shown: str, images: Arrays, pairs: Pairs) -> Scale | None:
    """The range of the values in all splits together; None where all are bytes."""
    if all(array.dtype == np.uint8 for array in images.values()):
        return None
    kinds = {str(array.dtype) for array in images.values()}
    if len(kinds) > 1:
        raise UserError(
            f"{shown}: images are {' and '.join(sorted(kinds))}; "
            "give all one type, uint8 for 0 to 255"
        )
    if kinds == {"bool"}:
        return Scale(0, 1)
    extents = []
    for split, array in images.items():
        try:
            extents.append(extent_of(array, len(images)))
        except UserError as error:
            raise UserError(
                f"{shown}: {pairs[split][0]} has {error}; store uint8, 0 to 255"
            ) from None
    _check_alike(shown, dict(zip(images, extents, strict=True)), pairs)
    return scale_of(extents, f"the {kinds.pop()} images")


def _check_alike(shown: str, extents: dict[str, Extent], pairs: Pairs) -> None:
    """UserError where one split goes from 0 to 1 and another one much further: it would be black.

    That happens to floats, of which one split was divided by 255 and the other was not.
    """
    low = min(extents, key=lambda split: extents[split].high)
    high = max(extents, key=lambda split: extents[split].high)
    floats = all(not one.whole and one.low >= 0 for one in extents.values())
    if floats and extents[low].high <= 1 and extents[high].high > 2:
        ends = [f"{pairs[split][0]} goes to {extents[split].high:g}" for split in (low, high)]
        raise UserError(f"{shown}: {' and '.join(ends)}; scale all splits alike")


def _bytes(images: NDArray[Any], scale: Scale | None) -> NDArray[np.uint8]:
    if scale is None:
        return np.ascontiguousarray(images)
    out = np.empty(images.shape, np.uint8)
    for start in range(0, len(images), AT_ONCE):
        out[start : start + AT_ONCE] = scale.to_bytes(images[start : start + AT_ONCE])
    return out


def _ends(labels: NDArray[Any]) -> str:
    """The least and the greatest label, of numbers that are whole."""
    whole = labels.dtype.kind in "iu" and labels.size
    return f", from {labels.min()} to {labels.max()}" if whole else ""


def _numbering(name: str, labels: NDArray[Any]) -> str:
    """What numbers the labels, where they are texts or numbers with gaps."""
    if labels.ndim != 1 or labels.dtype.kind not in "USiu":
        return ""
    return f": np.unique({name}, return_inverse=True)[1] numbers them"


def _labels(shown: str, name: str, labels: NDArray[Any]) -> NDArray[np.int64]:
    if labels.ndim == 2 and labels.shape[1] == 1:  # Keras's CIFAR-10 and MedMNIST have N×1
        labels = labels[:, 0]
    elif labels.ndim == 2 and labels.dtype.kind in "uifb" and labels.size:
        ones = np.isin(labels, (0, 1)).all() and (labels.astype(np.int64).sum(axis=1) == 1).all()
        if not ones:
            raise UserError(
                f"{shown}: {name} has {labels.shape[1]} labels for each image; "
                "needs one whole number for each, from 0 to the number of classes - 1"
            )
        labels = labels.argmax(axis=1)
    if labels.dtype.kind == "f" and np.isfinite(labels).all() and (labels == labels.round()).all():
        labels = labels.clip(-1, 2**31).astype(np.int64)
    whole = labels.dtype.kind in "iub" and labels.ndim == 1
    if not whole or (labels.size and (labels.min() < 0 or labels.max() >= 2**31)):
        raise UserError(
            f"{shown}: {name} is {labels.dtype} of shape {labels.shape}{_ends(labels)}; "
            f"needs N whole numbers from 0 to the number of classes - 1{_numbering(name, labels)}"
        )
    return labels.astype(np.int64)


def _classes(shown: str, given: NDArray[Any] | None, splits: dict[str, Pair]) -> tuple[str, ...]:
    """The names of the classes, by their numbers where the file gives none."""
    highest = max(int(labels.max()) for _, labels in splits.values())
    num_train = len(splits["train"][1])
    if given is not None and (given.ndim != 1 or given.dtype.kind not in "US"):
        raise UserError(
            f"{shown}: classes is {given.dtype} of shape {given.shape}; needs a list of texts"
        )
    num_classes = highest + 1 if given is None else len(given)
    if num_classes < 2 or highest >= num_classes:
        raise UserError(
            f"{shown}: labels go to {highest} and there are {num_classes} classes; "
            "needs two or more, numbered from 0"
        )
    if num_train < num_classes:
        raise UserError(
            f"{shown}: fewer images ({num_train}) than classes ({num_classes}); "
            "each class needs at least two"
        )
    named = range(num_classes) if given is None else given.tolist()
    texts = [_decoded(name) for name in named]
    if len(set(texts)) < len(texts):
        raise UserError(
            f"{shown}: classes has a name twice: {quoted(texts)}; give each class its own"
        )
    counts = np.bincount(splits["train"][1], minlength=num_classes)
    if empty := [texts[label] for label in np.flatnonzero(counts == 0)]:
        raise UserError(
            f"{shown}: no training images in class {quoted(empty)}; "
            "add some or renumber the labels from 0"
        )
    return tuple(texts)


def _decoded(name: str | bytes | int) -> str:
    """A class's name as text that UTF-8 can hold."""
    text = name.decode("utf-8", "backslashreplace") if isinstance(name, bytes) else str(name)
    return text.encode("utf-8", "backslashreplace").decode()
