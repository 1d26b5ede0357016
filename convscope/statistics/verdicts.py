"""Verdicts on a sweep."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from convscope.statistics.comparisons import difference_se
from convscope.statistics.estimation import Estimate, K


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


def sweep_verdict(loss: Sequence[Estimate]) -> tuple[str, int | None]:
    """(verdict, index): what happens to the loss as networks grow, from estimates ordered by size.

    "cannot tell": fewer than three sizes or fewer than two seeds.
    "non-monotone": some larger network (index) is more than 2 SE worse than a smaller one.
    "plateau": from one network (index) on, which is not the last, no two differ by more than 2 SE.
    "still improving": otherwise.
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
