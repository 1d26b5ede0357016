"""What arrays are called in files of images, and what the names mean."""

from __future__ import annotations

import re

from convscope.data.layout import SPLITS

NAMES = {  # split -> names of (images, labels), Keras's first: they win over the others
    "train": (("x_train", "y_train"), ("train_images", "train_labels"), ("images", "labels")),
    "val": (("x_val", "y_val"), ("val_images", "val_labels")),
    "test": (("x_test", "y_test"), ("test_images", "test_labels")),
}

IMAGES = {
    *("x", "xs", "image", "images", "img", "imgs", "data", "input", "inputs", "feature"),
    *("features", "pixels", "pictures", "samples", "arr0"),
}
LABELS = {
    *("y", "ys", "label", "labels", "lbl", "lbls", "target", "targets", "class", "classid"),
    *("classids", "gt", "arr1", "finelabels"),
}
CLASSES = {"classes", "classnames", "labelnames", "targetnames", "names"}


def meaning_of(name: str) -> tuple[str, str] | None:
    """The split and the kind, "images" or "labels", that the name of an array says.

    Case and order do not matter: X_train, trainX, train_data, labels_test. A name without a split
    is of the training images. None for a name that says neither images nor labels.
    """
    plain = re.sub(r"[^a-z0-9]", "", name.lower())
    for word, split in [("", "train"), *SPLITS.items()]:
        for rest in {plain.removeprefix(word), plain.removesuffix(word)}:
            if len(rest) + len(word) != len(plain):
                continue
            if rest in IMAGES:
                return split, "images"
            if rest in LABELS:
                return split, "labels"
    return None
