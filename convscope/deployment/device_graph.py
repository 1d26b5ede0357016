"""A network as a device runs it: operators, the values between them, constants.

A value is a feature map or a vector of one image; it has a number and a shape without the batch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

WIDE = 32  # bits of biases, of scales and shifts, and of whole numbers, whatever the weights have


@dataclass(frozen=True)
class Constant:
    """Weights that an operator reads.

    key: the same for the same weights, which a device stores once.
    values: how many.
    wide: whether each takes 32 bits: biases, scales, indices.
    """

    key: object
    values: int
    wide: bool = False

    def bytes(self, bits: int) -> int:
        return bytes_of(self.values, max(bits, WIDE) if self.wide else bits)


@dataclass(frozen=True)
class Operator:
    """One operator, with what is fused into it.

    name: the path of the module that calls it.
    kind: what it computes, as "conv + relu".
    inputs, outputs: values that it reads and writes.
    macs: multiplications by weights, each with its addition, and those of matrix products.
    over: the value whose place its output may take, where that is not read later.
    channels: of its output, where a scale or a bias of each channel can be folded into its weights;
        else 0.
    folds: whether it scales or shifts each channel, which the weights before it can take over.
    pools: whether it makes one value of each window of a map.
    """

    name: str
    kind: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    macs: int = 0
    constants: tuple[Constant, ...] = ()
    over: int | None = None
    channels: int = 0
    folds: bool = False
    pools: bool = False

    @property
    def first_kind(self) -> str:
        return self.kind.split(" + ")[0]


@dataclass(frozen=True)
class Graph:
    """All operators in the order in which the network calls them.

    shapes: of each value, without the batch.
    inputs: the images. outputs: what the network returns.
    """

    operators: tuple[Operator, ...]
    shapes: dict[int, tuple[int, ...]]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]

    def bytes(self, value: int, bits: int) -> int:
        return bytes_of(math.prod(self.shapes[value]), bits)

    def weight_bytes(self, bits: int) -> int:
        """Each constant once."""
        known = {one.key: one for operator in self.operators for one in operator.constants}
        return sum(one.bytes(bits) for one in known.values())


def bytes_of(values: int, bits: int) -> int:
    return -(-values * bits // 8)


def pruned(graph: Graph) -> Graph:
    """Without operators on which the outputs do not depend, and without values nobody reads."""
    needed, kept = set(graph.outputs), list[Operator]()
    for operator in reversed(graph.operators):
        if needed.isdisjoint(operator.outputs):
            continue
        used = tuple(value for value in operator.outputs if value in needed)
        kept.append(replace(operator, outputs=used))
        needed.update(operator.inputs)
    return replace(graph, operators=tuple(reversed(kept)))


def fused(graph: Graph, fuse_pooling: bool = False) -> Graph:
    """What works on each value by itself becomes a part of the operator before it.

    Scales and shifts of channels behind a convolution or a fully connected layer go into its
    weights and its bias. Two cuts in turn become one. With `fuse_pooling`, pooling behind a
    convolution is computed with it, and the map between them never exists as a whole.
    """
    readers: dict[int, int] = dict.fromkeys(graph.outputs, 2)  # an output is never fused away
    for operator in graph.operators:
        for value in set(operator.inputs):
            readers[value] = readers.get(value, 0) + 1
    merged: list[Operator] = []
    maker: dict[int, int] = {}  # value -> place in merged
    for operator in graph.operators:
        source = operator.inputs[0] if operator.inputs else None
        place = maker.get(source) if source is not None and readers[source] == 1 else None
        before = merged[place] if place is not None else None
        if place is not None and before is not None and joins(before, operator, fuse_pooling):
            merged[place] = joined(before, operator)
        else:
            merged.append(operator)
            place = len(merged) - 1
        for value in merged[place].outputs:
            maker[value] = place
    return replace(graph, operators=tuple(merged))


def joins(before: Operator, operator: Operator, fuse_pooling: bool) -> bool:
    """Whether an operator can be a part of the one before it, whose only reader it is."""
    if len(before.outputs) != 1 or len(operator.outputs) != 1 or len(set(operator.inputs)) != 1:
        return False
    if operator.over == operator.inputs[0]:
        return True
    if operator.kind == "slice":
        return before.kind == "slice"
    if not (fuse_pooling and operator.pools) or before.first_kind not in CONVOLUTIONS:
        return False
    return WHOLE_MAP.isdisjoint(before.kind.split(" + "))


CONVOLUTIONS = ("conv", "depthwise conv", "grouped conv", "transposed conv")

# what needs a whole map before its first value is known
WHOLE_MAP = {"group norm", "layer norm", "softmax", "log softmax"}


def joined(before: Operator, operator: Operator) -> Operator:
    folds = bool(before.channels and operator.folds)
    constants = before.constants
    if not folds:
        constants += operator.constants
    elif not any(one.wide for one in constants):
        bias = Constant((before.name, before.outputs, "bias"), before.channels, True)
        constants += (bias,)
    silent = operator.kind in ("slice", "copy")
    kind = before.kind if silent else f"{before.kind} + {operator.kind}"
    return replace(
        before,
        kind=kind,
        outputs=operator.outputs,
        constants=constants,
        channels=before.channels if folds else 0,
    )
