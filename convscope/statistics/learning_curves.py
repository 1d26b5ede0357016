"""What learning curves say, seed by seed: rise of the validation loss, slopes at the end.

Where a minimum is chosen and used on the same seeds and images, chance makes every curve rise from
it. So each seed's minimum is that of the other seeds' curve, over the other half of the images.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from convscope.statistics.crossed import Crossed, Difference, Values, crossed, joined, scalars

SHARE_AT_THE_END = 1 / 4  # of the epochs, over which slopes are taken

FEWEST = 3  # epochs from which a slope is taken


@dataclass(frozen=True)
class Rise:
    """How far a configuration's validation loss lies above its minimum, after each epoch.

    found: for each evaluated epoch the losses less those at the seed's minimum.
    """

    found: tuple[Crossed, ...]

    def at(self, place: int, family: Sequence[Sequence[float]] = ()) -> Difference:
        """The rise at an evaluated epoch (place from 0, or −1), in nats.

        family: the seeds' rises of other configurations, which help to know their variance; of one
            seed nothing is known even so, because its minimum is chosen on itself.
        """
        one = self.found[place]
        return joined(one, family if one.seeds[0] > 1 else ()).contrast([1.0])

    @property
    def by_seed(self) -> list[float]:
        """Of each seed after the last epoch, for the family of others; empty from one seed."""
        last = self.found[-1].means[0]
        return last.tolist() if len(last) > 1 else []

    def turn(self, family: Sequence[Sequence[float]] = ()) -> int | None:
        """The first evaluated epoch (place) from which on to the last one the rise is above 0.

        The last one is tested first, then the one before, and so on until a test fails: so the
        error of all together is that of one test, 5 %.
        """
        first = None
        for place in range(len(self.found) - 1, 0, -1):
            if not self.at(place, family).above(0.0):
                break
            first = place
        return first


def rise_by_image(histories: Sequence[Values]) -> Rise:
    """histories: for each seed losses of the same images, evaluated epochs × images."""
    arrays = np.stack([np.asarray(one, dtype=np.float64) for one in histories])
    seeds, epochs, images = arrays.shape
    first_half = np.arange(images) % 2 == 0
    out = np.empty((epochs, seeds, images))
    for s in range(seeds):
        others = np.delete(arrays, s, axis=0) if seeds > 1 else arrays
        for mine in (first_half, ~first_half):
            chosen = others[:, :, ~mine] if images > 1 else others
            lowest = int(chosen.mean(axis=(0, 2)).argmin())
            out[:, s, mine] = arrays[s][:, mine] - arrays[s][lowest, mine]
    return Rise(tuple(crossed([values]) for values in out))


def rise_of_means(curves: Sequence[Sequence[float]], sampling: float) -> Rise:
    """The rise where no values by image are known: careful, because images are not paired.

    curves: for each seed the mean loss after each evaluated epoch.
    sampling: the variance that the images leave in such a mean.
    """
    arrays = np.asarray(curves, dtype=np.float64)
    lowest = [
        int((np.delete(arrays, s, axis=0) if len(arrays) > 1 else arrays).mean(axis=0).argmin())
        for s in range(len(arrays))
    ]
    rises = np.stack([curve - curve[low] for curve, low in zip(arrays, lowest, strict=True)])
    return Rise(tuple(scalars([column.tolist()], [2 * sampling]) for column in rises.T))


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
