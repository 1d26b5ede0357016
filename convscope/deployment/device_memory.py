"""What a network needs on a device: weights, multiply-adds, peak memory of its feature maps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from convscope.deployment.device_graph import Graph, fused
from convscope.deployment.device_order import Memory, Moment, best_order
from convscope.deployment.device_sizes import check_bits, size_text
from convscope.recipe import Model

if TYPE_CHECKING:
    from torch import nn

ASSUMED = (
    "operators run one after the other, each with its whole inputs and its whole output in memory",
    "normalisation is folded into weights; activations are computed in place",
    "a change of shape or of the order of axes is free",
    "weights are read where they are stored; biases have 32 bits",
    "runtimes add buffers of their own: this is a lower bound for those that work so",
)


@dataclass(frozen=True)
class Need:
    """One operator, and what is in memory while it runs.

    name: the path of its module.
    kind: what it computes, with what is fused into it.
    shape: of its output, without the batch.
    macs: multiply-adds of one image.
    weight_bytes: of its weights, also where another operator has them too.
    inputs, output, held: bytes that it reads, that it writes, and that wait for later operators.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    macs: int
    weight_bytes: int
    inputs: int
    output: int
    held: int

    @property
    def bytes(self) -> int:
        """All of it together."""
        return self.inputs + self.output + self.held


@dataclass(frozen=True)
class DeviceFit:
    """What a network needs on a device, computed from its operators; prints itself.

    bits: of weights and of values in feature maps.
    weight_bytes: of all weights, each once.
    macs: multiply-adds of one image.
    operators: in the order in which they run.
    written_bytes: the peak in the order in which the network calls them.
    notes: what could not be seen, and what else is to be known.
    """

    bits: int
    weight_bytes: int
    macs: int
    operators: tuple[Need, ...]
    written_bytes: int
    notes: tuple[str, ...] = ()
    assumed: tuple[str, ...] = ASSUMED

    @property
    def peak(self) -> Need | None:
        """The first operator at which most is in memory; None of a network without operators."""
        return max(self.operators, key=lambda one: one.bytes, default=None)

    @property
    def peak_bytes(self) -> int:
        """Bytes of feature maps that are in memory at once, at the most."""
        return self.peak.bytes if self.peak else 0

    def __str__(self) -> str:
        head = ("operator", "computes", "output", "MACs", "weights", "inputs", "output", "held")
        rows: list[tuple[str, ...]] = [head]
        for one in self.operators:
            sizes = (one.weight_bytes, one.inputs, one.output, one.held)
            shape = "×".join(map(str, one.shape))
            rows.append((one.name, one.kind, shape, f"{one.macs:,}", *(f"{b:,}" for b in sizes)))
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        lines = [
            "  ".join(
                cell.ljust(w) if i < 3 else cell.rjust(w)
                for i, (cell, w) in enumerate(zip(row, widths, strict=True))
            )
            for row in rows
        ]
        marks = ["memory", *(f"{one.bytes:,}" for one in self.operators)]
        most = max(map(len, marks))
        for i, mark in enumerate(marks):
            at_peak = i > 0 and self.operators[i - 1] is self.peak
            lines[i] += f"  {mark.rjust(most)}{'  <- peak' if at_peak else ''}"
        return "\n".join([*lines, "", *self.summary()])

    def summary(self) -> list[str]:
        """The figures in words, a line each, then what is assumed."""
        told = [
            f"peak memory of the feature maps at {self.bits} bits: {size_text(self.peak_bytes)}"
            + (
                f", at {self.peak.name or 'the network itself'} ({self.peak.kind}): "
                f"inputs {size_text(self.peak.inputs)}, output {size_text(self.peak.output)}, held "
                f"{size_text(self.peak.held)}"
                if self.peak
                else ""
            ),
            f"weights: {size_text(self.weight_bytes)}; multiply-adds: {self.macs:,}",
        ]
        if self.written_bytes > self.peak_bytes:
            told.append(
                f"in the order in which the network calls them: {size_text(self.written_bytes)}"
            )
        told += [f"note: {note}" for note in self.notes]
        return [*told, f"assumed: {'; '.join(self.assumed)}"]

    def to_json(self) -> dict[str, object]:
        """As plain values, sizes in bytes."""
        at = self.peak
        return {
            "bits": self.bits,
            "weight_bytes": self.weight_bytes,
            "macs": self.macs,
            "peak_bytes": self.peak_bytes,
            "peak_at": at.name if at else None,
            "written_bytes": self.written_bytes,
            "operators": [{**vars(one), "bytes": one.bytes} for one in self.operators],
            "notes": list(self.notes),
            "assumed": list(self.assumed),
        }


def device_fit(
    model: Model | nn.Module,
    in_shape: tuple[int, int, int],
    bits: int = 8,
    *,
    num_classes: int = 10,
    fuse_pooling: bool = False,
    add_in_place: bool = False,
) -> DeviceFit:
    """What a network needs on a device: bytes of weights, multiply-adds, peak activation memory.

    Operators run in the order with the lowest peak. Where there are too many orders to look at, or
    none is better, it is the order in which the network calls them.

    model: a module, or the model of a recipe.
    in_shape: channels, height and width of an image.
    bits: of weights and of values in feature maps: 2, 4, 8, 16 or 32.
    num_classes: of the classifier, for the model of a recipe.
    fuse_pooling: compute max or average pooling with the convolution before it, as some runtimes
        do, so that the map between them is never whole in memory.
    add_in_place: write a sum over one of its addends.

    Raises UserError for other bits, and where the network does not take such images.
    """
    check_bits(bits)
    graph, notes = graph_of(model, tuple(in_shape), num_classes)
    graph = fused(graph, fuse_pooling)
    moments, written, more = schedule(graph, bits, add_in_place)
    macs = sum(operator.macs for operator in graph.operators)
    needs = tuple(need_of(graph, moment, bits) for moment in moments)
    return DeviceFit(bits, graph.weight_bytes(bits), macs, needs, written, (*notes, *more))


def graph_of(
    model: Model | nn.Module, in_shape: tuple[int, ...], num_classes: int
) -> tuple[Graph, tuple[str, ...]]:
    """(operators, what could not be seen)."""
    from convscope.deployment.device_trace import traced
    from convscope.models import build

    channels, height, width = in_shape
    if isinstance(model, Model):
        return traced(build(model, (channels, height, width), num_classes), in_shape)
    return traced(model, in_shape)


def schedule(
    graph: Graph, bits: int, add_in_place: bool
) -> tuple[Sequence[Moment], int, tuple[str, ...]]:
    """(what is in memory at each operator, the peak in the written order, what is to be known)."""
    memory = Memory(graph, bits, add_in_place)
    written = list(memory.run(range(len(graph.operators))))
    peak = max((moment.total for moment in written), default=0)
    order = best_order(memory)
    if order is None:
        return written, peak, ("too many orders of its branches to look at: the written one",)
    best = list(memory.run(order))
    if max((moment.total for moment in best), default=0) == peak:
        return written, peak, ()
    return best, peak, ()


def need_of(graph: Graph, moment: Moment, bits: int) -> Need:
    operator = graph.operators[moment.operator]
    return Need(
        operator.name,
        operator.kind,
        graph.shapes[operator.outputs[0]],
        operator.macs,
        sum(one.bytes(bits) for one in {one.key: one for one in operator.constants}.values()),
        moment.inputs,
        moment.output,
        moment.held,
    )
