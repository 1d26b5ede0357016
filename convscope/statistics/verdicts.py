"""What happens to a loss as networks grow: plateau, still improving, non-monotone, cannot tell."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from convscope.errors import UserError
from convscope.statistics.crossed_factors import Crossed, Difference, Values, crossed
from convscope.statistics.estimation import Estimate, K
from convscope.statistics.more import images_needed, parts_of, seeds_needed
from convscope.statistics.question import check_looks
from convscope.statistics.replication import replication

MARGIN = 0.02  # nats: a difference of losses that nobody would pay for

ERROR = 0.05  # of each word

S = TypeVar("S", bound=float)


def smallest_within_one_se(loss: Mapping[K, Estimate], size: Mapping[K, int]) -> tuple[K, K]:
    """(best, smallest), by the one-standard-error rule of Breiman et al. 1984.

    The best has the lowest mean loss; the smallest is the smallest configuration whose mean is
    within one standard error (the best's) of that.

    loss: an estimate of each configuration, by a key of the caller's; those that are not finite
        are passed over.
    size: its parameters.
    """
    finite = {key: value for key, value in loss.items() if math.isfinite(value.mean)}
    best = min(finite, key=lambda key: finite[key].mean)
    limit = finite[best].mean + finite[best].se
    near = [key for key, value in finite.items() if value.mean <= limit]
    return best, min(near, key=lambda key: (size[key], finite[key].mean))


@dataclass(frozen=True)
class SweepVerdict:
    """What the loss of a sweep does as its networks grow.

    word: "plateau", "still improving", "non-monotone" or "cannot tell".
    size: where: from which size on there is a plateau, which one is worse than a smaller one, or
        the largest, whose loss still improves; None for "cannot tell".
    margin: differences of loss below it do not count.
    difference: the one that the word rests on, in the loss's unit: a plateau's largest one between
        it and a larger size; the gain of the last size; the rise to `size`; for "cannot tell" the
        gain of the last size.
    replication: the share of studies of this size, by a bootstrap over seeds and images, that would
        come to the same word and size; None where it is unknown.
    seeds_needed: for "cannot tell", how many seeds of each size would probably settle it, if the
        differences are as they look; None where seeds do not.
    images_needed: the same for images.
    too_small: the largest size that is shown to be too small: the loss of the last size is lower
        by more than the margin, and so for all smaller sizes; None where not even the first is.
    shortfall: how much higher its loss is than that of the last size.
    looks: over how many the error of each word is split.
    """

    word: str
    size: float | None
    margin: float
    difference: Difference
    replication: float | None = None
    seeds_needed: int | None = None
    images_needed: int | None = None
    too_small: float | None = None
    shortfall: Difference | None = None
    looks: int = 1

    @property
    def at_least(self) -> float | None:
        """How much higher the loss of `too_small` is by the one-sided test that says so."""
        shown = self.shortfall
        return None if shown is None else shown.within(1 - 2 * ERROR / self.looks)[0]

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of `difference`."""
        return self.difference.low, self.difference.high

    def __str__(self) -> str:
        joint = {"plateau": "from", "non-monotone": "at", "still improving": "at"}.get(self.word)
        if self.size is not None:
            return f"{self.word} {joint} {self.size:g}"
        return self.word if self.too_small is None else f"more than {self.too_small:g}"


def sweep_verdict(
    losses: Mapping[S, Values], margin: float = MARGIN, looks: int = 1
) -> SweepVerdict:
    """What a loss does as a size grows; each word's error is at most 5 % (docs/concepts.md).

    "plateau" from a size on: all larger sizes are equivalent to it within ± margin. Tried from the
        last but one downward, ends at the first that fails; each test at 5 %.
    "non-monotone" at a size: its loss is higher than that of a smaller size, 5 % over all pairs.
    "still improving" at the largest: its loss is lower than the one before by more than the margin.
    "cannot tell": none of these.

    Beside the word, `too_small`: the last size is better than these by more than the margin. Tried
    from the smallest size upward, ends at the first that fails; 5 % for all together.

    losses: by size an array seeds × images of the losses of the same images; sizes mostly double.
    margin: in the unit of the losses.
    looks: how often you will ask this while you add seeds; the error is split over them.

    Raises UserError for fewer than two sizes, another number of images, or losses not finite.
    """
    sizes = sorted(losses)
    arrays = [np.atleast_2d(np.asarray(losses[size], dtype=np.float64)) for size in sizes]
    check_losses(sizes, arrays, margin)
    check_looks(looks)
    found = crossed(arrays)
    word, place, difference = decided(found, margin, looks)
    last = len(sizes) - 1
    short = too_small_in(found, margin, looks)
    unsettled = parts_of(found, last - 1, last) if word == "cannot tell" else None
    level = 1 - 2 * ERROR / looks  # of the intervals that the rule asks for
    return SweepVerdict(
        word,
        None if place is None else sizes[place],
        margin,
        difference,
        replication(arrays, functools.partial(said, margin=margin, looks=looks)),
        seeds_needed(unsettled, margin, beyond=margin, levels=(level, level)),
        images_needed(unsettled, margin, beyond=margin, levels=(level, level)),
        None if short is None else sizes[short[0]],
        None if short is None else short[1],
        looks,
    )


def said(found: Crossed, margin: float, looks: int = 1) -> tuple[str, int | None]:
    """(word, place), as a reader is told: where no word holds, the place of what is too small."""
    word, place, _ = decided(found, margin, looks)
    if place is None and (short := too_small_in(found, margin, looks)) is not None:
        place = short[0]
    return word, place


def too_small_in(found: Crossed, margin: float, looks: int = 1) -> tuple[int, Difference] | None:
    """(place, how much higher its loss is) of the largest size shown to be too small.

    A fixed sequence of tests, each at 5 %, each against the last size: so the error of all of them
    together is 5 % (Maurer, Hothorn and Lehmacher 1995). With several looks each has its share.
    """
    last, out = len(found.means) - 1, None
    for i in range(last):
        gap = found.difference(i, last)
        if not gap.above(margin, ERROR / looks):
            break
        out = i, gap
    return out


def check_losses(sizes: Sequence[float], arrays: Sequence[Values], margin: float) -> None:
    if not (margin > 0 and math.isfinite(margin)):
        raise UserError(f"margin = {margin}: a difference above 0 is expected")
    if len(sizes) < 2:
        raise UserError(f"{len(sizes)} sizes: a sweep has two or more")
    images = {array.shape[-1] for array in arrays}
    if any(array.ndim != 2 or 0 in array.shape for array in arrays) or len(images) > 1:
        shapes = ", ".join(f"{s:g}: {a.shape}" for s, a in zip(sizes, arrays, strict=True))
        raise UserError(f"losses of shapes {shapes}: seeds × the same images are expected")
    for size, array in zip(sizes, arrays, strict=True):
        if not np.isfinite(array).all():
            raise UserError(
                f"losses of size {size:g}: {(~np.isfinite(array)).sum()} are not finite"
            )


def decided(found: Crossed, margin: float, looks: int = 1) -> tuple[str, int | None, Difference]:
    """(word, place of the size, the difference it rests on) of a sweep ordered by size.

    looks: Bonferroni's share of the error for each, whatever the seeds that come in between.
    """
    last, error = len(found.means) - 1, ERROR / looks
    gain = found.difference(last - 1, last)
    plateau: tuple[int, Difference] | None = None
    for w in range(last - 1, -1, -1):
        larger = [found.difference(w, j) for j in range(w + 1, last + 1)]
        if not all(one.above(-margin, error) and one.below(margin, error) for one in larger):
            break
        plateau = w, max(larger, key=lambda one: abs(one.mean))
    if plateau is not None:
        return "plateau", *plateau
    pairs = [(i, j) for j in range(1, last + 1) for i in range(j)]
    for i, j in pairs:
        rise = found.difference(j, i)
        if rise.above(0.0, error / len(pairs)):
            return "non-monotone", j, rise
    if gain.above(margin, error):
        return "still improving", last, gain
    return "cannot tell", None, gain
