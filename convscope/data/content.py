"""What every source of a data set makes: arrays by split, on their way into the cache."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from convscope.data.depth import Scale
    from convscope.data.preview import Preview

Progress = Callable[[str, int, int | None], None]  # what is done, how much of it, of how much

Pair = tuple[NDArray[np.uint8], NDArray[np.int64]]  # images N×H×W×C, labels N

Splits = dict[str, Pair]

OWN = "the user's own data"  # their licence


@dataclass(frozen=True)
class Content:
    """A data set on its way into the cache.

    splits: "train", and where the data have them "val" and "test".
    classes: their names, in the order of the labels.
    source: where the data came from, in words.
    licence: under which terms.
    notes: sentences to show to the user, without the full stop.
    groups: a number for each training image; no group may be in two splits. None: no groups.
    preview: what the files were, where the source tells.
    scales: depth of an image's values -> the range that became 0 … 255.
    """

    splits: Splits
    classes: tuple[str, ...]
    source: str
    licence: str
    notes: tuple[str, ...] = ()
    groups: NDArray[np.int64] | None = None
    preview: Preview | None = None
    scales: Mapping[str, Scale] = field(default_factory=dict)


# makes the content in a folder that is the caller's to delete
Maker = Callable[[Path, Progress | None], Content]
