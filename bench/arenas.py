"""The arena that TensorFlow Lite Micro plans against this package's count of peak memory.

Each network's operators, as `convscope.deployment` counts them, are written as an int8 .tflite file
(weights of 1, any scales: memory does not depend on them) and handed to TensorFlow Lite Micro's
interpreter, whose recording allocator prints its arena. The head holds feature maps and scratch
buffers, the tail what stays. No TensorFlow is needed.

Needs: pip install tflite-micro flatbuffers (in an environment of their own)
Command: python bench/arenas.py
writes bench/results/arenas.json
"""

from __future__ import annotations

import json
import math
import os
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flatbuffers  # pyright: ignore[reportMissingImports]
import numpy as np
from figures import markdown
from tflite_micro import runtime  # pyright: ignore[reportMissingImports]
from tflite_micro.tensorflow.lite.micro.python import (  # pyright: ignore[reportMissingImports]
    schema_py_generated as schema,
)
from torch import Tensor, nn

import convscope as cs
from convscope.deployment.device_graph import Graph, Operator, fused
from convscope.deployment.device_order import Memory, best_order
from convscope.deployment.device_trace import traced
from convscope.models import build

HERE = Path(__file__).parent
SHAPE, ARENA = (3, 32, 32), 4_000_000
SCALE = 0.05


class Residual(nn.Module):
    """Two convolutions and a skip, a 1×1 convolution where the map halves."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.a = nn.Conv2d(inputs, outputs, 3, stride, 1)
        self.b = nn.Conv2d(outputs, outputs, 3, 1, 1)
        self.s = nn.Conv2d(inputs, outputs, 1, stride) if stride > 1 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return (self.b(self.a(x).relu()) + self.s(x)).relu()


def resnet8() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, 1, 1),
        nn.ReLU(),
        Residual(16, 16, 1),
        Residual(16, 32, 2),
        Residual(32, 64, 2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(64, 10),
    )


def depthwise() -> nn.Module:
    def part(inputs: int, outputs: int, stride: int) -> list[nn.Module]:
        deep = nn.Conv2d(inputs, inputs, 3, stride, 1, groups=inputs)
        return [deep, nn.ReLU(), nn.Conv2d(inputs, outputs, 1), nn.ReLU()]

    return nn.Sequential(
        nn.Conv2d(3, 16, 3, 2, 1),
        nn.ReLU(),
        *part(16, 32, 1),
        *part(32, 64, 2),
        *part(64, 64, 1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(64, 10),
    )


def family(**fields: Any) -> Callable[[], nn.Module]:
    return lambda: build(cs.ConvNet(**fields), SHAPE, 10)


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "ResNet-8": resnet8,
    "depthwise separable": depthwise,
    "width 8, depth 3": family(width=8),
    "width 32, depth 3": family(width=32),
    "width 7, depth 2": family(width=7, depth=2),
    "width 16, depth 3×2, skip": family(width=16, block_depth=2, skip=True, head="gap"),
    "width 16, depth 2×3, skip": family(width=16, depth=2, block_depth=3, skip=True, head="gap"),
    "width 16, average pooling": family(width=16, pool="avg", norm="batch"),
    "width 16, early pooling": family(width=16, block_depth=2, pool_at="first", head="gap"),
    "width 4, 5×5, hidden 32": family(width=4, kernel=5, hidden=(32,)),
}


class Writer:
    """A graph of fused operators as a .tflite file with int8 tensors, N×H×W×C."""

    def __init__(self, graph: Graph, order: list[int]) -> None:
        self.graph, self.order = graph, order
        self.model = schema.ModelT()
        self.model.version = 3
        self.model.buffers = [schema.BufferT()]
        self.model.operatorCodes = []
        self.part = schema.SubGraphT()
        self.part.tensors, self.part.operators = [], []
        self.places: dict[int, int] = {}
        self.codes: dict[int, int] = {}

    def bytes(self) -> bytes:
        for value in self.graph.inputs:
            self.map_of(value)
        for i in self.order:
            self.write(self.graph.operators[i])
        self.part.inputs = [self.places[value] for value in self.graph.inputs]
        self.part.outputs = [self.places[value] for value in self.graph.outputs]
        self.model.subgraphs = [self.part]
        builder = flatbuffers.Builder(1024)
        builder.Finish(self.model.Pack(builder), b"TFL3")
        return bytes(builder.Output())

    def tensor(self, shape: list[int], kind: int, data: np.ndarray[Any, Any] | None = None) -> int:
        one = schema.TensorT()
        one.shape, one.type, one.buffer = shape, kind, 0
        one.quantization = schema.QuantizationParametersT()
        channels = shape[0] if data is not None and kind == schema.TensorType.INT8 else 1
        one.quantization.scale, one.quantization.zeroPoint = [SCALE] * channels, [0] * channels
        if data is not None:
            buffer = schema.BufferT()
            buffer.data = list(data.tobytes())
            self.model.buffers.append(buffer)
            one.buffer = len(self.model.buffers) - 1
        self.part.tensors.append(one)
        return len(self.part.tensors) - 1

    def map_of(self, value: int) -> int:
        if value not in self.places:
            shape = self.graph.shapes[value]
            sides = [*shape[1:], shape[0]] if len(shape) == 3 else list(shape)
            self.places[value] = self.tensor([1, *sides], schema.TensorType.INT8)
        return self.places[value]

    def add(self, code: int, inputs: list[int], out: int, name: str, options: Any) -> None:
        if code not in self.codes:
            one = schema.OperatorCodeT()
            one.builtinCode, one.deprecatedBuiltinCode, one.version = code, min(code, 127), 1
            self.model.operatorCodes.append(one)
            self.codes[code] = len(self.codes)
        operator = schema.OperatorT()
        operator.opcodeIndex, operator.inputs, operator.outputs = self.codes[code], inputs, [out]
        operator.builtinOptionsType = getattr(schema.BuiltinOptions, name)
        operator.builtinOptions = options
        self.part.operators.append(operator)

    def write(self, operator: Operator) -> None:
        code, kind = schema.BuiltinOperator, operator.first_kind
        inputs = [self.map_of(value) for value in operator.inputs]
        out = self.map_of(operator.outputs[0])
        ins, outs = self.graph.shapes[operator.inputs[0]], self.graph.shapes[operator.outputs[0]]
        acts = operator.kind.split(" + ")[1:]
        assert all(act in ("relu", "batch norm") for act in acts), operator.kind
        active = schema.ActivationFunctionType.RELU if "relu" in acts else 0
        if kind in ("conv", "depthwise conv"):
            deep = kind == "depthwise conv"
            size = max(one.values for one in operator.constants if not one.wide)
            side = round(math.sqrt(size / (outs[0] * (1 if deep else ins[0]))))
            shape = [1, side, side, outs[0]] if deep else [outs[0], side, side, ins[0]]
            options = schema.DepthwiseConv2DOptionsT() if deep else schema.Conv2DOptionsT()
            if deep:
                options.depthMultiplier = 1
            options.dilationHFactor = options.dilationWFactor = 1
            self.window(options, ins, outs, side, active)
            weights = [self.weight(shape, deep), self.bias(outs[0])]
            name = "DepthwiseConv2DOptions" if deep else "Conv2DOptions"
            number = code.DEPTHWISE_CONV_2D if deep else code.CONV_2D
            self.add(number, inputs + weights, out, name, options)
        elif kind in ("max pool", "average pool", "mean"):
            options = schema.Pool2DOptionsT()
            options.filterHeight = options.filterWidth = ins[1] // outs[1]
            self.window(options, ins, outs, ins[1] // outs[1], active)
            number = code.MAX_POOL_2D if kind == "max pool" else code.AVERAGE_POOL_2D
            self.add(number, inputs, out, "Pool2DOptions", options)
        elif kind == "add":
            options = schema.AddOptionsT()
            options.fusedActivationFunction = active
            self.add(code.ADD, inputs, out, "AddOptions", options)
        else:
            assert kind == "linear", kind
            options = schema.FullyConnectedOptionsT()
            options.fusedActivationFunction = active
            weights = [self.weight([outs[0], math.prod(ins)], True), self.bias(outs[0])]
            self.add(code.FULLY_CONNECTED, inputs + weights, out, "FullyConnectedOptions", options)

    def window(
        self, options: Any, ins: tuple[int, ...], outs: tuple[int, ...], side: int, active: int
    ) -> None:
        stride = round(ins[1] / outs[1])
        valid = (ins[1] - side) // stride + 1 == outs[1]
        options.padding = schema.Padding.VALID if valid else schema.Padding.SAME
        options.strideH = options.strideW = stride
        options.fusedActivationFunction = active

    def weight(self, shape: list[int], whole: bool = False) -> int:
        place = self.tensor(shape, schema.TensorType.INT8, np.ones(shape, np.int8))
        if whole:  # depthwise filters have their channels last, a fully connected layer one scale
            channels = shape[3] if len(shape) == 4 else 1
            quantised = self.part.tensors[place].quantization
            quantised.scale, quantised.zeroPoint = [SCALE] * channels, [0] * channels
            quantised.quantizedDimension = 3 if len(shape) == 4 else 0
        return place

    def bias(self, channels: int) -> int:
        data = np.zeros(channels, np.int32)
        place = self.tensor([channels], schema.TensorType.INT32, data)
        self.part.tensors[place].quantization.scale = [SCALE * SCALE]
        return place


def arena(model: bytes) -> dict[str, int]:
    """Bytes of the arena's head and tail, from what the recording allocator prints."""
    with tempfile.TemporaryFile() as caught:
        kept = os.dup(1), os.dup(2)
        os.dup2(caught.fileno(), 1)
        os.dup2(caught.fileno(), 2)
        try:
            interpreter = runtime.Interpreter.from_bytes(model, arena_size=ARENA)
            interpreter.print_allocations()
        except RuntimeError as error:
            caught.seek(0)
            raise RuntimeError(caught.read().decode()) from error
        finally:
            for number, one in enumerate(kept, 1):
                os.dup2(one, number)
                os.close(one)
        caught.seek(0)
        text = caught.read().decode()
    found = {
        name: int(size) for name, size in re.findall(r"Arena allocation (\w+) (\d+) bytes", text)
    }
    assert {"head", "tail"} <= set(found), text
    return found


def main() -> None:
    rows = []
    for name, make in NETWORKS.items():
        graph, notes = traced(make(), SHAPE)
        graph = fused(graph)
        assert not notes
        memory = Memory(graph, 8)
        written = list(range(len(graph.operators)))
        peaks = {
            "written": max(moment.total for moment in memory.run(written)),
            "ours": max(moment.total for moment in memory.run(best_order(memory) or written)),
        }
        order = best_order(memory) if peaks["ours"] < peaks["written"] else written
        assert order is not None
        found = arena(Writer(graph, order).bytes())
        rows.append({"network": name, **peaks, **found, "weights": graph.weight_bytes(8)})
    heads = ("network", "this count", "arena's head", "difference", "tail")
    cells = [
        [
            row["network"],
            *(f"{row[key]:,}" for key in ("ours", "head")),
            f"{row['head'] - row['ours']:+,}",
            f"{row['tail']:,}",
        ]
        for row in rows
    ]
    print(markdown(heads, cells))
    (HERE / "results").mkdir(exist_ok=True)
    (HERE / "results" / "arenas.json").write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
