"""How often a study of the same size would come to the same word: a hierarchical bootstrap.

A draw takes the images anew, with replacement and the same for all configurations, and gives every
seed a new deviation from its configuration's mean, from a normal law with the estimated variance:
two to five seeds are too few to be drawn from themselves. The decision rule then runs on the draw.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import numpy as np

from convscope.statistics.crossed_factors import Crossed, Values, crossed

DRAWS = 400

W = TypeVar("W")


def replication(
    values: Sequence[Values],
    decide: Callable[[Crossed], W],
    found: Crossed | None = None,
    draws: int = DRAWS,
    seed: int = 0,
) -> float | None:
    """The share of draws in which `decide` returns what it returns for `values` themselves.

    values: for each configuration an array seeds × images.
    decide: the decision rule, of the statistics of these configurations.
    found: crossed(values), perhaps joined with configurations that tell about seeds alone.

    None where no configuration has two seeds: the variance between seeds is unknown.
    """
    own = crossed(values)
    found = found or own
    if max(found.seeds) < 2:
        return None
    word = decide(own)
    return float(np.mean([decide(one) == word for one in redrawn(values, found, draws, seed)]))


def redrawn(
    values: Sequence[Values], found: Crossed, draws: int, seed: int = 0
) -> Iterator[Crossed]:
    """What studies of the same size might have found; the arguments are those of `replication`."""
    rng = np.random.default_rng(seed)
    images, seeds = found.images, found.seeds[: len(values)]
    by_image = np.stack([np.atleast_2d(v).mean(axis=0) for v in values]).astype(np.float64)
    shared = np.nan_to_num(found.residual) / images
    spread = np.sqrt(np.fmax(0.0, np.nan_to_num(found.seed_variance.values) - shared))
    for _ in range(draws):
        weights = np.bincount(rng.integers(images, size=images), minlength=images) / images
        centre = by_image @ weights
        means = [
            centre[c] + rng.normal(0, spread[c], n) + residual(rng, n, shared[c])
            for c, n in enumerate(seeds)
        ]
        away = by_image - centre[:, None]
        covariance = (away * weights) @ away.T * images / max(1, images - 1)
        yield Crossed(tuple(means), covariance, found.residual[: len(seeds)], images)


def residual(rng: np.random.Generator, seeds: int, variance: float) -> Values:
    """Deviations of the seeds' means by what image and seed share.

    They add up to 0: their mean is in the draw of the images already.
    """
    drawn = rng.normal(0, np.sqrt(variance), seeds)
    return drawn - drawn.mean()
