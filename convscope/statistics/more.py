"""How many seeds or images would settle a comparison, if differences are as they look now."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from convscope.statistics.crossed_factors import Crossed
from convscope.statistics.estimation import quantile

POWER_OF_TWO_ENDS = 1.2815515655446004  # at 90 %

POWER_QUANTILE = 0.8416212335729143  # of the normal distribution at 80 %: the chance to settle it

MOST = 1000  # times as many as there are

# of the two-sided intervals that must lie within the margin, and beyond it: both tests at 5 %
LEVELS = (0.90, 0.90)


@dataclass(frozen=True)
class Parts:
    """A difference of two configurations and where its uncertainty comes from.

    seeds: of the configuration that has fewer.
    images: how many were evaluated.
    image, seed: the two parts of the variance.
    shared: what of the image's part is of seed and image together, and shrinks with either.
    degrees: of freedom of the variance between seeds.
    """

    difference: float
    seeds: int
    images: int
    image: float
    seed: float
    degrees: float
    shared: float = 0.0


def parts_of(found: Crossed, a: int, b: int) -> Parts | None:
    """None where the variance between seeds is unknown."""
    difference = found.difference(a, b)
    if not difference.degrees:
        return None
    covariance = found.covariance
    image = max(0.0, (covariance[a, a] + covariance[b, b] - 2 * covariance[a, b]) / found.images)
    shared = sum(
        float(np.nan_to_num(found.residual[c])) / (found.seeds[c] * found.images) for c in (a, b)
    )
    return Parts(
        difference.mean,
        min(found.seeds[a], found.seeds[b]),
        found.images,
        float(image),
        float(max(0.0, difference.se**2 - image)),
        float(found.seed_variance.degrees[[a, b]].min()),
        min(shared, float(image)),
    )


def seeds_needed(
    parts: Parts | None,
    margin: float,
    beyond: float = 0.0,
    levels: tuple[float, float] = LEVELS,
) -> int | None:
    """How many seeds of each configuration would probably settle it; None: not by seeds.

    margin: what counts as equivalent.
    beyond: a difference is settled, too, where it is larger than this with confidence.
    levels: of the intervals by which the rule decides either.
    """
    if parts is None:
        return None
    factor = smallest(
        lambda k: settled(
            parts.difference,
            math.sqrt(parts.image - parts.shared + (parts.seed + parts.shared) / k),
            parts.degrees * k,
            margin,
            beyond,
            levels,
        )
    )
    return None if factor is None else math.ceil(parts.seeds * factor)


def images_needed(
    parts: Parts | None,
    margin: float,
    beyond: float = 0.0,
    levels: tuple[float, float] = LEVELS,
) -> int | None:
    """How many images would probably settle it, with the seeds there are; None: not by images."""
    if parts is None:
        return None
    factor = smallest(
        lambda k: settled(
            parts.difference,
            math.sqrt(parts.image / k + parts.seed),
            parts.degrees,
            margin,
            beyond,
            levels,
        )
    )
    return None if factor is None else math.ceil(parts.images * factor)


def settled(
    difference: float,
    se: float,
    degrees: float,
    margin: float,
    beyond: float,
    levels: tuple[float, float] = LEVELS,
) -> bool:
    """Whether a study with this standard error finds a word with a probability of 80 %.

    A difference within ± margin may miss it at either end, each with 10 %.
    """
    inside = (quantile(levels[0], degrees) + POWER_OF_TWO_ENDS) * se
    outside = (quantile(levels[1], degrees) + POWER_QUANTILE) * se
    return abs(difference) + inside < margin or abs(difference) - outside > beyond


def smallest(settles: Callable[[float], bool]) -> float | None:
    """The smallest factor from 1 to MOST that settles, to 1 %; a larger one settles, too."""
    if not settles(MOST):
        return None
    low, high = 1.0, float(MOST)
    if settles(low):
        return low
    while high / low > 1.01:
        middle = math.sqrt(low * high)
        low, high = (low, middle) if settles(middle) else (middle, high)
    return high
