"""Operations of a network's block by compiled kernels, with their gradients. Feature maps are N×C×H×W, channels_last and dense (`kernels.active`).

Each gives what the library's operations give in the same order, up to rounding: they round once where the library rounds after every operation.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convscope import folded, kernels
from convscope.kernels import library

MOST_INPUT_CHANNELS = 5  # of the first block: three pixels' values fit a vector
CHANNELS_LAST = torch.channels_last
ACTIVATIONS = ("", "relu", "gelu")  # behind a normalisation, as normalise.c numbers them; GELU is that of the hyperbolic tangent
LANES = 16  # values in a vector of winograd.c
MANY, MANY_FILTERS = 16, 512  # channels of both sides; their product
MOST = 1024  # channels of either side: each thread holds 16 sums a filter


def like(x: Tensor, channels: int, height: int, width: int) -> Tensor:
    return torch.empty((len(x), channels, height, width), dtype=x.dtype, memory_format=CHANNELS_LAST)


def dense(gradient: Tensor) -> Tensor:
    return gradient.contiguous(memory_format=CHANNELS_LAST)


class Pool(torch.autograd.Function):
    """2×2 pooling of an even map, by maximum or mean, with ReLU: relu(max(x)), the same as max(relu(x)), and mean(relu(x))."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, kind: str, relu: bool) -> Tensor:
        count, channels, height, width = x.shape
        y = like(x, channels, height // 2, width // 2)
        function = getattr(library(x.dtype), f"{kind}_pool")
        function(x.data_ptr(), y.data_ptr(), count, height, width, channels, relu, torch.get_num_threads())
        ctx.kind, ctx.relu = kind, relu
        ctx.save_for_backward(x, y)
        return y

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        x, y = ctx.saved_tensors
        count, channels, height, width = x.shape
        g, dx = dense(g), torch.empty_like(x)
        winners = (y.data_ptr(),) if ctx.kind == "max" else ()
        function = getattr(library(x.dtype), f"{ctx.kind}_pool_back")
        function(
            x.data_ptr(), *winners, g.data_ptr(), dx.data_ptr(), count, height, width, channels, ctx.relu, torch.get_num_threads()
        )
        return dx, None, None


class GlobalPool(torch.autograd.Function):
    """The mean of each channel's map, with ReLU before it: N×C×H×W to N×C."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, relu: bool) -> Tensor:
        count, channels, height, width = x.shape
        y = torch.empty((count, channels), dtype=x.dtype)
        library(x.dtype).global_pool(x.data_ptr(), y.data_ptr(), count, height * width, channels, relu, torch.get_num_threads())
        ctx.relu = relu
        ctx.save_for_backward(x)
        return y

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        (x,) = ctx.saved_tensors
        count, channels, height, width = x.shape
        g, dx = g.contiguous(), torch.empty_like(x)
        library(x.dtype).global_pool_back(
            x.data_ptr(), g.data_ptr(), dx.data_ptr(), count, height * width, channels, ctx.relu, torch.get_num_threads()
        )
        return dx, None


class Normalise(torch.autograd.Function):
    """Normalisation by the batch's statistics, then the residual added, then the activation, of `ACTIVATIONS`; GELU takes no residual. Answers with the result,
    means and biased variances."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, residual: Tensor | None, eps: float, activation: str) -> Any:
        count, channels, height, width = x.shape
        rows, threads, lib = count * height * width, torch.get_num_threads(), library(x.dtype)
        mean, variance = torch.empty(channels), torch.empty(channels)
        lib.moments(x.data_ptr(), mean.data_ptr(), variance.data_ptr(), rows, channels, threads)
        inverse_sd = (variance + eps).rsqrt()
        scale = weight * inverse_sd
        shift = bias - mean * scale
        y = torch.empty_like(x)
        scale_shift(x, residual, y, scale, shift, activation)
        ctx.activation, ctx.residual = activation, residual is not None
        ctx.save_for_backward(x, y if activation == "relu" else x, mean, inverse_sd, weight, scale, shift)
        ctx.mark_non_differentiable(mean, variance)
        return y, mean, variance

    @staticmethod
    def backward(ctx: Any, g: Tensor, *_: Any) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        x, y, mean, inverse_sd, weight, scale, shift = ctx.saved_tensors
        count, channels, height, width = x.shape
        g, dx = dense(g), torch.empty_like(x)
        d_weight, d_bias = torch.empty(channels), torch.empty(channels)
        behind_relu = (
            torch.empty_like(x) if ctx.residual and ctx.activation == "relu" else None
        )  # elsewhere the residual's gradient is g itself
        library(x.dtype).normalise_back(
            x.data_ptr(), y.data_ptr(), g.data_ptr(), mean.data_ptr(), inverse_sd.data_ptr(), weight.data_ptr(), dx.data_ptr(),
            None if behind_relu is None else behind_relu.data_ptr(), d_weight.data_ptr(), d_bias.data_ptr(), scale.data_ptr(), shift.data_ptr(),
            count * height * width, channels, ACTIVATIONS.index(ctx.activation), torch.get_num_threads(),
        )  # fmt: skip
        d_residual = None if not ctx.residual else g if behind_relu is None else behind_relu
        return dx, d_weight, d_bias, d_residual, None, None


class FirstBlock(torch.autograd.Function):
    """3×3 convolution with a border of zeros, ReLU, 2×2 max pooling, of images that need no gradient; `training`: a gradient of the weights will be asked for. Weights are not rounded to the images' precision."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, training: bool) -> Tensor:
        count, channels, height, width = x.shape
        filters = len(weight)
        y = like(x, filters, height // 2, width // 2)
        weight = weight.contiguous()
        place = torch.empty(y.numel(), dtype=torch.uint8) if training else None
        library(x.dtype).first_block(
            x.data_ptr(), weight.data_ptr(), bias.data_ptr(), y.data_ptr(), None if place is None else place.data_ptr(),
            count, height, width, channels, filters, torch.get_num_threads(),
        )  # fmt: skip
        ctx.save_for_backward(x, weight, place)
        return y

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        x, weight, place = ctx.saved_tensors
        count, channels, height, width = x.shape
        g, filters = dense(g), len(weight)
        d_weight, d_bias = torch.empty_like(weight), torch.empty(filters)
        library(x.dtype).first_block_back(
            x.data_ptr(), place.data_ptr(), g.data_ptr(), d_weight.data_ptr(), d_bias.data_ptr(),
            count, height, width, channels, filters, torch.get_num_threads(),
        )  # fmt: skip
        return None, d_weight, d_bias, None


class Convolution(torch.autograd.Function):
    """3×3 convolution, stride 1, border of zeros, with its gradients by Winograd's algorithm, and by the library where that is faster (`gains`)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        weight = weight.contiguous(memory_format=CHANNELS_LAST)
        ctx.save_for_backward(x, weight)
        ctx.biased = bias is not None
        if gains(weight, x.shape[2:]):
            return by_winograd(x, weight, bias, False)
        return F.conv2d(x, weight.to(x.dtype), None if bias is None else bias.to(x.dtype), padding=1)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        x, weight = ctx.saved_tensors
        count, channels, height, width = x.shape
        g, filters = dense(g), len(weight)
        dx = None
        if ctx.needs_input_grad[0]:
            dx = by_winograd(g, weight, None, True) if gains(weight, x.shape[2:]) else input_gradient(g, x, weight)
        d_weight, d_bias = torch.empty_like(weight), torch.empty(filters) if ctx.biased else None
        library(x.dtype).winograd_weights(
            x.data_ptr(), g.data_ptr(), d_weight.data_ptr(), None if d_bias is None else d_bias.data_ptr(),
            count, height, width, channels, filters, torch.get_num_threads(),
        )  # fmt: skip
        return dx, d_weight, d_bias


def by_winograd(x: Tensor, weight: Tensor, bias: Tensor | None, backward: bool) -> Tensor:
    """The convolution of x by O×I×3×3 weights (channels_last, multiples of 8), or, backward, the gradient of its inputs where x is that of its outputs.

    Weights are not rounded before they are transformed.
    """
    lib, threads = library(x.dtype), torch.get_num_threads()
    filters, channels = weight.shape[:2]
    summed, columns = (filters, channels) if backward else (channels, filters)
    transformed = torch.empty(16 * summed // 2 * (-(-columns // LANES) * LANES), dtype=torch.int32)
    lib.winograd_filters(weight.data_ptr(), transformed.data_ptr(), channels, filters, backward, threads)
    y = like(x, columns, *x.shape[2:])
    shift = None if bias is None else bias.data_ptr()
    lib.winograd(x.data_ptr(), transformed.data_ptr(), shift, y.data_ptr(), len(x), *x.shape[2:], summed, columns, threads)
    return y


def input_gradient(g: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    """By the library."""
    ones, asked = [1, 1], [True, False, False]
    return torch.ops.aten.convolution_backward(g, x, weight.to(x.dtype), None, ones, ones, ones, False, [0, 0], 1, asked)[0]


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
    plain = conv.kernel_size == (3, 3) and conv.padding == (1, 1) and conv.padding_mode == "zeros" and conv.groups == 1
    if not plain or conv.stride != (1, 1) or conv.dilation != (1, 1) or conv.in_channels % 8 or conv.out_channels % 8:
        return False
    few, many = sorted((conv.in_channels, conv.out_channels))
    return few >= MANY and many <= MOST and min(size) > 1


def gains(weight: Tensor, size: torch.Size) -> bool:
    """Whether outputs and the gradient of inputs are faster too: enough filters, and tiles that don't stand over the map's edge by much."""
    height, width = size
    tiles = ((height + 1) // 2) * ((width + 1) // 2)
    return weight.shape[0] * weight.shape[1] >= MANY_FILTERS and 4 * tiles <= 1.4 * height * width


class Flatten(torch.autograd.Function):
    """N×C×H×W to N×C·H·W in the natural order: channel after channel, row after row."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        count, channels, height, width = ctx.shape = x.shape
        y = torch.empty((count, channels * height * width), dtype=x.dtype)
        library(x.dtype).flatten(x.data_ptr(), y.data_ptr(), count, height * width, channels, torch.get_num_threads())
        return y

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        count, channels, height, width = ctx.shape
        g = g.contiguous()
        dx = torch.empty(ctx.shape, dtype=g.dtype, memory_format=CHANNELS_LAST)
        library(g.dtype).flatten(g.data_ptr(), dx.data_ptr(), count, channels, height * width, torch.get_num_threads())
        return dx


def batch_norm(norm: nn.BatchNorm2d, x: Tensor, residual: Tensor | None, activation: str) -> Tensor:
    """Normalisation in the module's mode of a map that nothing else needs, the residual added, then the activation; running statistics are updated as the module does.

    In evaluation mode, without gradients, the map is overwritten.
    """
    mean, var = norm.running_mean, norm.running_var
    assert mean is not None and var is not None and norm.num_batches_tracked is not None and norm.momentum is not None
    if norm.training:
        y, batch_mean, batch_var = Normalise.apply(x, norm.weight, norm.bias, residual, norm.eps, activation)  # pyright: ignore[reportGeneralTypeIssues]
        rows = x.numel() // x.shape[1]
        mean.lerp_(batch_mean, norm.momentum)
        var.lerp_(batch_var * (rows / max(1, rows - 1)), norm.momentum)
        norm.num_batches_tracked.add_(1)
        return y
    scale = norm.weight * (var + norm.eps).rsqrt()
    shift = norm.bias - mean * scale
    return scale_shift(x, residual, x, scale, shift, activation)


def activate(x: Tensor, activation: str) -> Tensor:
    """The activation of a map that nothing else needs, in place; it has no gradient."""
    return scale_shift(x, None, x, torch.ones(x.shape[1]), torch.zeros(x.shape[1]), activation)


def scale_shift(x: Tensor, residual: Tensor | None, out: Tensor, scale: Tensor, shift: Tensor, activation: str) -> Tensor:
    """out, which may be x: each channel scaled and shifted, the residual added, then the activation."""
    channels = x.shape[1]
    extra = None if residual is None else residual.data_ptr()
    library(x.dtype).scale_shift(
        x.data_ptr(), extra, out.data_ptr(), scale.data_ptr(), shift.data_ptr(), x.numel() // channels, channels, ACTIVATIONS.index(activation),
        torch.get_num_threads(),
    )  # fmt: skip
    return out
