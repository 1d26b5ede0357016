"""How many seeds or images would settle a comparison, if differences are as they look now."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from convscope.statistics.crossed_factors import Crossed
from convscope.statistics.estimation import quantile

POWER_QUANTILE = 0.8416212335729143  # of the normal distribution at 80 %: the chance to settle it

MOST = 1000  # times as many as there are


@dataclass(frozen=True)
class Parts:
    """A difference of two configurations and where its uncertainty comes from.

    seeds: of the configuration that has fewer.
    images: how many were evaluated.
    image, seed: the two parts of the variance.
    degrees: of freedom of the variance between seeds.
    """

    difference: float
    seeds: int
    images: int
    image: float
    seed: float
    degrees: float


def parts_of(found: Crossed, a: int, b: int) -> Parts | None:
    """None where the variance between seeds is unknown."""
    difference = found.difference(a, b)
    if not difference.degrees:
        return None
    covariance = found.covariance
    image = (covariance[a, a] + covariance[b, b] - 2 * covariance[a, b]) / found.images
    return Parts(
        difference.mean,
        min(found.seeds[a], found.seeds[b]),
        found.images,
        float(max(0.0, image)),
        float(max(0.0, difference.se**2 - image)),
        float(found.seed_variance.degrees[[a, b]].min()),
    )


def seeds_needed(parts: Parts | None, margin: float, beyond: float = 0.0) -> int | None:
    """How many seeds of each configuration would probably settle it; None: not by seeds.

    margin: what counts as equivalent.
    beyond: a difference is settled, too, where it is larger than this with confidence.
    """
    if parts is None:
        return None
    factor = smallest(
        lambda k: settled(
            parts.difference,
            math.sqrt(parts.image + parts.seed / k),
            parts.degrees * k,
            margin,
            beyond,
        )
    )
    return None if factor is None else math.ceil(parts.seeds * factor)


def images_needed(parts: Parts | None, margin: float, beyond: float = 0.0) -> int | None:
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
        )
    )
    return None if factor is None else math.ceil(parts.images * factor)


def settled(difference: float, se: float, degrees: float, margin: float, beyond: float) -> bool:
    """Whether a study with this standard error finds a word with a probability of 80 %."""
    reach = (quantile(0.90, degrees) + POWER_QUANTILE) * se
    return abs(difference) + reach < margin or abs(difference) - reach > beyond


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
