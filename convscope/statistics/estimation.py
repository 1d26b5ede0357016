"""Means over seeds with their standard errors and intervals. Definitions: docs/concepts.md."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from scipy import special

LEVEL = 0.95

K = TypeVar("K")


@dataclass(frozen=True)
class Estimate:
    """A mean over n seeds; its standard error joins seed and sampling error.

    low … high is the 95 % interval.
    """

    mean: float
    se: float
    low: float
    high: float
    n: int
    seed_sd: float  # pooled over configurations
    sampling_se: float

    @property
    def scatter_known(self) -> bool:
        """Whether what seeds differ by is in the interval: of one seed, it may be pooled."""
        return not math.isnan(self.seed_sd)

    def __str__(self) -> str:
        return f"{self.mean:.4f} ± {self.se:.4f}"


def pooled_sd(groups: Sequence[Sequence[float]]) -> tuple[float, int]:
    """(standard deviation within groups, its degrees of freedom): √(Σ (n−1) s² / Σ (n−1)).

    (nan, 0) where no group has two values.
    """
    squares, degrees = 0.0, 0
    for group in groups:
        if len(group) > 1:
            mean = math.fsum(group) / len(group)
            squares += math.fsum((value - mean) ** 2 for value in group)
            degrees += len(group) - 1
    return (math.sqrt(squares / degrees), degrees) if degrees else (math.nan, 0)


def estimates(
    values: Mapping[K, Sequence[float]], sampling_se: Mapping[K, float]
) -> dict[K, Estimate]:
    """An estimate for each configuration from its seeds' values.

    SE² = s²/n + e², with s the seeds' standard deviation pooled over all configurations and e
    the sampling error of the finite evaluated set. All seeds see the same set, so more seeds
    do not shrink e. The interval is ± t SE with the degrees of freedom of s. Where no
    configuration has two seeds, s is unknown and the interval is of the sampling error alone.

    values: the seeds' values of each configuration, by a key of the caller's.
    sampling_se: e of each configuration.
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


def quantile(level: float, degrees: float) -> float:
    """Two-sided t quantile; normal where the degrees of freedom are unknown (0)."""
    return float(
        special.stdtrit(degrees, 0.5 + level / 2) if degrees else special.ndtri(0.5 + level / 2)
    )
