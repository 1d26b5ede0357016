"""What learning curves say, seed by seed: rise of the validation loss, slopes at the end.

An epoch that is chosen because its loss is the lowest looks lower than it is, and the seeds that
chose it depend on each other. So a rise is tested from a few earlier epochs that are fixed before,
each at its share of the error (Bonferroni 1936).

Two seeds alone know little about how seeds scatter. Their curves know more: by how much the seeds
differ from each other in a different way after each epoch is measured by every epoch (the
interaction of seeds and epochs). Where the two rises themselves differ by more, that counts.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from convscope.statistics.crossed_factors import (
    Crossed,
    Difference,
    Values,
    crossed,
    difference_of,
    joined,
    scalars,
)
from convscope.statistics.estimation import LEVEL, quantile

SHARE_AT_THE_END = 1 / 3  # of the epochs, over which slopes are taken

FEWEST, USUAL = 3, 4  # evaluated epochs from which a slope is taken, at least and where there are

# A line leaves too little where deviations last for several epochs. With so much more, a test at
# 5 % is wrong in about 5 % where they decay by 0.6 per epoch (7 and 12 epochs; `make calibrate`),
# in less where they don't last, and in up to 8 % over 24 evaluated epochs.
LASTING = 1.5

CANDIDATES = 6  # the most earlier epochs from which a rise is tested

ERROR = 0.05


@dataclass(frozen=True, eq=False)
class Course:
    """A configuration's validation losses over the evaluated epochs.

    values: seeds × epochs × images; or seeds × epochs × 1, means over the images.
    sampling: the variance that the images leave in the difference of two means, where `values` are
        means; careful, because what the images have in common is not known then.
    """

    values: Values
    sampling: float | None = None

    @property
    def last(self) -> int:
        return self.values.shape[1] - 1

    def rise(self, start: int, end: int) -> Crossed:
        """From one evaluated epoch to another (places from 0)."""
        gap = self.values[:, end] - self.values[:, start]
        found = (
            crossed([gap])
            if self.sampling is None
            else scalars([gap[:, 0].tolist()], [self.sampling])
        )
        return replace(found, scatter=self.scatter)

    @functools.cached_property
    def scatter(self) -> tuple[float, float] | None:
        """The variance of one seed's rise by the interaction of seeds and epochs; its degrees.

        None of one seed, or of fewer than three epochs.
        """
        means = self.values.mean(axis=2)
        seeds, epochs = means.shape
        if seeds < 2 or epochs < 3:
            return None
        rest = means - means.mean(axis=0) - means.mean(axis=1, keepdims=True) + means.mean()
        degrees = (seeds - 1) * (epochs - 1)
        return 2 * float((rest**2).sum()) / degrees, degrees  # of a difference of two epochs

    def rises(self, end: int, family: Sequence[Sequence[float]] = ()) -> dict[int, Difference]:
        """The rise to an epoch from each earlier one that is tried, by place.

        family: the seeds' rises of other configurations, which tell about the seeds where this
            configuration has one alone.
        """
        others = [] if self.scatter else family
        return {
            start: joined(self.rise(start, end), others).contrast([1.0])
            for start in candidates(end)
        }

    def lowest(self) -> int:
        """The place of the lowest mean among the earlier epochs that are tried for the last one."""
        means = self.values.mean(axis=(0, 2))
        return min(candidates(self.last) or [0], key=lambda place: means[place])

    @property
    def by_seed(self) -> list[float]:
        """The rise of each seed from `lowest` to the last epoch, for the family of others."""
        return self.rise(self.lowest(), self.last).means[0].tolist()

    def rises_at(self, end: int, family: Sequence[Sequence[float]] = ()) -> bool:
        """Whether the loss at an epoch lies above that of an earlier one, at 5 % over all.

        It does so in each seed.
        """
        means, found = self.values.mean(axis=2), self.rises(end, family)
        return any(
            one.above(0.0, ERROR / len(found)) and bool((means[:, end] > means[:, start]).all())
            for start, one in found.items()
        )

    def turn(self, family: Sequence[Sequence[float]] = ()) -> int | None:
        """The first evaluated epoch (place) from which on to the last the loss has risen.

        The last one is tested first, then the one before, and so on until a test fails: so the
        error of all together is that of one test.
        """
        first = None
        for place in range(self.last, 0, -1):
            if not self.rises_at(place, family):
                break
            first = place
        return first

    def shown(self, family: Sequence[Sequence[float]] = ()) -> Difference:
        """The rise from `lowest` to the last epoch.

        Its interval holds for all epochs that are tried together.
        """
        found = self.rises(self.last, family)
        if not found:
            return difference_of(0.0, 0.0, 0, (len(self.values),))
        one = found[self.lowest()]
        t = quantile(1 - (1 - LEVEL) / len(found), one.degrees)
        return Difference(
            one.mean,
            one.se,
            one.mean - t * one.se,
            one.mean + t * one.se,
            one.degrees,
            one.n,
            one.seed_degrees,
        )


def candidates(end: int) -> list[int]:
    """The places of the earlier epochs from which a rise to `end` is tested: dense at the start."""
    if end <= CANDIDATES:
        return list(range(end))
    return sorted({round(place) - 1 for place in np.geomspace(2, end, CANDIDATES)})


def course_of(histories: Sequence[Values]) -> Course:
    """histories: for each seed losses of the same images, evaluated epochs × images."""
    return Course(np.stack([np.asarray(one, dtype=np.float64) for one in histories]))


def course_of_means(curves: Sequence[Sequence[float]], sampling: float) -> Course:
    """Where no values by image are known.

    curves: for each seed the mean loss after each evaluated epoch.
    sampling: the variance that the images leave in such a mean.
    """
    return Course(np.asarray(curves, dtype=np.float64)[:, :, None], 2 * sampling)


@dataclass(frozen=True)
class Trend:
    """A straight line through the last epochs of a curve, by least squares.

    slope: per epoch. variance: of the slope, from what the line leaves. last: the variance of the
        curve's last value, as the line leaves it. degrees: of freedom of both, 1 at least.
    """

    slope: float
    variance: float
    last: float
    degrees: int


def trend_at_the_end(values: Sequence[float], epochs: Sequence[int]) -> Trend | None:
    """The line over the last third of a curve, at least four evaluated epochs where there are.

    values: after each evaluated epoch. epochs: their numbers. None of fewer than three.
    """
    if len(values) < FEWEST:
        return None
    last = min(len(values), max(USUAL, math.ceil(SHARE_AT_THE_END * len(values))))
    y, x = np.asarray(values[-last:], dtype=float), np.asarray(epochs[-last:], dtype=float)
    x, centred = x - x.mean(), y - y.mean()
    spread = float((x**2).sum())
    slope = float((x * y).sum()) / spread
    left = float(((centred - slope * x) ** 2).sum()) / (last - 2)
    return Trend(slope, left / spread, left, last - 2)


def fall_of(train: Sequence[float], epochs: Sequence[int]) -> Trend | None:
    """The share by which the training loss falls per epoch at the end, as a trend.

    It is 1 − exp(slope of its logarithm). None of fewer than three epochs, or where a loss is 0.
    """
    if not train or min(train) <= 0:
        return None
    found = trend_at_the_end(np.log(train).tolist(), epochs)
    return None if found is None else replace(found, slope=1 - math.exp(found.slope))


def fall_per_epoch(train: Sequence[float], epochs: Sequence[int] | None = None) -> float | None:
    """The share by which the training loss falls per epoch at the end.

    train: losses after each evaluated epoch.
    epochs: their numbers; None: 1, 2, ….

    None of fewer than three epochs, and where a loss is 0.
    """
    found = fall_of(train, epochs or range(1, len(train) + 1))
    return None if found is None else found.slope


def over_trends(
    values: Sequence[Sequence[float]],
    trends: Sequence[Sequence[Trend | None]],
    place: int,
    part: Literal["variance", "last"],
    sampling: float = 0.0,
) -> Difference | None:
    """The mean over seeds of a figure of one configuration, each taken from the end of a curve.

    values: the seeds' figures of each configuration.
    trends: the lines through the ends of these curves; None where a curve is too short.
    place: the configuration.
    part: what a seed's figure scatters by, as its line leaves it: a slope or a last value.
    sampling: the variance that the finite set of images leaves in the mean.

    A configuration scatters by more where its seeds' figures do. One seed does not tell how seeds
    scatter: then the other configurations do. None where a curve is too short.
    """
    own = [one for one in trends[place] if one is not None]
    if len(own) < len(trends[place]):
        return None
    if len(own) == 1:
        return over_seeds(values, place, sampling)
    left = float(np.mean([getattr(one, part) for one in own]))
    left *= LASTING if part == "variance" else 1.0
    scatter = left, sum(one.degrees for one in own)
    return replace(scalars([values[place]], [sampling]), scatter=scatter).contrast([1.0])


def over_seeds(groups: Sequence[Sequence[float]], place: int, sampling: float = 0.0) -> Difference:
    """The mean over seeds of a figure of one configuration; the others tell about the seeds.

    groups: the seeds' figures of each configuration; of the others, those that are known.
    place: the configuration.
    sampling: the variance that the finite set of images leaves in its mean.
    """
    others = [group for i, group in enumerate(groups) if i != place and group]
    return joined(scalars([groups[place]], [sampling]), others).contrast([1.0])
