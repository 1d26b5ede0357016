"""A network as a row of stages: what goes in, the maps of each block, the vector, the classes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby

from convscope.errors import UserError
from convscope.models import Layer, size_of
from convscope.recipe import Model

SIDE, LEAST = 64.0, 7.0  # pixels of the largest and of the smallest map
MOST_SHEETS = 6
MOST_STAGES = 14

SHORT = {"Conv2d": "conv", "Linear": "fully connected", "Whiten": "fixed whitening"}


@dataclass(frozen=True)
class Stage:
    """A stage: its name, what it holds, its output's shape and how large it is drawn.

    maps, height, width: of the output; a vector of N values is N × 1 × 1.
    layers: as "2 × conv, pool", empty for the image.
    side, sheets: pixels of the square that stands for a map, and how many are drawn.
    """

    name: str
    layers: str
    maps: int
    height: int
    width: int
    side: float
    sheets: int

    @property
    def vector(self) -> bool:
        return self.height == self.width == 1

    @property
    def size(self) -> str:
        """As "16 maps of 32×32", "1,024 values"."""
        if self.vector:
            return f"{self.maps:,} value{'' if self.maps == 1 else 's'}"
        maps = f"{self.maps:,} map{'' if self.maps == 1 else 's'}"
        return f"{maps} of {self.height}×{self.width}"


def stages_of(model: Model, in_shape: tuple[int, int, int], classes: int) -> list[Stage]:
    """The stages from the image to the classes; empty where the network cannot be built here."""
    try:
        layers = size_of(model, in_shape, classes).layers
    except UserError:
        return []
    channels, height, width = in_shape
    found = [("image", "", (channels, height, width))]
    for name, group in groupby(layers, key=lambda layer: part_of(layer.name)):
        members = list(group)
        found.append((name, told(members), whole(members[-1].shape)))
    last = len(found) - 1
    largest = max(max(shape[1:]) for _, _, shape in found)
    stages = [
        stage("classes" if i == last else name, layers, shape, largest)
        for i, (name, layers, shape) in enumerate(named(found))
    ]
    if len(stages) > MOST_STAGES:  # a deep network: its first and last stages
        half = MOST_STAGES // 2
        return [*stages[:half], *stages[-half:]]
    return stages


def part_of(layer: str) -> str:
    """The stage of a layer, by its name: blocks.0.convs.1 -> blocks.0; fc.2 -> fc.2."""
    head, *rest = layer.split(".")
    return f"{head}.{rest[0]}" if head == "blocks" or (head == "fc" and rest) else head


def whole(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """maps × height × width of any output."""
    maps, height, width = (*shape, 1, 1)[:3]
    return maps, height, width


def told(layers: Iterable[Layer]) -> str:
    """What a stage holds: "2 × conv, pool"."""
    counted: dict[str, int] = {}
    for word in words(layers):
        counted[word] = counted.get(word, 0) + 1
    return ", ".join(f"{n} × {word}" if n > 1 else word for word, n in counted.items())


def words(layers: Iterable[Layer]) -> Iterator[str]:
    for layer in layers:
        kind = layer.kind
        if kind in SHORT:
            yield SHORT[kind]
        elif kind == "AdaptiveAvgPool2d":
            yield "mean of each map"
        elif "Pool" in kind:
            yield "pooling"
        elif "Flatten" in kind or kind == "Ordered":
            yield "flatten"


def named(
    found: list[tuple[str, str, tuple[int, int, int]]],
) -> Iterator[tuple[str, str, tuple[int, int, int]]]:
    """The stages that hold something, with names for people."""
    for name, layers, shape in found:
        if name == "image" or layers:
            number = name.partition("blocks.")[2]
            known = {"stem": "stem", "head": "vector", "image": "image"}
            title = f"block {int(number) + 1}" if number.isdigit() else known.get(name, "layer")
            yield title, layers, shape


def stage(name: str, layers: str, shape: tuple[int, int, int], largest: int) -> Stage:
    maps, height, width = shape
    if height == width == 1:
        return Stage(name, layers, maps, 1, 1, LEAST, 1)
    side = max(LEAST, SIDE * math.sqrt(max(height, width) / max(1, largest)))
    sheets = max(1, min(MOST_SHEETS, round(math.log2(maps)) if maps > 1 else 1))
    return Stage(name, layers, maps, height, width, round(side, 1), sheets)
