"""Image arrays in .npz files."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convscope.data.content import Pair
from convscope.data.folders import quoted
from convscope.data.memory import refuse_what_does_not_fit
from convscope.errors import UserError, one_line

NAMES = {  # split -> names of (images, labels), Keras's first
    "train": (("x_train", "y_train"), ("train_images", "train_labels"), ("images", "labels")),
    "val": (("x_val", "y_val"), ("val_images", "val_labels")),
    "test": (("x_test", "y_test"), ("test_images", "test_labels")),
}
USED = {"classes", *(name for pairs in NAMES.values() for pair in pairs for name in pair)}


def read_npz(path: Path) -> tuple[dict[str, Pair], tuple[str, ...]]:
    """The splits and classes of an .npz file. No pickles are read.

    Names: x_train, y_train, x_test, y_test, or train_images, train_labels, test_images,
    test_labels, or images, labels; val likewise; `classes` (texts) may be there. Images are uint8,
    N×H×W, N×H×W×C or N×C×H×W with C up to 4. Raises UserError for anything else.
    """
    shown = one_line(path)
    arrays, present = _arrays(path, shown)
    splits: dict[str, Pair] = {}
    for split, candidates in NAMES.items():
        for images, labels in candidates:
            if images in arrays and labels in arrays and split not in splits:
                splits[split] = (
                    _images(shown, images, arrays[images]),
                    _labels(shown, labels, arrays[labels]),
                )
                counts = [len(array) for array in splits[split]]
                if counts[0] != counts[1]:
                    found = f"{counts[0]:,} images in {images} and {counts[1]:,} labels in {labels}"
                    raise UserError(f"{shown}: {found}; give each image one label")
    if "train" not in splits:
        raise UserError(
            f"{shown}: holds {quoted(present) or 'nothing'}; "
            "needs x_train and y_train (x_test, y_test), or images and labels"
        )
    shapes = sorted({images.shape[1:] for images, _ in splits.values()})
    classes = _classes(shown, arrays.get("classes"), splits)
    if len(shapes) > 1:
        raise UserError(
            f"{shown}: train, val and test images differ in shape: {shapes}; give all one shape"
        )
    return splits, classes


def _arrays(path: Path, shown: str) -> tuple[dict[str, NDArray[Any]], list[str]]:
    """The arrays that have a meaning here, and the names of all."""
    try:
        with zipfile.ZipFile(path) as archive:
            needed = sum(member.file_size for member in archive.infolist())
        refuse_what_does_not_fit(needed, f"{shown}: unpacks to", "store fewer images")
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files if name in USED}
            return arrays, sorted(archive.files)
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


def _images(shown: str, name: str, images: NDArray[Any]) -> NDArray[np.uint8]:
    if images.dtype != np.uint8:
        raise UserError(f"{shown}: {name} is {images.dtype}; store uint8, 0 to 255")
    if images.ndim == 3:
        images = images[..., None]
    elif images.ndim == 4 and images.shape[3] > 4 >= images.shape[1]:
        images = images.transpose(0, 2, 3, 1)
    if images.ndim != 4 or images.shape[3] > 4 or 0 in images.shape:
        raise UserError(
            f"{shown}: {name} has shape {images.shape}; "
            "needs N×H×W, N×H×W×C or N×C×H×W with C from 1 to 4"
        )
    return np.ascontiguousarray(images)


def _labels(shown: str, name: str, labels: NDArray[Any]) -> NDArray[np.int64]:
    if labels.ndim == 2 and labels.shape[1] == 1:  # Keras's CIFAR-10 has N×1
        labels = labels[:, 0]
    whole = labels.dtype.kind in "iu" and labels.ndim == 1
    if not whole or (labels.size and (labels.min() < 0 or labels.max() >= 2**31)):
        raise UserError(
            f"{shown}: {name} is {labels.dtype} of shape {labels.shape}; "
            "needs N whole numbers from 0 to the number of classes - 1"
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
