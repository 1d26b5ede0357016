"""Flatten order: what the networks that were trained from scratch show, apart from the proof."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from convscope.chapters.ordering.plan import EACH, FIXED, MARGIN
from convscope.statistics import Configuration, Difference, equivalence

ERROR = 0.05  # of finding a difference among the fixed orders where there is none

# degrees of freedom from which on the orders' variances are one: those of four orders of three
# seeds; with the four of two seeds the word was false in 7.7 %
POOLED = 8

Word = Literal["no difference", "a difference was found", "cannot tell"]


@dataclass(frozen=True)
class Experiment:
    """What training from scratch shows of the fixed orders.

    verdicts: for each order but the natural one, that of `verdict_on`.
    small: the equivalent ones whose 95 % interval excludes 0.
    missing: why it cannot tell: "chance" (the network is not shown to beat it), "orders" (some
        are not shown to be equivalent), "no orders", "control" (the negative control is not shown
        to lose accuracy), "no control".
    """

    verdicts: dict[str, str]
    small: tuple[str, ...]
    missing: tuple[str, ...]

    @property
    def word(self) -> Word:
        if "different" in self.verdicts.values():
            return "a difference was found"
        return "cannot tell" if self.missing else "no difference"

    def of(self, verdict: str) -> list[str]:
        """The orders of a verdict."""
        return [kind for kind, found in self.verdicts.items() if found == verdict]


def judged_orders(
    arms: Mapping[str, Configuration], differences: Mapping[str, Difference], chance: float
) -> Experiment:
    """The experiment's word rests on each of its parts: orders, negative control, learning at all.

    arms: by order, the natural one among them; differences: of test accuracy from it.
    chance: the test accuracy of always naming the most frequent class.
    """
    fixed = {kind: found for kind, found in differences.items() if kind in FIXED}
    verdicts = {kind: verdict_on(found, len(fixed)) for kind, found in fixed.items()}
    small = [
        kind
        for kind, verdict in verdicts.items()
        if verdict == "equivalent" and excludes_zero(fixed[kind])
    ]
    missing = []
    if not arms["natural"].test_accuracy.low > chance:
        missing.append("chance")
    missing += orders_missing(verdicts)
    control = differences.get(EACH)
    if control is None:
        missing.append("no control")
    elif not control.below(0.0):
        missing.append("control")
    return Experiment(verdicts, tuple(small), tuple(missing))


def orders_missing(verdicts: Mapping[str, str]) -> tuple[str, ...]:
    """What the orders themselves lack of the word, among `Experiment.missing`."""
    if not verdicts:
        return ("no orders",)
    return () if set(verdicts.values()) == {"equivalent"} else ("orders",)


def verdict_on(difference: Difference, orders: int) -> str:
    """Whether an order is equivalent to the natural one within the margin, or different.

    orders: that are compared; all together find a difference where there is none in 5 % of
        studies at most (Bonferroni). That each is equivalent needs no such correction.
    """
    found = equivalence(difference, MARGIN)
    if found == "different":
        error = ERROR / (2 * orders)  # of each side of each comparison
        clear = difference.above(0, error) or difference.below(0, error)
        return found if clear else "cannot tell"
    return found


def excludes_zero(difference: Difference) -> bool:
    return difference.low > 0 or difference.high < 0
