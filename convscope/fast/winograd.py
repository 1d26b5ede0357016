"""Convolutions of many channels by Winograd's algorithm, with their gradients."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convscope.fast import large_kernels as folded
from convscope.fast import library as kernels
from convscope.fast.library import library
from convscope.fast.operations import CHANNELS_LAST, dense, like

LANES = 16  # values in a vector of winograd.c

MANY, MANY_FILTERS = 16, 512  # channels of both sides; their product

MOST = 1024  # channels of either side: each thread holds 16 sums a filter


class Convolution(torch.autograd.Function):
    """3×3 convolution, stride 1, border of zeros, with its gradients by Winograd's algorithm, and by the library where that is faster (`gains`)."""

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
    def backward(ctx: Any, g: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
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
        library(x.dtype).winograd_weights(
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
    """The convolution of x by O×I×3×3 weights (channels_last, multiples of 8), or, backward, the gradient of its inputs where x is that of its outputs.

    Weights are not rounded before they are transformed.
    """
    lib, threads = library(x.dtype), torch.get_num_threads()
    filters, channels = weight.shape[:2]
    summed, columns = (filters, channels) if backward else (channels, filters)
    transformed = torch.empty(16 * summed // 2 * (-(-columns // LANES) * LANES), dtype=torch.int32)
    lib.winograd_filters(
        weight.data_ptr(), transformed.data_ptr(), channels, filters, backward, threads
    )
    y = like(x, columns, *x.shape[2:])
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
    """By the library."""
    ones, asked = [1, 1], [True, False, False]
    return torch.ops.aten.convolution_backward(
        g, x, weight.to(x.dtype), None, ones, ones, ones, False, [0, 0], 1, asked
    )[0]


def convolve(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """A convolution by whichever is faster: Winograd's algorithm for 3×3 filters of many channels, blocks of pixels for few and large ones, the library for others."""
    if folded.suits(conv) and kernels.active(x):
        return folded.convolve(x, conv.weight, conv.bias)
    if not (kernels.winograd(x) and suits_winograd(conv, x.shape[2:])):
        return conv(x)
    if torch.is_grad_enabled() or gains(conv.weight, x.shape[2:]):
        return Convolution.apply(x, conv.weight, conv.bias)  # pyright: ignore[reportReturnType]
    return conv(x)


def suits_winograd(conv: nn.Conv2d, size: torch.Size) -> bool:
    """Whether the gradient by the filters is faster by Winograd's algorithm (bench/convolutions.py): it is 1.3 to 2.5 times."""
    plain = (
        conv.kernel_size == (3, 3)
        and conv.padding == (1, 1)
        and conv.padding_mode == "zeros"
        and conv.groups == 1
    )
    if (
        not plain
        or conv.stride != (1, 1)
        or conv.dilation != (1, 1)
        or conv.in_channels % 8
        or conv.out_channels % 8
    ):
        return False
    few, many = sorted((conv.in_channels, conv.out_channels))
    return few >= MANY and many <= MOST and min(size) > 1


def gains(weight: Tensor, size: torch.Size) -> bool:
    """Whether outputs and the gradient of inputs are faster too: enough filters, and tiles that don't stand over the map's edge by much."""
    height, width = size
    tiles = ((height + 1) // 2) * ((width + 1) // 2)
    return weight.shape[0] * weight.shape[1] >= MANY_FILTERS and 4 * tiles <= 1.4 * height * width
