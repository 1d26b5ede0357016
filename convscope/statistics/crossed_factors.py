"""Seeds × images as crossed random factors: means, variances and contrasts of configurations.

The model of a value (a loss, or 1 for a right answer) of configuration c, seed s, image i:

    y = μ_c + S_cs + I_ci + e_csi

Seeds are drawn anew for each configuration, images are the same for all. A contrast Σ w_c ȳ_c has

    variance = w'Cw / N + Σ w_c² σ²_c / n_c

C: the covariance over images of the configurations' means over seeds; it contains what image and
seed share (e), so that this is not counted twice. σ²_c: the variance of S_cs, which is the variance
of the seeds' means less the share of e in it, E_c / N. Degrees of freedom: Satterthwaite 1946.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import special

from convscope.statistics.estimation import LEVEL, quantile

Values = NDArray[np.floating]

# the level of Bartlett's test: a high one, because few seeds give it little power
HOMOGENEOUS = 0.5

# numbers of seeds less one that differ by a larger factor are not pooled: where the configuration
# with few seeds scatters more, up to 10 % of words were false
ALIKE = 2

# with fewer degrees of freedom a variance is too often estimated near 0 (`make calibrate`); the
# tails of a distribution, where a test at less than 5 % looks, need more
FEWEST_DEGREES, FEWEST_IN_TAILS = 2, 4


@dataclass(frozen=True)
class Difference:
    """A contrast of configurations, mostly the mean of a minus that of b; 95 % interval."""

    mean: float
    se: float
    low: float
    high: float
    degrees: float  # of freedom (Satterthwaite); 0: the seeds' variance is unknown
    n: tuple[int, ...]  # seeds of each configuration
    seed_degrees: float = 0  # of freedom of the variance between seeds; 0: unknown
    replication: float | None = None  # how often the same word comes out again

    @property
    def tells(self) -> bool:
        """Whether the variance between seeds is known well enough for a word."""
        return self.seed_degrees >= FEWEST_DEGREES

    def tells_at(self, error: float) -> bool:
        """Whether it is known well enough for a one-sided test with this error."""
        return self.seed_degrees >= (FEWEST_DEGREES if error >= 0.05 else FEWEST_IN_TAILS)

    def within(self, level: float) -> tuple[float, float]:
        """The two-sided interval of another level."""
        t = quantile(level, self.degrees)
        return self.mean - t * self.se, self.mean + t * self.se

    def above(self, bound: float, error: float = 0.05) -> bool:
        """Whether a one-sided test says that the truth is above `bound`."""
        return self.tells_at(error) and self.within(1 - 2 * error)[0] > bound

    def below(self, bound: float, error: float = 0.05) -> bool:
        """Whether a one-sided test says that the truth is below `bound`."""
        return self.tells_at(error) and self.within(1 - 2 * error)[1] < bound

    def sign(self, error: float = 0.05) -> int:
        """1 or −1 where a two-sided test with this error says so, else 0.

        It takes half of the error at each end, in the tails, where two seeds of each of two
        configurations are too few.
        """
        return self.above(0.0, error / 2) - self.below(0.0, error / 2)

    def numbers(self) -> dict[str, object]:
        """For results.json."""
        return {
            "difference": self.mean,
            "interval": [self.low, self.high],
            "se": self.se,
            "degrees_of_freedom": self.degrees,
            "seeds": list(self.n),
            "replication": self.replication,
        }


def difference_of(
    mean: float, se: float, degrees: float, n: tuple[int, ...], seed_degrees: float = 0
) -> Difference:
    """The difference with its 95 % interval."""
    t = quantile(LEVEL, degrees)
    return Difference(mean, se, mean - t * se, mean + t * se, degrees, n, seed_degrees)


@dataclass(frozen=True)
class SeedVariance:
    """The variance of the mean of one seed, in each configuration.

    values: NaN where it is unknown.
    degrees: of freedom; 0 where it is unknown.
    pooled: whether the degrees are those of one estimate that all share.
    """

    values: Values
    degrees: Values
    pooled: bool


@dataclass(frozen=True)
class Crossed:
    """All that verdicts need of k configurations' values on the same N images.

    means: for each configuration the mean over images of each of its n_c seeds.
    covariance: k×k, over images, of the configurations' means over seeds.
    residual: k; E_c, the variance of e; NaN for a configuration of one seed.
    images: N.
    scatter: the variance of one seed's mean that is known from elsewhere, and its degrees of
        freedom; it takes the place of what the configurations tell about each other.
    alike: whether all are known to scatter alike, so that the pooled variance is each one's.
    """

    means: tuple[Values, ...]
    covariance: Values
    residual: Values
    images: int
    scatter: tuple[float, float] | None = None
    alike: bool = False

    @property
    def seeds(self) -> tuple[int, ...]:
        return tuple(len(means) for means in self.means)

    @functools.cached_property
    def seed_variance(self) -> SeedVariance:
        """The larger of a configuration's own variance and the one pooled over all.

        Two or three seeds often look alike by chance: the pooled variance guards against that, the
        own one against configurations that scatter more than others. It has the pooled degrees of
        freedom unless Bartlett's test finds the variances different. `make calibrate` tries it.
        Where all are `alike` it is the pooled one.
        """
        degrees = np.array([n - 1 for n in self.seeds], dtype=float)
        own = np.array([m.var(ddof=1) if len(m) > 1 else math.nan for m in self.means])
        if self.scatter is not None:
            most = np.fmax(own, self.scatter[0])
            return SeedVariance(most, np.full(len(own), self.scatter[1]), pooled=True)
        known = degrees > 0
        if not known.any():
            return SeedVariance(own, degrees, pooled=False)
        pooled = float((own[known] * degrees[known]).sum() / degrees.sum())
        together = np.full(len(own), degrees.sum())
        if self.alike:
            return SeedVariance(np.full(len(own), pooled), together, pooled=True)
        if degrees[known].max() > ALIKE * degrees[known].min():
            return SeedVariance(own, degrees, pooled=False)  # one would speak for the others
        if homogeneous(own[known], degrees[known]):
            return SeedVariance(np.fmax(own, pooled), together, pooled=True)
        return SeedVariance(np.where(known, np.fmax(own, pooled), math.nan), degrees, pooled=False)

    def contrast(self, weights: Sequence[float]) -> Difference:
        """Σ w_c ȳ_c with its standard error and interval.

        weights: for each configuration, those that are not given 0. Configurations of weight 0
            still help to know the variance between seeds.

        `degrees` is 0, and the standard error that of the images alone, where a configuration with
        a weight has one seed and no pooled variance.
        """
        w = np.zeros(len(self.means))
        w[: len(weights)] = weights
        n = np.array(self.seeds, dtype=float)
        mean = math.fsum(w[c] * float(self.means[c].mean()) for c in np.flatnonzero(w))
        count = tuple(self.seeds[c] for c in np.flatnonzero(w))
        image = max(0.0, float(w @ self.covariance @ w) / self.images)
        found, used = self.seed_variance, w != 0
        degrees = found.degrees[used]
        if (degrees == 0).any():
            return difference_of(mean, math.sqrt(image), 0, count)
        scale = (w**2 / n)[used]
        seed = scale * found.values[used]
        shared = scale * np.nan_to_num(self.residual)[used] / self.images
        parts = [(image, self.images - 1.0)] if image else []
        if found.pooled:
            parts.append((float(np.maximum(0.0, seed - shared).sum()), float(degrees[0])))
        else:
            net = np.maximum(0.0, seed - shared)
            # the floor that all share is one estimate: the parts are not independent
            parts.append((float(net.sum()), float(degrees.min())))
        total, freedom = summed(parts)
        # all of them keep it from looking small
        known = self.scatter[1] if self.scatter else sum(seeds - 1 for seeds in self.seeds)
        return difference_of(mean, math.sqrt(total), freedom, count, known)

    def difference(self, a: int, b: int) -> Difference:
        """Configuration a minus configuration b, by their places."""
        weights = np.zeros(len(self.means))
        weights[a], weights[b] = 1.0, -1.0
        return self.contrast(weights.tolist())


def summed(parts: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """A sum of estimated variances, and its degrees of freedom (Satterthwaite 1946).

    parts: (variance, its degrees of freedom).
    """
    total = math.fsum(variance for variance, _ in parts)
    below = math.fsum(variance**2 / max(1.0, degrees) for variance, degrees in parts)
    return total, total**2 / below if below > 0 else min(degrees for _, degrees in parts)


def homogeneous(variances: Values, degrees: Values) -> bool:
    """Whether Bartlett's test (1937) leaves variances of groups, with their degrees, as equal."""
    if len(variances) < 2:
        return True
    if (variances <= 0).any():
        return bool((variances <= 0).all())
    total = float(degrees.sum())
    pooled = float((variances * degrees).sum()) / total
    statistic = total * math.log(pooled) - float((degrees * np.log(variances)).sum())
    correction = 1 + (float((1 / degrees).sum()) - 1 / total) / (3 * (len(variances) - 1))
    p = float(special.chdtrc(len(variances) - 1, max(0.0, statistic / correction)))
    return p >= HOMOGENEOUS


def scalars(groups: Sequence[Sequence[float]], sampling: Sequence[float] = ()) -> Crossed:
    """Configurations of which one figure per seed is known, and no value by image.

    groups: the seeds' figures of each configuration.
    sampling: for each configuration the variance that the finite set of images leaves; none: 0.
    """
    many = 10**6  # its degrees of freedom are as good as infinite
    variances = np.array(sampling if len(sampling) else [0.0] * len(groups), dtype=float)
    return Crossed(
        tuple(np.asarray(group, dtype=float) for group in groups),
        np.diag(variances * many),
        np.full(len(groups), math.nan),
        many,
    )


def joined(found: Crossed, family: Sequence[Sequence[float]], alike: bool = False) -> Crossed:
    """`found` and other configurations of which only the seeds' means are known.

    In a contrast the others have weight 0: they tell about the variance between seeds alone.
    alike: whether all are known to scatter alike.
    """
    if not family:
        return replace(found, alike=alike or found.alike)
    k, more = len(found.means), len(family)
    covariance = np.zeros((k + more, k + more))
    covariance[:k, :k] = found.covariance
    return Crossed(
        (*found.means, *(np.asarray(means, dtype=float) for means in family)),
        covariance,
        np.concatenate([found.residual, np.full(more, math.nan)]),
        found.images,
        alike=alike or found.alike,
    )


def crossed(values: Sequence[Values]) -> Crossed:
    """The statistics of values by seed and image.

    values: for each configuration an array seeds × images; the images are the same for all.
    """
    arrays = [np.atleast_2d(np.asarray(v, dtype=np.float64)) for v in values]
    images = arrays[0].shape[1]
    assert all(v.shape[1] == images for v in arrays), [v.shape for v in arrays]
    by_image = np.stack([v.mean(axis=0) for v in arrays])
    covariance = np.cov(by_image) if images > 1 else np.zeros((len(arrays), len(arrays)))
    residual = [residual_variance(v) if len(v) > 1 and images > 1 else math.nan for v in arrays]
    return Crossed(
        tuple(v.mean(axis=1) for v in arrays),
        np.atleast_2d(covariance),
        np.array(residual),
        images,
    )


def residual_variance(values: Values) -> float:
    """What seeds and images together leave unexplained of values seeds × images."""
    rest = values - values.mean(axis=0) - values.mean(axis=1, keepdims=True) + values.mean()
    return float((rest**2).sum()) / ((values.shape[0] - 1) * (values.shape[1] - 1))
