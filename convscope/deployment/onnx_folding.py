"""Batch normalisation in an ONNX model becomes part of its convolutions, before quantisation.

Eight bits hold neither its variances nor its scales. Behind a convolution, also with max pooling
between, it is folded into the filters; where it cannot be, it becomes a 1×1 convolution of its own,
one filter a channel, whose weights have a scale for each channel.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.floating]
EPSILON = 1e-5  # ONNX's default


class Folding:
    """The model, changed in place by `fold`."""

    def __init__(self, model: Any, onnx: Any) -> None:
        self.graph, self.onnx = model.graph, onnx
        self.weights = {one.name: one for one in model.graph.initializer}

    def fold(self) -> None:
        """Fold all batch normalisations whose parameters are constants."""
        for node in [n for n in self.graph.node if n.op_type == "BatchNormalization"]:
            if all(name in self.weights for name in node.input[1:]):
                self.fold_one(node)
        used = {name for node in self.graph.node for name in node.input}
        for one in [w for w in self.graph.initializer if w.name not in used]:
            self.graph.initializer.remove(one)

    def fold_one(self, node: Any) -> None:
        scale, shift = self.affine(node)
        source = self.producer(node.input[0])
        pool = source if source is not None and source.op_type == "MaxPool" else None
        conv = source if pool is None else self.producer(pool.input[0])
        if conv is None or not self.takes(conv) or (pool is not None and (scale <= 0).any()):
            self.become_convolution(node, scale, shift)
            return
        self.scale_filters(conv, scale, shift)
        for other in self.graph.node:
            for i, name in enumerate(other.input):
                if name == node.output[0]:
                    other.input[i] = node.input[0]
        for value in self.graph.output:
            if value.name == node.output[0]:
                self.producer(node.input[0]).output[0] = value.name
        self.graph.node.remove(node)

    def affine(self, node: Any) -> tuple[Values, Values]:
        """The normalisation as scale · x + shift."""
        gamma, beta, mean, variance = (self.array(name) for name in node.input[1:])
        given = [a.f for a in node.attribute if a.name == "epsilon"]
        scale = gamma / np.sqrt(variance + (given[0] if given else EPSILON))
        return scale, beta - mean * scale

    def producer(self, value: str) -> Any:
        """The node that makes a value which one other node alone takes; else None."""
        takers = sum(list(n.input).count(value) for n in self.graph.node)
        found = [n for n in self.graph.node if value in n.output]
        return found[0] if found and takers == 1 else None

    def takes(self, conv: Any) -> bool:
        """Whether it is a convolution with filters of its own."""
        if conv.op_type != "Conv" or not all(name in self.weights for name in conv.input[1:]):
            return False
        return all(self.uses(name) == 1 for name in conv.input[1:])

    def uses(self, name: str) -> int:
        return sum(list(n.input).count(name) for n in self.graph.node)

    def scale_filters(self, conv: Any, scale: Values, shift: Values) -> None:
        filters = self.array(conv.input[1])
        bias = self.array(conv.input[2]) if len(conv.input) > 2 and conv.input[2] else 0.0
        self.put(conv.input[1], filters * scale.reshape(-1, *[1] * (filters.ndim - 1)))
        name = conv.input[2] if len(conv.input) > 2 and conv.input[2] else f"{conv.name}.bias"
        self.put(name, bias * scale + shift)
        if len(conv.input) < 3:
            conv.input.append(name)
        conv.input[2] = name

    def become_convolution(self, node: Any, scale: Values, shift: Values) -> None:
        """The normalisation as a 1×1 convolution, a filter for each channel."""
        filters, bias = f"{node.name}.scale", f"{node.name}.shift"
        self.put(filters, scale.reshape(-1, 1, 1, 1))
        self.put(bias, shift)
        made = self.onnx.helper.make_node(
            "Conv",
            [node.input[0], filters, bias],
            [node.output[0]],
            name=node.name,
            group=len(scale),
            kernel_shape=[1, 1],
        )
        node.CopyFrom(made)

    def array(self, name: str) -> Values:
        return self.onnx.numpy_helper.to_array(self.weights[name])

    def put(self, name: str, values: Any) -> None:
        """Store an array as the constant of that name."""
        made = self.onnx.numpy_helper.from_array(np.asarray(values, np.float32), name)
        if name in self.weights:
            self.weights[name].CopyFrom(made)
        else:
            self.graph.initializer.append(made)
            self.weights[name] = self.graph.initializer[-1]
