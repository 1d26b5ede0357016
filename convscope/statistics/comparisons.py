"""Differences of two configurations, paired by image, and equivalence."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from convscope.statistics.configuration import Configuration
from convscope.statistics.crossed_factors import (
    Crossed,
    Difference,
    Values,
    crossed,
    difference_of,
    joined,
)
from convscope.statistics.estimation import Estimate, pooled_sd
from convscope.statistics.replication import replication

RULE_OF_THREE = 3  # images: none of N seen, the 95 % bound on a share is 3 / N

MARGIN = 0.03  # of accuracy: the difference that chapters take for none


def difference_se(a: Estimate, b: Estimate) -> float:
    """The standard error of a difference of two configurations.

    Both are evaluated on the same images, which is ignored: it errs on the careful side.
    """
    return math.hypot(a.se, b.se)


def paired_difference(
    a: Sequence[Values], b: Sequence[Values], family: Sequence[Sequence[float]] = ()
) -> Difference:
    """The difference of two configurations' means, paired by image.

    The model stands in crossed_factors.py.

    a, b: values on the same N images, an array of N per seed.
    family: the seeds' means of other configurations that help to know the seeds' variance.
    """
    return joined(crossed([np.stack(list(a)), np.stack(list(b))]), family).difference(0, 1)


def accuracy_difference(
    a: Configuration,
    b: Configuration,
    among: Iterable[Configuration],
    margin: float | None = None,
    alike: bool = False,
) -> Difference:
    """The test accuracy of a minus that of b, paired by image.

    among: the configurations whose seeds tell about the variance between seeds.
    alike: whether all of them are known to scatter alike.
    margin: the replication is that of the word of `equivalence` within it; None: of the side of 0
        on which the 95 % interval lies.

    Where weights of a or b cannot be read, the images they share are ignored.
    """
    family = [
        [run.best["test_accuracy"] for run in one.runs]
        for one in among
        if one is not a and one is not b
    ]
    if a is not b and all(len(values) for values in (*a.right, *b.right)):
        arrays = [np.stack(a.right), np.stack(b.right)]
        found = joined(crossed(arrays), family, alike)
        word = functools.partial(word_in, family=family, margin=margin, alike=alike)
        again = replication(arrays, word, found)
        return replace(found.difference(0, 1), replication=again)
    mean = a.test_accuracy.mean - b.test_accuracy.mean
    own = [[run.best["test_accuracy"] for run in one.runs] for one in (a, b)]
    degrees = pooled_sd([*own, *family])[1]
    se = difference_se(a.test_accuracy, b.test_accuracy)
    return difference_of(mean, se, degrees, (len(a.runs), len(b.runs)), degrees)


def word_in(
    found: Crossed,
    family: Sequence[Sequence[float]] = (),
    margin: float | None = None,
    alike: bool = False,
) -> str | int:
    """What is said of the first against the second; the arguments are `accuracy_difference`'s."""
    difference = joined(found, family, alike).difference(0, 1)
    return difference.sign() if margin is None else equivalence(difference, margin)


def equivalence(difference: Difference, margin: float) -> str:
    """Whether a difference lies within ± margin: "equivalent", "different" or "cannot tell".

    "equivalent": both one-sided tests at 5 % put the difference inside ± margin, that is, its
    90 % interval lies there (Schuirmann 1987). "different": not equivalent, and the 95 %
    interval excludes 0. "cannot tell": neither, or too little is known of the seeds' variance.
    """
    if not difference.tells:
        return "cannot tell"
    if difference.above(-margin) and difference.below(margin):
        return "equivalent"
    return "different" if difference.sign() else "cannot tell"


def non_inferiority(a: Configuration, b: Configuration, margin: float) -> tuple[str, Difference]:
    """Whether a is as good as b, and the difference of their test accuracies, paired by image.

    "as good": the accuracy of a is shown to be at most `margin` lower (one-sided, 5 %). "worse":
    not that, and shown to be lower. "cannot tell": neither, or too little is known of the seeds'
    variance. The difference's `replication` is that of the word.

    Where both differ on few images or none, the interval is too narrow: a difference on 3 of N
    images goes unseen in 5 % of samples (the rule of three), so that much is allowed for.
    """
    difference = accuracy_difference(a, b, (a, b))
    unseen = RULE_OF_THREE / max(1, len(a.data.test))

    def word(found: Difference) -> str:
        if found.above(unseen - margin):
            return "as good"
        return "worse" if found.below(0.0) else "cannot tell"

    again = None
    if all(len(values) for values in (*a.right, *b.right)):
        arrays = [np.stack(a.right), np.stack(b.right)]
        again = replication(arrays, lambda found: word(found.difference(0, 1)))
    return word(difference), replace(difference, replication=again)
