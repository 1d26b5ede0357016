"""Differences of two configurations, paired by image, and equivalence."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from convscope.statistics.estimation import LEVEL, Estimate, quantile


def difference_se(a: Estimate, b: Estimate) -> float:
    """Standard error of a difference of two configurations; the shared evaluated set is ignored, which errs on the careful side."""
    return math.hypot(a.se, b.se)


@dataclass(frozen=True)
class Difference:
    """mean of a − mean of b with its standard error and 95 % interval; `degrees` of freedom of the seeds' variance (0: unknown, normal quantiles)."""

    mean: float
    se: float
    low: float
    high: float
    degrees: int
    n: tuple[int, int]

    def within(self, level: float) -> tuple[float, float]:
        """The two-sided interval of another level."""
        t = quantile(level, self.degrees)
        return self.mean - t * self.se, self.mean + t * self.se


def paired_difference(
    a: Sequence[NDArray[np.floating]],
    b: Sequence[NDArray[np.floating]],
    seed_sd: float,
    degrees: int,
) -> Difference:
    """Difference of two configurations' means from their values on the same images: one array of N values a seed.

    SE² = s² (1/nₐ + 1/n_b) + v/N, with s the seeds' standard deviation (pooled over configurations, `degrees` of freedom) and v the variance over images of
    the difference of the two seed means: what the images have in common cancels.
    """
    gap = np.asarray(
        np.mean(np.stack(a), axis=0, dtype=np.float64)
        - np.mean(np.stack(b), axis=0, dtype=np.float64)
    )
    sampling = float(gap.var(ddof=1)) / len(gap) if len(gap) > 1 else 0.0
    seeds = seed_sd**2 * (1 / len(a) + 1 / len(b)) if degrees else 0.0
    mean, se = float(gap.mean()), math.sqrt(sampling + seeds)
    t = quantile(LEVEL, degrees)
    return Difference(mean, se, mean - t * se, mean + t * se, degrees, (len(a), len(b)))


def equivalence(difference: Difference, margin: float) -> str:
    """ "equivalent": both one-sided tests at 5 % put the difference inside ± margin, that is, its 90 % interval lies there (Schuirmann 1987).

    "different": not equivalent, and the 95 % interval excludes 0. "cannot tell": neither, or the seeds' variance is unknown.
    """
    if not difference.degrees:
        return "cannot tell"
    low, high = difference.within(0.90)
    if -margin < low and high < margin:
        return "equivalent"
    return "different" if difference.low > 0 or difference.high < 0 else "cannot tell"
