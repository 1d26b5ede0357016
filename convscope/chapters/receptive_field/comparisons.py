"""One wide layer against a cascade: which networks are compared for what."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from convscope.chapters.receptive_field.plan import HEADS, NEAR
from convscope.planning import Arm
from convscope.planning import arms as experiment
from convscope.recipe import ConvNet
from convscope.statistics import Difference


@dataclass(frozen=True)
class Comparison:
    """One step of the argument: what changes from b to a, and what it does to test accuracy."""

    factor: str  # size, field, depth, pooling
    head: str
    a: Arm
    b: Arm
    difference: Difference

    def row(self) -> dict[str, Any]:
        d = self.difference
        return {
            "factor": self.factor,
            "head": HEADS[self.head],
            "from": self.b.label,
            "to": self.a.label,
            "parameters_from": self.b.parameters,
            "parameters_to": self.a.parameters,
            "difference": d.mean,
            "low": d.low,
            "high": d.high,
        }


def spec(arm: Arm) -> ConvNet:
    assert isinstance(arm.model, ConvNet)
    return arm.model


def single(arm: Arm) -> bool:
    """One convolution, no pooling: what a cascade is compared with."""
    return spec(arm).depth * spec(arm).block_depth == 1 and spec(arm).pool == "none"


def near(a: Arm, b: Arm) -> bool:
    return abs(a.parameters - b.parameters) <= NEAR * max(a.parameters, b.parameters)


def comparisons_of(arms: Sequence[Arm]) -> list[Comparison]:
    """Size, field and depth with each head, and pooling: told from the arms."""
    out = []

    def add(factor: str, head: str, a: Arm | None, b: Arm | None) -> None:
        if a is not None and b is not None and a is not b:
            out.append(Comparison(factor, head, a, b, experiment.compare(a, b, arms)))

    for head in ("flatten", "gap"):
        shallow = [a for a in arms if spec(a).head == head and single(a)]
        deep = [
            a for a in arms if spec(a).head == head and spec(a).depth > 1 and spec(a).pool != "none"
        ]
        if not shallow:
            continue
        kernel = min(spec(a).kernel for a in shallow)
        narrow = sorted(
            (a for a in shallow if spec(a).kernel == kernel), key=lambda a: a.parameters
        )
        if not near(narrow[0], narrow[-1]):
            add("size", head, narrow[-1], narrow[0])
        for cascade in sorted(deep, key=lambda a: a.parameters):
            equals = [a for a in shallow if near(a, cascade)]
            # from the smallest kernel to the largest one; of several layers with the same, the one nearest to the cascade's size
            at_kernel = sorted(
                equals, key=lambda a: (spec(a).kernel, abs(a.parameters - cascade.parameters))
            )
            wide = next(
                (a for a in at_kernel if spec(a).kernel == spec(at_kernel[-1]).kernel), None
            )
            if (
                wide is not None
                and spec(wide).kernel > spec(at_kernel[0]).kernel
                and near(wide, at_kernel[0])
            ):
                add("field", head, wide, at_kernel[0])
            # the best single layer of that size, chosen by validation
            add("depth", head, cascade, min(equals, key=lambda a: a.val_loss.mean, default=None))
    for pooled in arms:
        flat = next((a for a in arms if spec(a) == replace(spec(pooled), pool="none")), None)
        if flat is not None and spec(pooled).depth > 1 and flat is not pooled:
            add("pooling", spec(pooled).head, pooled, flat)
    return out


def chosen_head(shallow: Iterable[Arm]) -> Arm | None:
    """The one-convolution network of lowest validation loss: its head is the one to choose."""
    return min(shallow, key=lambda a: a.val_loss.mean, default=None)


def strongest(comparisons: Sequence[Comparison], factor: str) -> Comparison | None:
    return max(
        (c for c in comparisons if c.factor == factor),
        key=lambda c: c.difference.mean,
        default=None,
    )


def verdict_of(comparisons: Sequence[Comparison]) -> str:
    """Which of size, field and depth buys most, if the intervals tell them apart in their strongest comparison; with one seed an arm nobody can tell."""
    factors = ("size", "field", "depth")
    best = [c for c in (strongest(comparisons, factor) for factor in factors) if c is not None]
    best.sort(key=lambda c: -c.difference.mean)
    if not best or not best[0].difference.degrees:
        return "cannot tell"
    if all(c.difference.low <= 0 for c in comparisons if c.factor in factors):
        return "none of them buys accuracy for certain"
    rivals = [
        c.factor for c in best if c.difference.high >= best[0].difference.low
    ]  # the first is its own
    return f"{' or '.join(rivals)} buys most"
