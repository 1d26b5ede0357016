"""What learning curves say, seed by seed: rise of the validation loss, slopes at the end.

An epoch that is chosen because its loss is the lowest looks lower than it is, and the seeds that
chose it depend on each other. So a rise is tested from a few earlier epochs that are fixed before,
each at its share of the error (Bonferroni 1936).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

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

SHARE_AT_THE_END = 1 / 4  # of the epochs, over which slopes are taken

FEWEST = 3  # epochs from which a slope is taken

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
        if self.sampling is None:
            return crossed([gap])
        return scalars([gap[:, 0].tolist()], [self.sampling])

    def rises(self, end: int, family: Sequence[Sequence[float]] = ()) -> dict[int, Difference]:
        """The rise to an epoch from each earlier one that is tried, by place.

        family: the seeds' rises of other configurations, which help to know their variance.
        """
        return {
            start: joined(self.rise(start, end), family).contrast([1.0])
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
        """Whether the loss at an epoch lies above that of an earlier one, at 5 % over all."""
        found = self.rises(end, family).values()
        return any(one.above(0.0, ERROR / len(found)) for one in found)

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

    def flat(self, bound: float, family: Sequence[Sequence[float]] = ()) -> bool:
        """Whether the rise to the last epoch is shown to be below `bound`, wherever it begins."""
        found = self.rises(self.last, family).values()
        return bool(found) and all(one.below(bound, ERROR) for one in found)

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


def slope_at_the_end(values: Sequence[float], epochs: Sequence[int]) -> float | None:
    """The least-squares slope per epoch over the last quarter of a curve, at least three epochs.

    values: after each evaluated epoch. epochs: their numbers. None of fewer than three.
    """
    if len(values) < FEWEST:
        return None
    last = max(FEWEST, math.ceil(SHARE_AT_THE_END * len(values)))
    y, x = np.asarray(values[-last:], dtype=float), np.asarray(epochs[-last:], dtype=float)
    x = x - x.mean()
    return float((x * y).sum() / (x**2).sum())


def fall_per_epoch(train: Sequence[float], epochs: Sequence[int] | None = None) -> float | None:
    """The share by which the training loss falls per epoch at the end: 1 − exp(slope of its log).

    train: losses after each evaluated epoch.
    epochs: their numbers; None: 1, 2, ….

    None of fewer than three epochs, and where a loss is 0.
    """
    if not train or min(train) <= 0:
        return None
    slope = slope_at_the_end(np.log(train).tolist(), epochs or range(1, len(train) + 1))
    return None if slope is None else 1 - math.exp(slope)


def over_seeds(
    groups: Sequence[Sequence[float | None]], place: int, sampling: float = 0.0
) -> Difference | None:
    """The mean over seeds of a figure of one configuration; the others tell about the seeds.

    groups: the seeds' figures of each configuration.
    place: the configuration.
    sampling: the variance that the finite set of images leaves in its mean.

    None where a figure of the configuration is unknown.
    """
    own = [value for value in groups[place] if value is not None]
    if len(own) < len(groups[place]):
        return None
    others = [
        [value for value in group if value is not None]
        for i, group in enumerate(groups)
        if i != place
    ]
    return joined(scalars([own], [sampling]), [group for group in others if group]).contrast([1.0])
