"""Linear contrasts of several configurations' test accuracies, paired by image."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from convscope.statistics.comparisons import Difference, difference_of
from convscope.statistics.configuration import Configuration

HOMOGENEOUS = 0.10  # variances whose test has a smaller p-value than this are not pooled


def contrast(weights: Mapping[Configuration, float], among: Sequence[Configuration]) -> Difference:
    """Σ c · test accuracy over configurations, as of a main effect, paired by image.

    weights: c of each configuration, which add up to 0; those of 0 may be left out.
    among: the configurations over which the variance between seeds is pooled, if it is homogeneous.

    Where the answers of a seed cannot be read, the images that seeds share are ignored.
    """
    used = [*weights, *(one for one in among if one not in weights)]
    c = [weights.get(one, 0.0) for one in used]
    if all(len(seed) for one in weights for seed in one.right):
        readable = [all(len(seed) for seed in one.right) for one in used]
        kept = [i for i, known in enumerate(readable) if known]
        return contrast_of([used[i].right for i in kept], [c[i] for i in kept])
    accuracies = [[run.best["test_accuracy"] for run in one.runs] for one in used]
    images = len(used[0].data.test)
    sampling = sum(
        w**2 * (p := math.fsum(seen) / len(seen)) * (1 - p) / images
        for w, seen in zip(c, accuracies, strict=True)
    )
    means = [np.array(seen) for seen in accuracies]
    return _estimated(means, c, [0.0] * len(c), sampling, images)


def contrast_of(right: Sequence[Sequence[NDArray[np.floating]]], c: Sequence[float]) -> Difference:
    """Σ c · mean of arms' values on the same images; seeds and images are crossed random factors.

    Two parts add up to the squared standard error. **Images**: the variance over images of the
    contrast of the seed means, divided by their number N; what images have in common cancels.
    **Seeds**: Σ c² s² / n, where s² is the variance of an arm's seed means less M / N, which N
    images leave in it (M: the mean square of what neither seed nor image explains), and not below
    0. It is pooled over the arms where Bartlett's test (1937) does not tell their variances apart.
    Degrees of freedom are Satterthwaite's (1946), with s² before M / N is taken off.

    right: for each arm an array of N for each seed.
    c: the weight of each arm; arms of weight 0 only help to estimate the variance between seeds.
    """
    stacks = [np.stack(seeds).astype(np.float64) for seeds in right]
    values = sum(w * stack.mean(0) for w, stack in zip(c, stacks, strict=True) if w)
    values = np.asarray(values)
    sampling = float(values.var(ddof=1)) / len(values) if len(values) > 1 else 0.0
    left = [_unexplained(stack) / stack.shape[1] for stack in stacks]
    return _estimated([stack.mean(1) for stack in stacks], c, left, sampling, stacks[0].shape[1])


def _unexplained(stack: NDArray[np.floating]) -> float:
    """M of one arm, seeds × images: 0 for a single seed."""
    seeds, images = stack.shape
    if seeds < 2 or images < 2:
        return 0.0
    rest = stack - stack.mean(0) - stack.mean(1, keepdims=True) + stack.mean()
    return float(np.square(rest).sum()) / ((seeds - 1) * (images - 1))


def _estimated(
    means: Sequence[NDArray[np.floating]],
    c: Sequence[float],
    left: Sequence[float],
    sampling: float,
    images: int,
) -> Difference:
    """The contrast with its error.

    means: for each arm the mean of each seed; c: the arms' weights.
    left: for each arm what the images leave in the variance of its seed means.
    sampling: the squared error that the images leave in the contrast; images: their number.
    """
    mean = math.fsum(w * float(seeds.mean()) for w, seeds in zip(c, means, strict=True) if w)
    n = tuple(
        min((len(seeds) for w, seeds in zip(c, means, strict=True) if sign * w > 0), default=0)
        for sign in (1, -1)
    )
    several = [i for i, seeds in enumerate(means) if len(seeds) > 1]
    variances = {i: float(np.var(means[i], ddof=1)) for i in several}
    degrees = {i: len(means[i]) - 1 for i in several}
    if several and _alike([means[i] for i in several]):
        free = sum(degrees.values())
        share = {i: degrees[i] / free for i in several}
        pooled = sum(share[i] * variances[i] for i in several)
        noise = sum(share[i] * left[i] for i in several)
        factor = sum(w**2 / len(seeds) for w, seeds in zip(c, means, strict=True))
        parts = [(factor * max(0.0, pooled - noise), factor * pooled, free)]
    else:
        wanted = [i for i, w in enumerate(c) if w]
        if not set(wanted) <= set(several):
            return difference_of(mean, math.sqrt(sampling), 0, (n[0], n[1]))
        factors = {i: c[i] ** 2 / len(means[i]) for i in wanted}
        parts = [
            (factors[i] * max(0.0, variances[i] - left[i]), factors[i] * variances[i], degrees[i])
            for i in wanted
        ]
    total = sampling + sum(part for part, _, _ in parts)
    spread = sampling**2 / max(1, images - 1)
    spread += sum(raw**2 / free for _, raw, free in parts)
    free = max(1, math.floor(total**2 / spread)) if spread > 0 else images - 1
    return difference_of(mean, math.sqrt(total), max(1, free), (n[0], n[1]))


def _alike(arms: Sequence[NDArray[np.floating]]) -> bool:
    """Whether Bartlett's test leaves the arms' variances alike; one arm is like itself."""
    if len(arms) < 2:
        return True
    if any(not float(np.var(seeds)) for seeds in arms):
        return all(not float(np.var(seeds)) for seeds in arms) or len(arms[0]) < 3
    return float(stats.bartlett(*arms).pvalue) > HOMOGENEOUS


def p_above(difference: Difference, value: float) -> float:
    """One-sided p-value of the hypothesis that a difference is `value` at most.

    1 where the variance between seeds is unknown.
    """
    if not difference.degrees:
        return 1.0
    if not difference.se:
        return 0.0 if difference.mean > value else 1.0
    return float(special.stdtr(difference.degrees, (value - difference.mean) / difference.se))


def p_outside(difference: Difference, margin: float) -> float:
    """P-value of the hypothesis that a difference is not within ± margin (Schuirmann 1987)."""
    turned = difference_of(-difference.mean, difference.se, difference.degrees, difference.n)
    return max(p_above(difference, -margin), p_above(turned, -margin))


def holm(p: Mapping[str, float], level: float = 0.05) -> list[str]:
    """The hypotheses that are rejected, so that any false one is at most `level` (Holm 1979)."""
    rejected = []
    for i, name in enumerate(sorted(p, key=lambda name: p[name])):
        if p[name] > level / (len(p) - i):
            break
        rejected.append(name)
    return rejected


def beats_chance(one: Configuration, among: Sequence[Configuration]) -> bool:
    """Whether a configuration is right more often than the most frequent class, at 5 % (t test).

    One seed speaks for itself alone: images are then the only source of error.
    """
    labels = one.data.test.labels.numpy()
    counts = np.bincount(labels)
    commonest = (labels == counts.argmax()).astype(np.float64)
    if all(len(seed) for seed in one.right):
        others = [o.right for o in among if o is not one and all(len(s) for s in o.right)]
        above = [[seed - commonest for seed in one.right], *others]
        found = contrast_of(above, [1.0, *[0.0] * len(others)])
    else:
        e = one.test_accuracy
        degrees = len(one.runs) - 1
        found = difference_of(e.mean - float(commonest.mean()), e.se, degrees, (e.n, 0))
    return found.within(0.90)[0] > 0
