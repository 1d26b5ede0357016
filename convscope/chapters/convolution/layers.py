"""The layers of a trained network, each measured by itself on small maps."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from convscope.chapters.convolution.operators import translation_numbers
from convscope.chapters.convolution.theorem import response_error
from convscope.errors import UserError, one_line
from convscope.probes import (
    LinearityTest,
    Operator,
    Probe,
    measure_linearity,
    probe,
    show_shape,
)

LAYER_TRIALS = 32
MOST_LAYERS = 24
LAYER_SIZE = 12  # pixels a side, about: what a layer is does not depend on it, and small is quick
MOST_WORK = 12_000_000  # in channels × out channels × positions, all layers: 10 s on one core
MOST_NUMBERS = 1 << 16  # in one input of a layer


@dataclass(frozen=True)
class Call:
    """A module without children as it was called in the network.

    Shapes are of one sample; `in_shape` is None where it was not given one tensor alone.
    """

    name: str
    module: nn.Module
    in_shape: tuple[int, ...] | None
    out_shape: tuple[int, ...]

    @property
    def kind(self) -> str:
        """As Act(relu), MaxPool(2); of long descriptions the class alone."""
        text = str(self.module)
        return one_line(text if len(text) <= 16 else type(self.module).__name__, 40)


def calls_of(net: nn.Module, in_shape: tuple[int, ...]) -> list[Call]:
    """The distinct modules without children in order of execution, nn.Identity left out."""
    calls: dict[nn.Module, Call] = {}
    leaves = ((name, module) for name, module in net.named_modules() if not any(module.children()))
    names = {module: name for name, module in leaves if not isinstance(module, nn.Identity)}
    dtype = next((p.dtype for p in net.parameters()), torch.float32)

    def seen(module: nn.Module, inputs: tuple[Any, ...], out: Any) -> None:
        single = len(inputs) == 1 and isinstance(inputs[0], Tensor) and isinstance(out, Tensor)
        shape = tuple(inputs[0].shape[1:]) if single else None
        calls.setdefault(
            module, Call(names[module], module, shape, tuple(out.shape[1:]) if single else ())
        )

    hooks = [module.register_forward_hook(seen) for module in names]
    try:
        with torch.no_grad():
            net(torch.randn(2, *in_shape, generator=torch.Generator().manual_seed(0)).to(dtype))
    finally:
        for hook in hooks:
            hook.remove()
    return list(calls.values())


def measure_layers(net: nn.Module, in_shape: tuple[int, ...]) -> list[Any]:
    """[rows, left out]: a row for each layer and mode, and the layers left out, with the reason.

    net: in evaluation mode, and it stays so; in_shape: one sample's.
    """
    rows: list[dict[str, Any]] = []
    left_out: list[str] = []
    work = 0
    for call in calls_of(net, in_shape):
        name = one_line(call.name) or call.kind
        if call.in_shape is None:
            left_out.append(f"{name} (not a function of one tensor)")
            continue
        if len({row["layer"] for row in rows}) >= MOST_LAYERS:
            left_out.append(f"{name} (more than {MOST_LAYERS} layers)")
            continue
        modes = (
            (False, True) if isinstance(call.module, nn.modules.batchnorm._BatchNorm) else (False,)
        )
        more = len(modes) * work_of(call)
        if work + more > MOST_WORK or math.prod(call.in_shape) > MOST_NUMBERS:
            left_out.append(f"{name} (too large for a quick look)")
            continue
        work += more
        try:
            rows += [measure_layer(call, training) for training in modes]
        except UserError as error:
            left_out.append(f"{name} ({one_line(error)})")
    return [rows, left_out]


def work_of(call: Call) -> int:
    """What a layer's measurement costs: in channels × out channels × positions of its impulses."""
    assert call.in_shape is not None
    if not is_map(call):
        return math.prod(call.in_shape) + math.prod(call.out_shape)
    height, width = map_size(call)
    return call.in_shape[0] * call.out_shape[0] * height * width


def is_map(call: Call) -> bool:
    """Whether it makes channels of two axes from channels of two axes."""
    return call.in_shape is not None and len(call.in_shape) == len(call.out_shape) == 3


def map_size(call: Call) -> tuple[int, int]:
    """The size of the map on which a layer is measured.

    Three windows wide, and large enough to tell its border from its inside.
    """
    assert call.in_shape is not None
    sides = []
    for axis in (0, 1):
        inputs, outputs = call.in_shape[1 + axis], call.out_shape[1 + axis]
        ratio = stride_of(call.module, axis)
        if ratio is None:
            ratio = max(1, round(inputs / outputs)) if outputs > 1 else 1
        least = LAYER_SIZE
        if isinstance(call.module, nn.Conv2d):
            border = -(-call.module.dilation[axis] * (call.module.kernel_size[axis] - 1) // 2)
            least = max(8, 4 * (border + 1))
        sides.append(ratio * max(3 if ratio > 1 else 1, -(-least // ratio)))
    return sides[0], sides[1]


def stride_of(module: nn.Module, axis: int) -> int | None:
    """The stride that a convolution or pooling names, so that a pooling of its whole map is known.

    None where it names none.
    """
    named = getattr(module, "stride", None) or getattr(module, "size", None)
    stride = named[axis] if isinstance(named, tuple) and len(named) == 2 else named
    return max(1, stride) if isinstance(stride, int) and not isinstance(stride, bool) else None


def measure_layer(call: Call, training: bool) -> dict[str, Any]:
    """What one module is, on inputs of its channels; raises UserError where it is not known."""
    assert call.in_shape is not None
    was = call.module.training
    call.module.train(training)
    try:
        mode = "training" if training else "evaluation"
        row: dict[str, Any] = {"layer": one_line(call.name) or call.kind, "kind": call.kind}
        row |= {"mode": mode, "convolution": isinstance(call.module, nn.Conv2d)}
        row["sizes"] = f"{show_shape(call.in_shape)} → {show_shape(call.out_shape)}"
        if not is_map(call):
            return row | linear_row(
                measure_linearity(Operator(call.module, call.in_shape), trials=LAYER_TRIALS)
            )
        return row | map_row(call, probe_map(call))
    finally:
        call.module.train(was)


def probe_map(call: Call) -> Probe:
    """Measured on a small map; a module that takes maps of one size only is measured on these."""
    assert call.in_shape is not None
    try:
        return probe(call.module, (call.in_shape[0], *map_size(call)), trials=LAYER_TRIALS)
    except UserError:
        if math.prod(call.in_shape) > MOST_NUMBERS // 8:
            raise
        return probe(call.module, call.in_shape, trials=LAYER_TRIALS)


def linear_row(test: LinearityTest) -> dict[str, Any]:
    worst = max((example.error for example in test.counterexamples), default=None)
    keys = ("equivariant", "moves", "invariant", "period", "inside", "border")
    unknown = dict.fromkeys((*keys, "response", "first", "kernel_error"))
    return {"linearity": test.verdict, "error": worst, **unknown, "trials": test.trials}


def map_row(call: Call, found: Probe) -> dict[str, Any]:
    part = found.convolution.linear_part
    error = None
    if isinstance(call.module, nn.Conv2d):
        error = response_error(call.module, part, found.convolution.first)
    return linear_row(found.linearity_test) | {
        **translation_numbers(found),
        "response": None if part is None else list(part.shape),
        "first": None if part is None else list(found.convolution.first),
        "kernel_error": error,
    }
