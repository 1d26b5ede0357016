"""A data set: three splits of uint8 tensors, and what can be said of them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch

from convscope.data.class_balance import UNEQUAL, ratio_of
from convscope.data.content import OWN
from convscope.errors import one_line

if TYPE_CHECKING:
    from convscope.data.alike import NearDuplicates
    from convscope.data.depth import Scale
    from convscope.data.preview import Preview


@dataclass(frozen=True)
class Split:
    """Images with their labels; memory-mapped where it is a whole stored split.

    images: uint8, N×C×H×W, stored as N×H×W×C.
    labels: int64, N, each a class from 0.
    """

    images: torch.Tensor
    labels: torch.Tensor

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Dataset:
    """Three splits and where they came from.

    name: what it is called in reports.
    train: training images.
    val: validation images; there may be none.
    test: test images.
    classes: names of the classes, in the order of the labels.
    hash: SHA-256 of shapes, classes, pixels and labels as stored.
    source: where the data came from, in words.
    licence: under which terms.
    notes: sentences to show to the user, without the full stop.
    held_out: (val, split_seed) that `load` was given; None for data made by hand.
    preview: what the files were, where the source tells.
    scales: depth of an image's values -> the range that became 0 … 255.
    """

    name: str
    train: Split
    val: Split
    test: Split
    classes: tuple[str, ...]
    hash: str
    source: str
    licence: str
    notes: tuple[str, ...]
    held_out: tuple[float, int] | None = None
    preview: Preview | None = None
    scales: Mapping[str, Scale] = field(default_factory=dict, compare=False)

    @property
    def in_shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        channels, height, width = self.train.images.shape[1:]
        return channels, height, width

    @property
    def num_classes(self) -> int:
        return len(self.classes)

    @property
    def said(self) -> tuple[str, ...]:
        """How the user's own files were read and what was skipped: to be said before training."""
        if self.preview is None:
            return self.notes if self.licence == OWN else ()
        return (f"read as {self.preview.in_short}", *self.notes)

    def __str__(self) -> str:
        channels, height, width = self.in_shape
        counts = (
            f"{len(self.train):,} training, {len(self.val):,} validation "
            f"and {len(self.test):,} test images"
        )
        what = f"{counts} of {height}×{width}×{channels}, {self.num_classes} classes"
        sentences = [f"{one_line(self.name)}: {what}.", f"Source: {self.source}."]
        return " ".join([*sentences, f"Licence: {self.licence}.", *(f"{n}." for n in self.notes)])


@dataclass(frozen=True)
class DataInfo:
    """What is in a data set.

    name: what it is called.
    classes: names of the classes, in the order of the labels.
    counts: split -> images.
    balance: split -> images of each class.
    test_duplicates: test images whose pixels are also those of a training or validation image.
    train_duplicates: training images whose pixels are those of an earlier training image.
    mean: of the training pixels in [0, 1], one per channel.
    std: their population standard deviation, one per channel.
    near: what a search for near-duplicates found; empty where there was none.
    preview: what the files were, where the source tells.
    contradictions: images whose pixels are also those of an image of another class.
    """

    name: str
    classes: tuple[str, ...]
    counts: dict[str, int]
    balance: dict[str, tuple[int, ...]]
    test_duplicates: int
    train_duplicates: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    near: tuple[NearDuplicates, ...] = ()
    preview: Preview | None = None
    contradictions: int = 0

    def __str__(self) -> str:
        rows = [("class", *self.counts)]
        for i, name in enumerate(self.classes):
            rows.append((one_line(name, 40), *(str(n[i]) for n in self.balance.values())))
        rows.append(("all", *(f"{n:,}" for n in self.counts.values())))
        left = max(len(row[0]) for row in rows)
        lines = [f"{row[0]:<{left}}" + "".join(f"{cell:>10}" for cell in row[1:]) for row in rows]
        lines += ["", f"{'channel':<{left}}{'mean':>10}{'std':>10}"]
        for i, (mean, std) in enumerate(zip(self.mean, self.std, strict=True)):
            lines.append(f"{i:<{left}}{mean:>10.4f}{std:>10.4f}")
        duplicates = (
            f"exact duplicates: {self.train_duplicates:,} within train, "
            f"{self.test_duplicates:,} test images are in train or val"
        )
        if self.contradictions:
            duplicates += (
                f"; {self.contradictions:,} images have the pixels of one of another class: "
                "one of their labels is wrong"
            )
        near = [f"near-duplicates: {found}" for found in self.near]
        if self.imbalance >= UNEQUAL:
            near.append(f"unequal classes: {self.told_imbalance()}")
        before = [] if self.preview is None else [str(self.preview), ""]
        return "\n".join([one_line(self.name), *before, *lines, "", duplicates, *near])

    @property
    def imbalance(self) -> float:
        """The largest class by the smallest, in training or test images."""
        return max(ratio_of(self.balance[split]) for split in ("train", "test"))

    def told_imbalance(self) -> str:
        """What unequal classes mean for accuracy."""
        tests = self.balance["test"]
        always = max(tests) / max(1, sum(tests))
        return (
            f"the largest has {self.imbalance:.1f} times the images of the smallest; always naming "
            f"the largest is right in {always:.1%} of the test images, so read balanced accuracy, "
            f"for which that is {1 / max(1, sum(map(bool, tests))):.1%}, beside accuracy"
        )

    def to_json(self) -> dict[str, object]:
        """Plain JSON values."""
        return {**asdict(self), "imbalance": self.imbalance}


def info(data: Dataset, *, near: bool = False) -> DataInfo:
    """Count images, classes and exact duplicates, and measure the training pixels.

    data: three splits.
    near: whether near-duplicates are searched, too; for CIFAR-10 that takes some seconds.
    """
    from convscope.data.alike import near_duplicates

    splits = {"train": data.train, "val": data.val, "test": data.test}
    balance = {
        name: tuple(torch.bincount(split.labels, minlength=data.num_classes).tolist())
        for name, split in splits.items()
    }
    pixels = {
        name: split.images.permute(0, 2, 3, 1).contiguous().numpy()
        for name, split in splits.items()
    }
    prints = {
        name: [hashlib.blake2b(image.data, digest_size=16).digest() for image in images]
        for name, images in pixels.items()
    }
    labels_of: dict[bytes, set[int]] = {}
    pairs = [
        (one, label)
        for name, split in splits.items()
        for one, label in zip(prints[name], split.labels.tolist(), strict=True)
    ]
    for one, label in pairs:
        labels_of.setdefault(one, set()).add(label)
    num_distinct, known = len(set(prints["train"])), set(prints["train"] + prints["val"])
    # exact: no rounding error in sums of 150 million pixels
    histogram = np.zeros((data.in_shape[0], 256), np.int64)
    for start in range(0, len(data.train), 1_000):
        for channel, row in enumerate(histogram):
            row += np.bincount(
                pixels["train"][start : start + 1_000, ..., channel].ravel(), minlength=256
            )
    values = np.arange(256) / 255
    weights = histogram / histogram.sum(axis=1, keepdims=True)
    mean = weights @ values
    std = np.sqrt((weights * (values - mean[:, None]) ** 2).sum(axis=1))
    return DataInfo(
        data.name,
        data.classes,
        counts={name: len(split) for name, split in splits.items()},
        balance=balance,
        test_duplicates=sum(p in known for p in prints["test"]),
        train_duplicates=len(data.train) - num_distinct,
        mean=tuple(mean.tolist()),
        std=tuple(std.tolist()),
        near=near_duplicates(data) if near else (),
        preview=data.preview,
        contradictions=sum(len(labels_of[one]) > 1 for one, _ in pairs),
    )
