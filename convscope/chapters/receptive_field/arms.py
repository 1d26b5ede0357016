"""The networks of the chapter: single layers and cascades, each one step from another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from convscope.models import parameters_of
from convscope.recipe import ConvNet

Shape = tuple[int, int, int]  # channels, height, width

Factor = Literal["field", "filters", "depth", "pooling", "head"]

NEAR = 0.02  # numbers that differ by less, as a share of the larger, count as equal

# filters of the course's shallow networks: 61,618 and 618 parameters on 3×32×32
COURSE = {"flatten": 6, "gap": 16}

LARGER = 4  # times as many filters has the larger single layer with a fully connected layer


@dataclass(frozen=True)
class Step:
    """What is compared: network a with network b, which differ in the factor."""

    factor: Factor
    a: ConvNet
    b: ConvNet


@dataclass(frozen=True)
class Arms:
    """The networks, and the steps between them.

    series: networks that differ in dilation alone and share a learning rate; with each head the
        course's single layer, the single layer as large as the cascade, the cascade without
        pooling.
    others: the rest.
    steps: from network to network, one factor at a time.
    path: those of the steps that lead from the course's single layer to the cascade, in order.
    """

    series: tuple[tuple[ConvNet, ...], ...]
    others: tuple[ConvNet, ...]
    steps: tuple[Step, ...]
    path: tuple[Step, ...]

    @property
    def models(self) -> list[ConvNet]:
        """Every network once."""
        return list(dict.fromkeys([*(m for part in self.series for m in part), *self.others]))

    @property
    def tuned(self) -> list[ConvNet]:
        """The networks of which pilots are trained: of a series its ends."""
        ends = [m for part in self.series for m in (part[0], part[-1])]
        return list(dict.fromkeys([*ends, *self.others]))


def arms_of(cascade: ConvNet, dilations: Sequence[int], in_shape: Shape, classes: int) -> Arms:
    """The networks beside a cascade with global average pooling.

    dilations: of the course's single layers beside 1; those whose field is larger than the image
        are left out.
    """
    side = min(in_shape[1:])
    fitting = [1, *(d for d in dilations if d > 1 and 2 * d + 1 <= side)]
    layer = {head: ConvNet(COURSE[head], 1, pool="none", head=head) for head in ("flatten", "gap")}
    fc, gap = ([dilated(layer[head], d) for d in fitting] for head in ("flatten", "gap"))
    more = replace(fc[0], width=LARGER * fc[0].width)
    wide, means = matched_heads(cascade, fc[0], gap[0], in_shape, classes)
    heads = [Step("head", fc[0], gap[0])]
    heads += [Step("head", means, wide)] if means is not None else []
    fields = [Step("field", one, part[0]) for part in (fc, gap) for one in reversed(part[1:])]
    path: list[Step] = [Step("filters", wide, gap[0])]
    series, others = [tuple(fc), tuple(gap)], [more, *([means] if means is not None else [])]
    if cascade.depth > 1:
        flat = replace(cascade, pool="none")
        spread, opened = (
            dilated(wide, cascade.depth),
            replace(flat, dilations=without_holes(cascade)),
        )
        path += [
            Step("field", spread, wide),
            Step("depth", flat, spread),
            Step("field", opened, flat),
            Step("pooling", cascade, opened),
        ]
        series += [(wide, spread), (flat, opened)]
        others.append(cascade)
    else:
        others.append(wide)
    steps = [Step("filters", more, fc[0]), *fields, *path, *heads]
    return Arms(
        tuple(series),
        tuple(others),
        tuple(dict.fromkeys(step for step in steps if step.a != step.b)),
        tuple(step for step in path if step.a != step.b),
    )


def dilated(layer: ConvNet, dilation: int) -> ConvNet:
    return replace(layer, dilations=(dilation,) * layer.depth)


def without_holes(cascade: ConvNet) -> tuple[int, ...]:
    """Dilations for a cascade of 3×3 convolutions without pooling that give it the field of the one
    with 2×2 pooling, less a pixel: 1, 2, 4 … and 2^depth − 1 for the last.

    With pooling the field of D layers is 3 · 2^D − 2, with these dilations 3 · 2^D − 3. Each kernel
    reaches as far as the layers before it see, so that no pixel of the field is left out.
    """
    depth = cascade.depth
    return (*(2**d for d in range(depth - 1)), 2**depth - 1)


def matched(model: ConvNet, target: int, in_shape: Shape, classes: int) -> ConvNet:
    """The width at which the network's parameters come nearest to the target."""

    def parameters(width: int) -> int:
        return parameters_of(replace(model, width=width), in_shape, classes)

    low, high = 1, 2
    while parameters(high) < target and high < 1 << 15:
        high *= 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if parameters(middle) < target else (low, middle)
    return replace(model, width=min((low, high), key=lambda width: abs(parameters(width) - target)))


def matched_heads(
    cascade: ConvNet, fc: ConvNet, gap: ConvNet, in_shape: Shape, classes: int
) -> tuple[ConvNet, ConvNet | None]:
    """A single layer with global average pooling and one with a fully connected layer, both as
    large as the cascade.

    On all activations the fully connected layer would be too large for that, so it sees means of
    their neighbourhoods: the smallest of 2×2, 4×4, 8×8 … pixels with which all three have equal
    parameters (within NEAR). Where there is no such, the nearest pair is taken. The second is None
    where the images leave no room for means of several places.
    """

    def parameters(model: ConvNet) -> int:
        return parameters_of(model, in_shape, classes)

    target = parameters(cascade)
    middle = matched(gap, target, in_shape, classes)
    widths = range(max(1, middle.width * 49 // 50), middle.width * 51 // 50 + 1)
    gaps = [replace(middle, width=width) for width in widths]
    found: list[tuple[float, ConvNet, ConvNet]] = []
    size = 2
    while min(in_shape[1:]) // size >= 2:
        pooled = replace(fc, pool="avg", pool_sizes=(size,))
        means = matched(pooled, target, in_shape, classes)
        pairs = [
            (max(apart(parameters(one), target), apart(parameters(one), parameters(means))), one)
            for one in gaps
        ]
        off, one = min(pairs, key=lambda pair: pair[0])
        found.append((off, one, means))
        if off <= NEAR:
            return one, means
        size *= 2
    if not found:
        return middle, None
    _, one, means = min(found, key=lambda trial: trial[0])
    return one, means


def apart(a: float, b: float) -> float:
    """By how much two numbers differ, as a share of the larger."""
    return abs(a - b) / max(abs(a), abs(b), 1e-300)


def is_single(model: ConvNet) -> bool:
    """Whether it is one convolution without max pooling: what a cascade is compared with."""
    return model.depth * model.block_depth == 1 and (model.pool == "none" or sees_means(model))


def sees_means(model: ConvNet) -> bool:
    """Whether it is one convolution whose classifier sees means of neighbourhoods."""
    return model.depth * model.block_depth == 1 and model.pool == "avg"


def head_of(model: ConvNet) -> str:
    """FC, GAP → FC, or, where a single layer's classifier sees means, FC on means."""
    if model.head == "gap":
        return "GAP → FC"
    return "means → FC" if sees_means(model) else "FC"
