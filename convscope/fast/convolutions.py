"""A convolution by the fastest way: Winograd's algorithm, blocks of pixels, the library."""

from __future__ import annotations

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convscope.fast import large_kernels
from convscope.fast.operations import CHANNELS_LAST, dense, empty_map
from convscope.fast.shared_library import has_winograd, kernels_for

LANES = 16  # values in a vector of winograd.c

MANY, MANY_FILTERS = 16, 512  # channels of both sides; their product

MOST = 1024  # channels of either side: each thread holds 16 sums a filter

MOST_WASTE = 1.4  # outputs of whole tiles over those of the map


class WinogradConvolution(torch.autograd.Function):
    """3×3 convolution, stride 1, border of zeros, with its gradients, by Winograd's algorithm.

    Outputs and the gradient of inputs are the library's where that is faster (`gains`).
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        weight = weight.contiguous(memory_format=CHANNELS_LAST)
        ctx.save_for_backward(x, weight)
        ctx.biased = bias is not None
        if gains(weight, x.shape[2:]):
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
                if gains(weight, x.shape[2:])
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
    """The convolution of x by O×I×3×3 weights (channels_last, multiples of 8).

    backward: the gradient of its inputs, where x is that of its outputs. Weights are not rounded
    before they are transformed.
    """
    lib, threads = kernels_for(x.dtype), torch.get_num_threads()
    filters, channels = weight.shape[:2]
    summed, columns = (filters, channels) if backward else (channels, filters)
    transformed = torch.empty(16 * summed // 2 * (-(-columns // LANES) * LANES), dtype=torch.int32)
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
    if not (winograd and has_winograd(x.dtype) and suits_winograd(conv, x.shape[2:])):
        return conv(x)
    if torch.is_grad_enabled() or gains(conv.weight, x.shape[2:]):
        return cast("Tensor", WinogradConvolution.apply(x, conv.weight, conv.bias))
    return conv(x)


def suits_winograd(conv: nn.Conv2d, size: torch.Size) -> bool:
    """Whether the gradient by the filters is faster by Winograd's algorithm.

    It is 1.3 to 2.5 times as fast (bench/convolutions.py).
    """
    three = conv.kernel_size == (3, 3) and conv.padding == (1, 1) and conv.padding_mode == "zeros"
    dense_steps = conv.stride == (1, 1) and conv.dilation == (1, 1) and conv.groups == 1
    if not (three and dense_steps) or conv.in_channels % 8 or conv.out_channels % 8:
        return False
    few, many = sorted((conv.in_channels, conv.out_channels))
    return few >= MANY and many <= MOST and min(size) > 1


def gains(weight: Tensor, size: torch.Size) -> bool:
    """Whether outputs and the gradient of inputs are faster too.

    They are with enough filters, and tiles that don't stand over the map's edge by much.
    """
    height, width = size
    tiles = ((height + 1) // 2) * ((width + 1) // 2)
    enough = weight.shape[0] * weight.shape[1] >= MANY_FILTERS
    return enough and 4 * tiles <= MOST_WASTE * height * width
