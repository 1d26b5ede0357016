"""A network as a device with 8-bit arithmetic computes it, simulated in torch.

Weights of convolutions and matrix products are rounded to 2^bits levels, symmetric, with a scale
for each output channel; a scale or a shift of channels behind them changes nothing of that. The
image and the output of each operator, with what is fused into it, are rounded to 2^bits levels
between the lowest and the highest value that calibration images gave: a scale for each tensor
(Jacob et al. 2018, arXiv 1712.05877). Sums are exact, as in 32-bit accumulators. Poolings that take
the largest value, cuts and permutations keep the levels of what they read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from convscope.deployment.device_graph import fused
from convscope.deployment.device_trace import Recorder, tensors_in
from convscope.models import PARAMETRIZATIONS, copied

WEIGHTED = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)

KEEP_LEVELS = {"max pool", "max", "slice", "gather", "pad", "copy"}


@dataclass
class Range:
    """The lowest and the highest value that a tensor took; 0 is always a level."""

    low: float = 0.0
    high: float = 0.0

    def take(self, values: Tensor) -> None:
        low, high = torch.aminmax(values.detach().float())
        self.low, self.high = min(self.low, float(low)), max(self.high, float(high))

    def rounded(self, values: Tensor, bits: int) -> Tensor:
        levels = 2**bits - 1
        scale = (self.high - self.low) / levels
        if not scale:
            return values
        zero = round(-self.low / scale)
        steps = (values / scale).round().add(zero).clamp(0, levels).sub(zero)
        return steps.mul(scale).to(values.dtype)


class Simulated(nn.Module):
    """A copy of a network that computes as with few bits; N×C×H×W to what the network returns.

    network: it is not changed.
    images: for calibration, as the network takes them (normalised); batches of N×C×H×W.
    bits: of weights and of values in feature maps.
    """

    def __init__(self, network: nn.Module, images: Iterable[Tensor], bits: int = 8) -> None:
        super().__init__()
        self.bits = bits
        self.network = copied(network).eval()
        batches = iter(images)
        first = next(batches)
        self.input, self.ranges = Range(), {call: Range() for call in ends_of(self.network, first)}
        with torch.no_grad():
            for batch in (first, *batches):
                self.input.take(batch)
                with Watching(self.ranges):
                    self.network(batch)
            for module in self.network.modules():
                round_weights(module, bits)

    def forward(self, x: Tensor) -> Any:
        with torch.no_grad():
            x = self.input.rounded(x, self.bits)
            with Watching(self.ranges, self.bits):
                return self.network(x)


def round_weights(module: nn.Module, bits: int) -> None:
    """A layer's weights on 2^bits − 1 levels, with a scale for each output channel."""
    if not isinstance(module, (*WEIGHTED, *TRANSPOSED)) or hasattr(module, PARAMETRIZATIONS):
        return
    axis = 1 if isinstance(module, TRANSPOSED) else 0
    weight = module.weight
    most = weight.abs().amax([i for i in range(weight.ndim) if i != axis], keepdim=True)
    levels = 2 ** (bits - 1) - 1
    scale = (most / levels).clamp(min=torch.finfo(weight.dtype).tiny)
    weight.copy_((weight / scale).round().clamp(-levels, levels) * scale)


def ends_of(network: nn.Module, images: Tensor) -> list[int]:
    """The numbers of torch's calls whose outputs a device keeps: the ends of fused operators."""
    one = images[:1]  # outside: a cut would be a call of its own
    recorder = Recorder(network, one)
    with torch.no_grad(), recorder.naming(), recorder:
        outputs = network(one)
    recorder.finish(tensors_in(outputs))
    graph = fused(recorder.graph())
    return [
        recorder.made_by[operator.outputs[0]]
        for operator in graph.operators
        if operator.outputs[0] in recorder.made_by and operator.kind not in KEEP_LEVELS
    ]


class Watching(TorchDispatchMode):
    """Within it, outputs of some calls are measured or, with `bits`, rounded to their levels."""

    def __init__(self, ranges: Mapping[int, Range], bits: int | None = None) -> None:
        super().__init__()
        self.ranges, self.bits, self.calls = ranges, bits, 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        kept = self.ranges.get(self.calls)
        self.calls += 1
        first = out[0] if isinstance(out, tuple | list) else out
        if kept is None or not isinstance(first, Tensor) or not first.is_floating_point():
            return out
        if self.bits is None:
            kept.take(first)
            return out
        first.copy_(kept.rounded(first, self.bits))
        return out
