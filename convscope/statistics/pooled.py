"""Whole-split losses and accuracies of configurations as estimates, from their runs.

The seeds' variance is pooled over the configurations that are given together.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal, TypeVar

from convscope.data import Dataset
from convscope.statistics.estimation import Estimate, estimates
from convscope.training import Run

K = TypeVar("K")

Split = Literal["train", "val", "test"]


def evaluated_images(data: Dataset, run: Run, split: Split) -> int:
    """How many images a run's figures on a split are means over.

    Of the training split these are the images that it was trained on, or a sample of them.
    """
    count = len(getattr(data, split))
    if split != "train":
        return count
    return min(count, run.recipe.limit or count, run.recipe.train_sample or count)


def losses(
    groups: Mapping[K, Sequence[Run]],
    data: Dataset,
    split: Split,
    when: Literal["best", "last"] = "best",
) -> dict[K, Estimate]:
    """Mean loss over seeds of each configuration; its sampling error is that of the images' losses.

    groups: the runs of each configuration, by a key of the caller's.
    when: at each run's best epoch, or after the last one.
    """
    rows = {key: [getattr(run, when) for run in runs] for key, runs in groups.items()}
    spread = {
        key: max(row[f"{split}_loss_sd"] for row in rows[key])
        / math.sqrt(evaluated_images(data, runs[0], split))
        for key, runs in groups.items()
    }
    return estimates(
        {key: [row[f"{split}_loss"] for row in seen] for key, seen in rows.items()}, spread
    )


def accuracies(groups: Mapping[K, Sequence[Run]], data: Dataset, split: Split) -> dict[K, Estimate]:
    """Mean accuracy over seeds of each configuration, at each run's best epoch.

    Its sampling error is binomial; intervals stay within 0 … 1.
    """
    values = {key: [run.best[f"{split}_accuracy"] for run in runs] for key, runs in groups.items()}
    binomial = {
        key: math.sqrt(max(seen) * (1 - min(seen)) / evaluated_images(data, groups[key][0], split))
        for key, seen in values.items()
    }
    return {
        k: replace(e, low=max(0.0, e.low), high=min(1.0, e.high))
        for k, e in estimates(values, binomial).items()
    }
