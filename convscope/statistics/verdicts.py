"""Verdicts on a sweep."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from convscope.statistics.comparisons import difference_se
from convscope.statistics.estimation import Estimate, K


def smallest_within_one_se(loss: Mapping[K, Estimate], size: Mapping[K, int]) -> tuple[K, K]:
    """(best, smallest): the configuration of lowest mean loss, and the smallest one whose mean is within one SE (of the best) of it.

    The one-standard-error rule of Breiman et al. 1984.
    """
    finite = {key: value for key, value in loss.items() if math.isfinite(value.mean)}
    best = min(finite, key=lambda key: finite[key].mean)
    limit = finite[best].mean + finite[best].se
    near = [key for key, value in finite.items() if value.mean <= limit]
    return best, min(near, key=lambda key: (size[key], finite[key].mean))


def sweep_verdict(loss: Sequence[Estimate]) -> tuple[str, int | None]:
    """What happens to the loss as networks grow, from estimates ordered by size: (verdict, index).

    "cannot tell": fewer than three sizes or fewer than two seeds. "non-monotone": some larger network is more than 2 SE worse than a
    smaller one (index: the larger). "plateau" (index: the first network of it): from this one on no two
    networks differ by more than 2 SE, and it is not the last. "still improving": otherwise.
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
