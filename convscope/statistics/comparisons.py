"""Differences of two configurations, paired by image, and equivalence."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convscope.statistics.configuration import Configuration
from convscope.statistics.estimation import LEVEL, Estimate, pooled_sd, quantile


@dataclass(frozen=True)
class Difference:
    """The mean of a minus that of b, with its standard error and 95 % interval."""

    mean: float
    se: float
    low: float
    high: float
    degrees: int  # of freedom of the seeds' variance; 0: it is unknown, quantiles are normal
    n: tuple[int, int]  # seeds of a and of b

    def within(self, level: float) -> tuple[float, float]:
        """The two-sided interval of another level."""
        t = quantile(level, self.degrees)
        return self.mean - t * self.se, self.mean + t * self.se

    def numbers(self) -> dict[str, Any]:
        """For results.json."""
        return {
            "difference": self.mean,
            "interval": [self.low, self.high],
            "se": self.se,
            "seeds": list(self.n),
        }


def difference_se(a: Estimate, b: Estimate) -> float:
    """The standard error of a difference of two configurations.

    Both are evaluated on the same images, which is ignored: it errs on the careful side.
    """
    return math.hypot(a.se, b.se)


def difference_of(mean: float, se: float, degrees: int, n: tuple[int, int]) -> Difference:
    """The difference with its 95 % interval."""
    t = quantile(LEVEL, degrees)
    return Difference(mean, se, mean - t * se, mean + t * se, degrees, n)


def paired_difference(
    a: Sequence[NDArray[np.floating]],
    b: Sequence[NDArray[np.floating]],
    seed_sd: float,
    degrees: int,
) -> Difference:
    """The difference of two configurations' means, paired by image.

    SE² = s² (1/nₐ + 1/n_b) + v/N, with s the seeds' standard deviation and v the variance over
    images of the difference of the two seed means: what the images have in common cancels.

    a, b: values on the same N images, an array of N per seed.
    seed_sd: s, pooled over configurations.
    degrees: degrees of freedom of s; 0: s is unknown and left out.
    """
    mean_a, mean_b = (np.mean(np.stack(seeds), axis=0, dtype=np.float64) for seeds in (a, b))
    gap = np.asarray(mean_a - mean_b)
    sampling = float(gap.var(ddof=1)) / len(gap) if len(gap) > 1 else 0.0
    seeds = seed_sd**2 * (1 / len(a) + 1 / len(b)) if degrees else 0.0
    return difference_of(float(gap.mean()), math.sqrt(sampling + seeds), degrees, (len(a), len(b)))


def compare(a: Configuration, b: Configuration, among: Iterable[Configuration]) -> Difference:
    """The test accuracy of a minus that of b, paired by image.

    among: the configurations over which the seeds' standard deviation is pooled.

    Where weights of a or b cannot be read, the images they share are ignored.
    """
    seed_sd, degrees = pooled_sd([[run.best["test_accuracy"] for run in one.runs] for one in among])
    if all(len(values) for values in (*a.right, *b.right)):
        return paired_difference(a.right, b.right, seed_sd, degrees)
    mean = a.test_accuracy.mean - b.test_accuracy.mean
    se = difference_se(a.test_accuracy, b.test_accuracy)
    return difference_of(mean, se, degrees, (len(a.runs), len(b.runs)))


def equivalence(difference: Difference, margin: float) -> str:
    """Whether a difference lies within ± margin: "equivalent", "different" or "cannot tell".

    "equivalent": both one-sided tests at 5 % put the difference inside ± margin, that is, its
    90 % interval lies there (Schuirmann 1987). "different": not equivalent, and the 95 %
    interval excludes 0. "cannot tell": neither, or the seeds' variance is unknown.
    """
    if not difference.degrees:
        return "cannot tell"
    low, high = difference.within(0.90)
    if -margin < low and high < margin:
        return "equivalent"
    return "different" if difference.low > 0 or difference.high < 0 else "cannot tell"
