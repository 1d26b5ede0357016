"""Several tests at once: p-values of differences, Holm's method, configurations against chance."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from scipy import special

from convscope.statistics.configuration import Configuration
from convscope.statistics.crossed_factors import Crossed, Difference, crossed, joined, scalars
from convscope.statistics.replication import replication


def crossed_accuracies(
    arms: Sequence[Configuration], among: Sequence[Configuration] = ()
) -> Crossed:
    """Test accuracies of several configurations, for contrasts of them, paired by image.

    among: configurations whose seeds tell about the variance between seeds.

    Where the answers of a seed cannot be read, the images that configurations share are ignored.
    """
    family = [accuracies_of(one) for one in among if one not in arms]
    if all(len(seed) for one in arms for seed in one.right):
        return joined(crossed([np.stack(one.right) for one in arms]), family)
    images = len(arms[0].data.test)
    groups = [accuracies_of(one) for one in arms]
    means = [float(np.mean(group)) for group in groups]
    return joined(scalars(groups, [p * (1 - p) / images for p in means]), family)


def accuracies_of(one: Configuration) -> list[float]:
    return [run.best["test_accuracy"] for run in one.runs]


def repeated_word(
    arms: Sequence[Configuration], decide: Callable[[Crossed], str], found: Crossed
) -> float | None:
    """How often studies of this size would come to the word of `decide` again (replication.py).

    arms: the configurations that it is about.
    decide: the decision rule.
    found: what `crossed_accuracies` of these gave.

    None where answers by image cannot be read, or no arm has two seeds.
    """
    if not all(len(seed) for one in arms for seed in one.right):
        return None
    family = [means.tolist() for means in found.means[len(arms) :]]
    values = [np.stack(one.right) for one in arms]
    return replication(values, lambda drawn: decide(joined(drawn, family)), found)


def above_chance(one: Configuration, among: Sequence[Configuration]) -> bool:
    """Whether a configuration is right more often than the most frequent class (5 %, one-sided).

    Of one seed it is tested by the images alone, as far as that run goes.
    """
    labels = one.data.test.labels.numpy()
    commonest = (labels == np.bincount(labels).argmax()).astype(np.float64)
    found = crossed_accuracies([one], among)
    if all(len(seed) for seed in one.right):
        above = crossed([np.stack(one.right) - commonest])
        family = [accuracies_of(other) for other in among if other is not one]
        return joined(above, family).contrast([1.0]).within(0.90)[0] > 0
    return found.contrast([1.0]).within(0.90)[0] > float(commonest.mean())


def p_above(difference: Difference, value: float) -> float:
    """One-sided p-value of the hypothesis that a difference is `value` at most.

    1 where too little is known of the variance between seeds.
    """
    if not difference.tells:
        return 1.0
    if not difference.se:
        return 0.0 if difference.mean > value else 1.0
    return float(special.stdtr(difference.degrees, (value - difference.mean) / difference.se))


def p_outside(difference: Difference, margin: float) -> float:
    """P-value of the hypothesis that a difference is not within ± margin (Schuirmann 1987)."""
    turned = replace(difference, mean=-difference.mean)
    return max(p_above(difference, -margin), p_above(turned, -margin))


def holm(p: Mapping[str, float], level: float = 0.05) -> list[str]:
    """The hypotheses that are rejected, so that any false one is at most `level` (Holm 1979)."""
    rejected = []
    for i, name in enumerate(sorted(p, key=lambda name: p[name])):
        if p[name] > level / (len(p) - i):
            break
        rejected.append(name)
    return rejected
