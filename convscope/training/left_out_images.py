"""Runs as they would be without some of the images that they were evaluated on.

So a study's verdicts can be asked for again without images that are suspected: of a wrong label,
or of being in the training images. Nothing is trained; training images all stay.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Collection, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from convscope.data import Dataset, Split
from convscope.training.runs import Run

HeldOut = Literal["val", "test"]
LeftOut = Mapping[str, Collection[int]]  # "val" or "test" -> rows of its images, from 0

_left_out: ContextVar[LeftOut | None] = ContextVar("left_out", default=None)


@contextlib.contextmanager
def without_images(left_out: LeftOut) -> Iterator[None]:
    """Inside, runs are read as if these images had not been evaluated.

    That goes for rows, losses, answers and the history by image. What was computed from a run's
    weights before, and the epoch that was chosen, stay.
    """
    token = _left_out.set(left_out)
    try:
        yield
    finally:
        _left_out.reset(token)


def data_without(data: Dataset, left_out: LeftOut) -> Dataset:
    """The data set without these images of its validation and test split; its hash stays."""
    parts: dict[str, Split] = {}
    for split, rows in left_out.items():
        own: Split = getattr(data, split)
        kept = mask_of(len(own), rows)
        parts[split] = Split(own.images[kept], own.labels[kept])
    return replace(data, **parts)


def mask_of(count: int, rows: Collection[int]) -> Tensor:
    """Which of `count` images are kept: booleans."""
    kept = torch.ones(count, dtype=torch.bool)
    kept[torch.tensor(sorted(rows), dtype=torch.int64)] = False
    return kept


def kept(values: Tensor, split: HeldOut) -> Tensor:
    """Values by image, ...×N, of the images that are not left out."""
    rows = (_left_out.get() or {}).get(split)
    return values[..., mask_of(values.shape[-1], rows)] if rows else values


def number_left_out(split: HeldOut) -> int:
    """How many images of a split are left out."""
    return len((_left_out.get() or {}).get(split, ()))


def is_whole() -> bool:
    """Whether no image is left out."""
    return not any((_left_out.get() or {}).values())


@dataclass(frozen=True)
class PartialRun(Run):
    """A run whose rows leave some images out; best_epoch: as all images have it."""

    best_epoch: int = 0

    @functools.cached_property
    def best(self) -> dict[str, Any]:
        """The row of the epoch that was best on all validation images: its weights were kept."""
        return next(row for row in self.rows if row["epoch"] == self.best_epoch)
