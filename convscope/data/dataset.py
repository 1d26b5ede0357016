"""A data set: three splits of uint8 tensors, and what can be said of them."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass

import numpy as np
import torch

from convscope.errors import one_line


@dataclass(frozen=True)
class Split:
    """Images uint8 N×C×H×W (stored N×H×W×C) and labels int64 N; memory-mapped where it is a whole stored split."""

    images: torch.Tensor
    labels: torch.Tensor

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Dataset:
    """Three splits and where they came from; `hash` is the SHA-256 of shapes, classes, pixels and labels as stored."""

    name: str
    train: Split
    val: Split
    test: Split
    classes: tuple[str, ...]
    hash: str
    source: str
    licence: str
    notes: tuple[str, ...]  # sentences to show to the user
    held_out: tuple[float, int] | None = (
        None  # (val, split_seed) that `load` was given; None for data made by hand
    )

    @property
    def in_shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        channels, height, width = self.train.images.shape[1:]
        return channels, height, width

    @property
    def num_classes(self) -> int:
        return len(self.classes)

    def __str__(self) -> str:
        channels, height, width = self.in_shape
        counts = f"{len(self.train):,} training, {len(self.val):,} validation and {len(self.test):,} test images"
        text = f"{one_line(self.name)}: {counts} of {height}×{width}×{channels}, {self.num_classes} classes. Source: {self.source}."
        return " ".join([text, f"Licence: {self.licence}.", *(f"{note}." for note in self.notes)])


@dataclass(frozen=True)
class DataInfo:
    """What is in a data set: images per split and class, exact duplicates, and the training pixels' mean and spread."""

    name: str
    classes: tuple[str, ...]
    counts: dict[str, int]  # split -> images
    balance: dict[str, tuple[int, ...]]  # split -> images of each class
    test_duplicates: (
        int  # test images whose pixels are also those of a training or validation image
    )
    train_duplicates: int  # training images whose pixels are those of an earlier training image
    mean: tuple[float, ...]  # of the training pixels in [0, 1], one a channel
    std: tuple[float, ...]

    def __str__(self) -> str:
        rows = [
            ("class", *self.counts),
            *(
                (one_line(c, 40), *(str(n[i]) for n in self.balance.values()))
                for i, c in enumerate(self.classes)
            ),
        ]
        rows.append(("all", *(f"{n:,}" for n in self.counts.values())))
        left = max(len(row[0]) for row in rows)
        lines = [f"{row[0]:<{left}}" + "".join(f"{cell:>10}" for cell in row[1:]) for row in rows]
        lines += ["", f"{'channel':<{left}}{'mean':>10}{'std':>10}"]
        lines += [
            f"{i:<{left}}{mean:>10.4f}{std:>10.4f}"
            for i, (mean, std) in enumerate(zip(self.mean, self.std, strict=True))
        ]
        lines += [
            "",
            f"exact duplicates: {self.train_duplicates:,} within train, {self.test_duplicates:,} test images are in train or val",
        ]
        return "\n".join([f"{one_line(self.name)}", *lines])

    def to_json(self) -> dict[str, object]:
        """Plain JSON values."""
        return asdict(self)


def info(data: Dataset) -> DataInfo:
    """Count images, classes and exact duplicates, and measure the training pixels (population standard deviation)."""
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
    num_distinct, known = len(set(prints["train"])), set(prints["train"] + prints["val"])
    histogram = np.zeros(
        (data.in_shape[0], 256), np.int64
    )  # exact: no rounding error in sums of 150 million pixels
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
        {name: len(split) for name, split in splits.items()},
        balance,
        sum(p in known for p in prints["test"]),
        len(data.train) - num_distinct,
        tuple(mean.tolist()),
        tuple(std.tolist()),
    )
