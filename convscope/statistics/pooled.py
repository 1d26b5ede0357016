"""Whole-split losses and accuracies of configurations as estimates, from their runs.

Where all runs recorded each image, seeds and images are crossed random factors (crossed_factors.py). Else,
and for training losses, seed and sampling error are added up, which errs on the careful side: the
spread between seeds contains some of the images' noise already.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from convscope.data import Dataset
from convscope.statistics.answers import losses_by_image, recorded_answers
from convscope.statistics.crossed_factors import crossed
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
    if split != "train":
        seen = {k: [losses_by_image(run, split, when) for run in r] for k, r in groups.items()}
        means = {k: [row[f"{split}_loss"] for row in some] for k, some in rows.items()}
        if (found := by_image(seen, means)) is not None:
            return found
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
    if split != "train":
        right = {
            k: [recorded_answers(run, data, split) for run in runs] for k, runs in groups.items()
        }
        if (found := by_image(right, values)) is not None:
            return {k: within_0_and_1(e) for k, e in found.items()}
    binomial = {
        key: math.sqrt(max(seen) * (1 - min(seen)) / evaluated_images(data, groups[key][0], split))
        for key, seen in values.items()
    }
    return {k: within_0_and_1(e) for k, e in estimates(values, binomial).items()}


def within_0_and_1(e: Estimate) -> Estimate:
    return replace(e, low=max(0.0, e.low), high=min(1.0, e.high))


def by_image(
    values: Mapping[K, Sequence[NDArray[np.floating]]], means: Mapping[K, Sequence[float]]
) -> dict[K, Estimate] | None:
    """Estimates from values by seed and image; None where some are unknown.

    values: for each configuration the values of the same images, an array per seed.
    means: the same, exact, as the rows of the runs have them.
    """
    lengths = {len(one) for seeds in values.values() for one in seeds}
    if len(lengths) != 1 or 0 in lengths:
        return None
    keys = list(values)
    found = replace(
        crossed([np.stack(list(values[key])) for key in keys]),
        means=tuple(np.asarray(means[key], dtype=float) for key in keys),
    )
    known = found.seed_variance
    out = {}
    for i, key in enumerate(keys):
        level = found.contrast([0.0] * i + [1.0])
        image = max(0.0, float(found.covariance[i, i])) / found.images
        n = len(means[key])
        seed_sd = math.sqrt(max(0.0, level.se**2 - image) * n) if known.degrees[i] else math.nan
        out[key] = Estimate(
            level.mean, level.se, level.low, level.high, n, seed_sd, math.sqrt(image)
        )
    return out
