"""One wide layer against a cascade: which networks are compared for what."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from convscope.chapters.receptive_field.plan import HEADS, NEAR
from convscope.statistics import Configuration, Difference, accuracy_difference


@dataclass(frozen=True)
class Comparison:
    """One step of the argument: what changes from b to a, and what it does to test accuracy."""

    factor: str  # size, field, depth, pooling
    head: str
    a: Configuration
    b: Configuration
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


def single(arm: Configuration) -> bool:
    """One convolution, no pooling: what a cascade is compared with."""
    return arm.convnet.depth * arm.convnet.block_depth == 1 and arm.convnet.pool == "none"


def near(a: Configuration, b: Configuration) -> bool:
    """Whether their numbers of parameters count as matched."""
    return abs(a.parameters - b.parameters) <= NEAR * max(a.parameters, b.parameters)


Pair = tuple[Configuration, Configuration]  # what is compared with what


def comparisons_of(arms: Sequence[Configuration]) -> list[Comparison]:
    """Size, field and depth with each head, and pooling, among these configurations."""
    pairs: list[tuple[str, Pair | None]] = []
    for head in ("flatten", "gap"):
        shallow = [a for a in arms if a.convnet.head == head and single(a)]
        if not shallow:
            continue
        pairs.append(("size", size_pair(shallow)))
        for cascade in sorted(cascades(arms, head), key=lambda a: a.parameters):
            matched = [a for a in shallow if near(a, cascade)]
            pairs += [
                ("field", field_pair(matched, cascade)),
                ("depth", depth_pair(matched, cascade)),
            ]
    pairs += [("pooling", pooling_pair(arms, pooled)) for pooled in arms]
    return [
        Comparison(factor, pair[0].convnet.head, *pair, accuracy_difference(*pair, arms))
        for factor, pair in pairs
        if pair is not None
    ]


def cascades(arms: Iterable[Configuration], head: str) -> list[Configuration]:
    """The networks of several blocks with pooling."""
    with_head = [a for a in arms if a.convnet.head == head]
    return [a for a in with_head if a.convnet.depth > 1 and a.convnet.pool != "none"]


def size_pair(shallow: Sequence[Configuration]) -> Pair | None:
    """Of the single layers with the smallest kernel the largest and the smallest."""
    kernel = min(a.convnet.kernel for a in shallow)
    narrow = sorted((a for a in shallow if a.convnet.kernel == kernel), key=lambda a: a.parameters)
    return None if near(narrow[0], narrow[-1]) else (narrow[-1], narrow[0])


def field_pair(matched: Iterable[Configuration], cascade: Configuration) -> Pair | None:
    """Of the single layers as large as a cascade that with the largest and the smallest kernel.

    Of several with the same kernel it is the one nearest to the cascade in size.
    """

    def distance(a: Configuration) -> int:
        return abs(a.parameters - cascade.parameters)

    by_kernel = sorted(matched, key=lambda a: (a.convnet.kernel, distance(a)))
    if not by_kernel:
        return None
    narrow, largest = by_kernel[0], by_kernel[-1].convnet.kernel
    wide = next(a for a in by_kernel if a.convnet.kernel == largest)
    return (wide, narrow) if largest > narrow.convnet.kernel and near(wide, narrow) else None


def depth_pair(matched: Iterable[Configuration], cascade: Configuration) -> Pair | None:
    """The cascade and the best single layer of its size, chosen by validation."""
    best = chosen_head(matched)
    return None if best is None else (cascade, best)


def pooling_pair(arms: Iterable[Configuration], pooled: Configuration) -> Pair | None:
    """A cascade and its twin without pooling."""
    twin = replace(pooled.convnet, pool="none")
    flat = next((a for a in arms if a.convnet == twin), None)
    if flat is None or flat is pooled or pooled.convnet.depth == 1:
        return None
    return pooled, flat


def chosen_head(shallow: Iterable[Configuration]) -> Configuration | None:
    """The single layer of lowest validation loss: its head is the one to choose."""
    return min(shallow, key=lambda a: a.val_loss.mean, default=None)


def strongest(comparisons: Sequence[Comparison], factor: str) -> Comparison | None:
    """The comparison in which a factor gains most."""
    return max(
        (c for c in comparisons if c.factor == factor),
        key=lambda c: c.difference.mean,
        default=None,
    )


def verdict_of(comparisons: Sequence[Comparison]) -> str:
    """Which of size, field and depth buys most.

    Each stands with its strongest comparison, and their intervals must tell them apart. With one
    seed per network nobody can tell.
    """
    factors = ("size", "field", "depth")
    best = [c for c in (strongest(comparisons, factor) for factor in factors) if c is not None]
    best.sort(key=lambda c: -c.difference.mean)
    if not best or not best[0].difference.degrees:
        return "cannot tell"
    if all(c.difference.low <= 0 for c in comparisons if c.factor in factors):
        return "none of them buys accuracy for certain"
    # the first is among them
    rivals = [c.factor for c in best if c.difference.high >= best[0].difference.low]
    return f"{' or '.join(rivals)} buys most"
