"""What each kind of nonlinear part buys, alone and together: contrasts of a factorial's arms."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from convscope.chapters.nonlinearity.plan import MARGIN, kinds_of, removed_from
from convscope.recipe import ConvNet
from convscope.statistics import (
    Configuration,
    Crossed,
    Difference,
    crossed_accuracies,
    holm,
    p_above,
    p_outside,
)

Kinds = frozenset[str]

LEVEL = 0.05  # of each test on what a part does

SUFFICIENT = 3  # seeds; of two, whose spread is hardly known, "suffice" was false in 8.5 %


@dataclass(frozen=True)
class Factorial:
    """The arms of one network by the kinds that are present in them.

    kinds: all of them, in their order.
    order: the kinds that each arm has, in the order of `found`.
    found: seeds and images of the arms' test accuracies.
    """

    kinds: tuple[str, ...]
    order: tuple[Kinds, ...]
    found: Crossed

    def of(self, weights: Mapping[Kinds, float]) -> Difference | None:
        """Σ weight · accuracy over sets of kinds; None where one of these arms is missing."""
        used = {kinds: c for kinds, c in weights.items() if c}
        if not used or not set(used) <= set(self.order):
            return None
        return self.found.contrast([used.get(kinds, 0.0) for kinds in self.order])

    @property
    def whole(self) -> Kinds:
        return frozenset(self.kinds)

    @property
    def drop(self) -> Difference | None:
        """All kinds against none."""
        return self.of(gain({}, self.whole, frozenset()))

    def cost(self, kind: str) -> Difference | None:
        """What taking out one kind costs the complete network."""
        return self.of(gain({}, self.whole, self.whole - {kind}))

    def alone(self, kind: str) -> Difference | None:
        """What one kind buys in a network that has no other one."""
        return self.of(gain({}, frozenset({kind}), frozenset()))

    def shortfall(self, kind: str) -> Difference | None:
        """The complete network against that which has one kind alone."""
        return self.of(gain({}, self.whole, frozenset({kind})))

    def beyond_half(self, kind: str) -> Difference | None:
        """What one kind buys alone, less half of what all buy together."""
        weights = gain({}, frozenset({kind}), frozenset())
        return self.of(gain(weights, self.whole, frozenset(), -0.5))

    def main_effect(self, kind: str) -> Difference | None:
        """Mean accuracy of the arms with a kind minus that of those without (Fisher 1935)."""
        return self.effect((kind,))

    def effect(self, chosen: Sequence[str]) -> Difference | None:
        """The difference that kinds make to each other's differences, averaged over other kinds.

        Of one kind it is the main effect. Of two, a difference of differences: what the first
        buys with the second, minus what it buys without; and so on (Yates 1937).
        """
        scale = 2.0 ** (len(chosen) - len(self.kinds))
        return self.of(
            {present: scale * (-1) ** len(set(chosen) - present) for present in subsets(self.kinds)}
        )

    @property
    def interaction(self) -> Difference | None:
        """What all kinds buy together, less the sum of what each buys alone."""
        weights = gain({}, self.whole, frozenset())
        for kind in self.kinds:
            weights = gain(weights, frozenset({kind}), frozenset(), -1.0)
        return self.of(weights)

    def shapley(self, kind: str) -> Difference | None:
        """A kind's share of the drop: what it buys on average over all orders of adding the kinds.

        φ = Σ_S |S|! (k − |S| − 1)! / k! · (accuracy of S with the kind − accuracy of S), over all
        sets S of the other kinds (Shapley 1953, A value for n-person games). The shares add up to
        the drop. Of two kinds they are the main effects.
        """
        k, weights = len(self.kinds), {}
        for present in subsets([other for other in self.kinds if other != kind]):
            share = math.factorial(len(present)) * math.factorial(k - len(present) - 1)
            share /= math.factorial(k)
            weights = gain(weights, present | {kind}, present, share)
        return self.of(weights)


def subsets(kinds: Sequence[str]) -> list[Kinds]:
    """All subsets, the smallest first."""
    return [
        frozenset(chosen)
        for n in range(len(kinds) + 1)
        for chosen in itertools.combinations(kinds, n)
    ]


def gain(
    weights: Mapping[Kinds, float], plus: Kinds, minus: Kinds, factor: float = 1.0
) -> dict[Kinds, float]:
    """`weights` with factor · (plus − minus) added."""
    out = dict(weights)
    out[plus] = out.get(plus, 0.0) + factor
    out[minus] = out.get(minus, 0.0) - factor
    return out


def arms_by_kinds(base: ConvNet, members: Sequence[Configuration]) -> dict[Kinds, Configuration]:
    """Those arms of `base` that have its width, by the kinds that are present in them."""
    kinds = kinds_of(base)
    return {
        frozenset(kinds) - frozenset(removed_from(base, arm.convnet)): arm
        for arm in members
        if arm.convnet.width == base.width
    }


def factorial_of(
    base: ConvNet, arms: Mapping[Kinds, Configuration], family: Sequence[Configuration]
) -> Factorial:
    """The factorial of `base`.

    arms: at least one of its arms, by the kinds that are present.
    family: configurations whose seeds tell about the variance between seeds.
    """
    return Factorial(kinds_of(base), tuple(arms), crossed_accuracies([*arms.values()], family))


def role_of(factorial: Factorial) -> tuple[str, tuple[str, ...]]:
    """What tests say of the parts: (word, the kinds that it speaks of), the first that is shown.

    "suffice": each of these alone is equivalent to the complete network within the margin, where
        the network without any is worse by more than the margin. It takes three seeds of each.
    "most": each alone buys more than half of what all buy together; first only if of all kinds.
    "needed": taking out any of these costs more than the margin.
    "": none of these is shown, or there is one kind only.

    Each at an error of 5 %: a word on all kinds holds if every one's test does; otherwise the kinds
    are picked out by Holm's method.
    """
    drop, kinds = factorial.drop, factorial.kinds
    if drop is None or len(kinds) < 2 or p_above(drop, MARGIN) > LEVEL:
        return "", ()
    tails = drop.tells_at(LEVEL / len(kinds))  # Holm's method looks at smaller errors
    p = {
        "suffice": {kind: p_of(factorial.shortfall(kind), p_outside, MARGIN) for kind in kinds},
        "most": {kind: p_of(factorial.beyond_half(kind), p_above, 0.0) for kind in kinds},
        "needed": {kind: p_of(factorial.cost(kind), p_above, MARGIN) for kind in kinds},
    }
    words = [("most", True), ("needed", False), ("most", False)]
    if min(factorial.found.seeds[: len(factorial.order)]) >= SUFFICIENT:
        words.insert(0, ("suffice", False))
    for word, of_all in words:
        every = max(p[word].values()) <= LEVEL
        picked = kinds if every else () if of_all or not tails else holm(p[word], LEVEL)
        if picked:
            return word, tuple(kind for kind in kinds if kind in picked)
    return "", ()


def p_of(
    difference: Difference | None, test: Callable[[Difference, float], float], value: float
) -> float:
    return 1.0 if difference is None else test(difference, value)


def numbers_of(factorial: Factorial) -> dict[str, Any]:
    """For results.json: effects in fractions of test accuracy, null where arms are missing."""

    def told(difference: Difference | None) -> dict[str, Any] | None:
        return None if difference is None else difference.numbers()

    kinds = factorial.kinds
    interactions = [chosen for n in (2, 3) for chosen in itertools.combinations(kinds, n)]
    return {
        "main_effects": {kind: told(factorial.main_effect(kind)) for kind in kinds},
        "interaction": told(factorial.interaction) if len(kinds) > 1 else None,
        "interactions": {" × ".join(c): told(factorial.effect(c)) for c in interactions},
        "shapley": {kind: told(factorial.shapley(kind)) for kind in kinds},
        "gains_alone": {kind: told(factorial.alone(kind)) for kind in kinds},
        "drops_alone": {
            kind: found.numbers() for kind in kinds if (found := factorial.cost(kind)) is not None
        },
    }
