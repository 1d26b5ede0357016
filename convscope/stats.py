"""Means over seeds with honest standard errors, comparisons, and the one-standard-error rule. Definitions: docs/concepts.md."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import special  # scipy.stats takes half a second to import

LEVEL = 0.95
K = TypeVar("K")


@dataclass(frozen=True)
class Estimate:
    """A mean over n seeds: its standard error joins seed and sampling error; low … high is the 95 % interval."""

    mean: float
    se: float
    low: float
    high: float
    n: int
    seed_sd: float  # pooled over configurations
    sampling_se: float

    def __str__(self) -> str:
        return f"{self.mean:.4f} ± {self.se:.4f}"


def pooled_sd(groups: Sequence[Sequence[float]]) -> tuple[float, int]:
    """Standard deviation within groups and its degrees of freedom, √(Σ (n−1) s² / Σ (n−1)); (nan, 0) where no group has two values."""
    squares, degrees = 0.0, 0
    for group in groups:
        if len(group) > 1:
            mean = math.fsum(group) / len(group)
            squares += math.fsum((value - mean) ** 2 for value in group)
            degrees += len(group) - 1
    return (math.sqrt(squares / degrees), degrees) if degrees else (math.nan, 0)


def estimates(values: Mapping[K, Sequence[float]], sampling_se: Mapping[K, float]) -> dict[K, Estimate]:
    """An estimate for each configuration from its seeds' values.

    SE² = s²/n + e², with s the seeds' standard deviation pooled over all configurations and e the sampling error that the finite evaluated set
    leaves (all seeds see the same set, so more seeds don't shrink it). The interval is ± t SE with the degrees of freedom of s. Where no
    configuration has two seeds, s is unknown: the interval is of the sampling error alone, and n says so.
    """
    sd, degrees = pooled_sd(list(values.values()))
    out = {}
    for key, seen in values.items():
        mean = math.fsum(seen) / len(seen)
        seed_se = sd / math.sqrt(len(seen)) if degrees else 0.0
        se = math.hypot(seed_se, sampling_se[key])
        t = quantile(LEVEL, degrees)
        out[key] = Estimate(mean, se, mean - t * se, mean + t * se, len(seen), sd, sampling_se[key])
    return out


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


def quantile(level: float, degrees: int) -> float:
    """Two-sided t quantile; normal where the degrees of freedom are unknown (0)."""
    return float(special.stdtrit(degrees, 0.5 + level / 2) if degrees else special.ndtri(0.5 + level / 2))


def paired_difference(
    a: Sequence[NDArray[np.floating]], b: Sequence[NDArray[np.floating]], seed_sd: float, degrees: int
) -> Difference:
    """Difference of two configurations' means from their values on the same images: one array of N values a seed.

    SE² = s² (1/nₐ + 1/n_b) + v/N, with s the seeds' standard deviation (pooled over configurations, `degrees` of freedom) and v the variance over images of
    the difference of the two seed means: what the images have in common cancels.
    """
    gap = np.asarray(np.mean(np.stack(a), axis=0, dtype=np.float64) - np.mean(np.stack(b), axis=0, dtype=np.float64))
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


def smallest_within_one_se(loss: Mapping[K, Estimate], size: Mapping[K, int]) -> tuple[K, K]:
    """(best, smallest): the configuration of lowest mean loss, and the smallest one whose mean is within one SE (of the best) of it.

    The one-standard-error rule of Breiman et al. 1984.
    """
    finite = {key: value for key, value in loss.items() if math.isfinite(value.mean)}
    best = min(finite, key=lambda key: finite[key].mean)
    limit = finite[best].mean + finite[best].se
    near = [key for key, value in finite.items() if value.mean <= limit]
    return best, min(near, key=lambda key: (size[key], finite[key].mean))


def sweep_verdict(loss: Sequence[Estimate]) -> tuple[str, int | None]:
    """What happens to the loss as networks grow, from estimates ordered by size: (verdict, index).

    "cannot tell": fewer than three sizes or fewer than two seeds. "non-monotone": some larger network is more than 2 SE worse than a
    smaller one (index: the larger). "plateau" (index: the first network of it): from this one on no two
    networks differ by more than 2 SE, and it is not the last. "still improving": otherwise.
    """
    if len(loss) < 3 or min(e.n for e in loss) < 2:
        return "cannot tell", None

    def gain(i: int, j: int) -> float:
        """How much lower the loss of j is, in standard errors of the difference."""
        difference, se = loss[i].mean - loss[j].mean, difference_se(loss[i], loss[j])
        return difference / se if se else math.copysign(math.inf, difference) if difference else 0.0

    last = len(loss) - 1
    for j in range(1, len(loss)):
        if any(gain(i, j) < -2 for i in range(j)):
            return "non-monotone", j
    for i in range(last):
        if all(abs(gain(a, b)) <= 2 for a in range(i, last) for b in range(a + 1, last + 1)):
            return "plateau", i
    return "still improving", None
