"""A convolution by the fastest way: Winograd's algorithm, blocks of pixels, the library."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convscope.fast import large_kernels
from convscope.fast.operations import CHANNELS_LAST, dense, empty_map
from convscope.fast.shared_library import has_winograd, kernels_for

MOST = 1024  # channels of either side: each thread holds a sum for each place and filter


@dataclass(frozen=True)
class Algorithm:
    """Winograd's F(tile×tile, 3×3), and what it suits, measured (bench/convolutions.py).

    lanes: values in a vector of filters.
    pairs: values that are summed at once; channels are multiples of `multiple`.
    few: channels of both sides; many: the product of both, for outputs and gradients of inputs.
    waste: outputs of whole tiles over those of the map, at most, for the same.
    """

    tile: int
    lanes: int
    pairs: int
    multiple: int
    few: int
    many: int
    waste: float

    def words(self, summed: int, columns: int) -> int:
        """How many words of 32 bits transformed filters take."""
        rounded = -(-columns // self.lanes) * self.lanes
        return (self.tile + 2) ** 2 * (summed // self.pairs) * rounded

    def wasted(self, size: Sequence[int]) -> float:
        """Outputs of whole tiles over those of a map of this height and width."""
        height, width = size
        tiles = (-(-height // self.tile)) * (-(-width // self.tile))
        return tiles * self.tile**2 / (height * width)


ALGORITHMS = {  # as winograd.c and winograd_float.c hold them
    torch.bfloat16: Algorithm(tile=2, lanes=16, pairs=2, multiple=8, few=16, many=512, waste=1.4),
    torch.float32: Algorithm(tile=4, lanes=8, pairs=1, multiple=1, few=4, many=16, waste=2.0),
}


class WinogradConvolution(torch.autograd.Function):
    """3×3 convolution, stride 1, border of zeros, with its gradients, by Winograd's algorithm.

    Outputs and the gradient of inputs are the library's where that is faster (`gains`).
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        weight = weight.contiguous(memory_format=CHANNELS_LAST)
        ctx.save_for_backward(x, weight)
        ctx.biased = bias is not None
        if gains(weight, x):
            return by_winograd(x, weight, bias, False)
        return F.conv2d(
            x, weight.to(x.dtype), None if bias is None else bias.to(x.dtype), padding=1
        )

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        (g,) = grads
        x, weight = ctx.saved_tensors
        count, channels, height, width = x.shape
        g, filters = dense(g), len(weight)
        dx = None
        if ctx.needs_input_grad[0]:
            dx = (
                by_winograd(g, weight, None, True)
                if gains(weight, x)
                else input_gradient(g, x, weight)
            )
        d_weight, d_bias = torch.empty_like(weight), torch.empty(filters) if ctx.biased else None
        kernels_for(x.dtype).winograd_weights(
            x.data_ptr(),
            g.data_ptr(),
            d_weight.data_ptr(),
            None if d_bias is None else d_bias.data_ptr(),
            count,
            height,
            width,
            channels,
            filters,
            torch.get_num_threads(),
        )
        return dx, d_weight, d_bias


def by_winograd(x: Tensor, weight: Tensor, bias: Tensor | None, backward: bool) -> Tensor:
    """The convolution of x by O×I×3×3 weights, both channels_last (`suits_winograd`).

    backward: the gradient of its inputs, where x is that of its outputs. Weights are not rounded
    before they are transformed.
    """
    lib, threads = kernels_for(x.dtype), torch.get_num_threads()
    filters, channels = weight.shape[:2]
    summed, columns = (filters, channels) if backward else (channels, filters)
    words = ALGORITHMS[x.dtype].words(summed, columns)
    transformed = torch.empty(words, dtype=torch.int32)
    lib.winograd_filters(
        weight.data_ptr(), transformed.data_ptr(), channels, filters, backward, threads
    )
    y = empty_map(x, columns, *x.shape[2:])
    shift = None if bias is None else bias.data_ptr()
    lib.winograd(
        x.data_ptr(),
        transformed.data_ptr(),
        shift,
        y.data_ptr(),
        len(x),
        *x.shape[2:],
        summed,
        columns,
        threads,
    )
    return y


def input_gradient(g: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    """The gradient of a convolution's inputs by the library."""
    ones, asked = [1, 1], [True, False, False]
    return torch.ops.aten.convolution_backward(
        g, x, weight.to(x.dtype), None, ones, ones, ones, False, [0, 0], 1, asked
    )[0]


def fastest_convolution(conv: nn.Conv2d, x: Tensor, winograd: bool) -> Tensor:
    """The convolution of a map that suits the kernels.

    By Winograd's algorithm, where it is asked for, with 3×3 filters of many channels; on blocks of
    pixels with few and large filters; by the library elsewhere.
    """
    if large_kernels.gains(conv):
        return large_kernels.convolve_on_blocks(x, conv.weight, conv.bias)
    if not (winograd and has_winograd(x.dtype) and suits_winograd(conv, x)):
        return conv(x)
    if torch.is_grad_enabled() or gains(conv.weight, x):
        return cast("Tensor", WinogradConvolution.apply(x, conv.weight, conv.bias))
    return conv(x)


def suits_winograd(conv: nn.Conv2d, x: Tensor) -> bool:
    """Whether the gradient by the filters is faster by Winograd's algorithm.

    It is 1.3 to 4 times as fast (bench/convolutions.py).
    """
    known = ALGORITHMS[x.dtype]
    three = conv.kernel_size == (3, 3) and conv.padding == (1, 1) and conv.padding_mode == "zeros"
    dense_steps = conv.stride == (1, 1) and conv.dilation == (1, 1) and conv.groups == 1
    if not (three and dense_steps):
        return False
    few, many = sorted((conv.in_channels, conv.out_channels))
    if few % known.multiple or many % known.multiple:
        return False
    return known.few <= few and many <= MOST and min(x.shape[2:]) > 1


def gains(weight: Tensor, x: Tensor) -> bool:
    """Whether outputs and the gradient of inputs are faster too.

    They are with enough filters, and tiles that don't stand over the map's edge by much.
    """
    known = ALGORITHMS[x.dtype]
    enough = weight.shape[0] * weight.shape[1] >= known.many
    return enough and known.wasted(x.shape[2:]) <= known.waste
