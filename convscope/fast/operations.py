"""Operations of a network's block by compiled kernels, with their gradients. Feature maps are N×C×H×W, channels_last and dense (`kernels.active`).

Each gives what the library's operations give in the same order, up to rounding: they round once where the library rounds after every operation.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from convscope.fast.library import library

MOST_INPUT_CHANNELS = 5  # of the first block: three pixels' values fit a vector

CHANNELS_LAST = torch.channels_last

ACTIVATIONS = (
    "",
    "relu",
    "gelu",
)  # behind a normalisation, as normalise.c numbers them; GELU is that of the hyperbolic tangent


def like(x: Tensor, channels: int, height: int, width: int) -> Tensor:
    return torch.empty(
        (len(x), channels, height, width), dtype=x.dtype, memory_format=CHANNELS_LAST
    )


def dense(gradient: Tensor) -> Tensor:
    return gradient.contiguous(memory_format=CHANNELS_LAST)


class Pool(torch.autograd.Function):
    """2×2 pooling of an even map, by maximum or mean, with ReLU: relu(max(x)), the same as max(relu(x)), and mean(relu(x))."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, kind: str, relu: bool) -> Tensor:
        count, channels, height, width = x.shape
        y = like(x, channels, height // 2, width // 2)
        function = getattr(library(x.dtype), f"{kind}_pool")
        function(
            x.data_ptr(),
            y.data_ptr(),
            count,
            height,
            width,
            channels,
            relu,
            torch.get_num_threads(),
        )
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
            x.data_ptr(),
            *winners,
            g.data_ptr(),
            dx.data_ptr(),
            count,
            height,
            width,
            channels,
            ctx.relu,
            torch.get_num_threads(),
        )
        return dx, None, None


class GlobalPool(torch.autograd.Function):
    """The mean of each channel's map, with ReLU before it: N×C×H×W to N×C."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, relu: bool) -> Tensor:
        count, channels, height, width = x.shape
        y = torch.empty((count, channels), dtype=x.dtype)
        library(x.dtype).global_pool(
            x.data_ptr(),
            y.data_ptr(),
            count,
            height * width,
            channels,
            relu,
            torch.get_num_threads(),
        )
        ctx.relu = relu
        ctx.save_for_backward(x)
        return y

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        (x,) = ctx.saved_tensors
        count, channels, height, width = x.shape
        g, dx = g.contiguous(), torch.empty_like(x)
        library(x.dtype).global_pool_back(
            x.data_ptr(),
            g.data_ptr(),
            dx.data_ptr(),
            count,
            height * width,
            channels,
            ctx.relu,
            torch.get_num_threads(),
        )
        return dx, None


class Normalise(torch.autograd.Function):
    """Normalisation by the batch's statistics, then the residual added, then the activation, of `ACTIVATIONS`; GELU takes no residual. Answers with the result,
    means and biased variances."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        residual: Tensor | None,
        eps: float,
        activation: str,
    ) -> Any:
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
        ctx.save_for_backward(
            x, y if activation == "relu" else x, mean, inverse_sd, weight, scale, shift
        )
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
            x.data_ptr(),
            y.data_ptr(),
            g.data_ptr(),
            mean.data_ptr(),
            inverse_sd.data_ptr(),
            weight.data_ptr(),
            dx.data_ptr(),
            None if behind_relu is None else behind_relu.data_ptr(),
            d_weight.data_ptr(),
            d_bias.data_ptr(),
            scale.data_ptr(),
            shift.data_ptr(),
            count * height * width,
            channels,
            ACTIVATIONS.index(ctx.activation),
            torch.get_num_threads(),
        )
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
            x.data_ptr(),
            weight.data_ptr(),
            bias.data_ptr(),
            y.data_ptr(),
            None if place is None else place.data_ptr(),
            count,
            height,
            width,
            channels,
            filters,
            torch.get_num_threads(),
        )
        ctx.save_for_backward(x, weight, place)
        return y

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        x, weight, place = ctx.saved_tensors
        count, channels, height, width = x.shape
        g, filters = dense(g), len(weight)
        d_weight, d_bias = torch.empty_like(weight), torch.empty(filters)
        library(x.dtype).first_block_back(
            x.data_ptr(),
            place.data_ptr(),
            g.data_ptr(),
            d_weight.data_ptr(),
            d_bias.data_ptr(),
            count,
            height,
            width,
            channels,
            filters,
            torch.get_num_threads(),
        )
        return None, d_weight, d_bias, None


class Flatten(torch.autograd.Function):
    """N×C×H×W to N×C·H·W in the natural order: channel after channel, row after row."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        count, channels, height, width = ctx.shape = x.shape
        y = torch.empty((count, channels * height * width), dtype=x.dtype)
        library(x.dtype).flatten(
            x.data_ptr(), y.data_ptr(), count, height * width, channels, torch.get_num_threads()
        )
        return y

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        count, channels, height, width = ctx.shape
        g = g.contiguous()
        dx = torch.empty(ctx.shape, dtype=g.dtype, memory_format=CHANNELS_LAST)
        library(g.dtype).flatten(
            g.data_ptr(), dx.data_ptr(), count, channels, height * width, torch.get_num_threads()
        )
        return dx


def batch_norm(norm: nn.BatchNorm2d, x: Tensor, residual: Tensor | None, activation: str) -> Tensor:
    """Normalisation in the module's mode of a map that nothing else needs, the residual added, then the activation; running statistics are updated as the module does.

    In evaluation mode, without gradients, the map is overwritten.
    """
    mean, var = norm.running_mean, norm.running_var
    assert (
        mean is not None
        and var is not None
        and norm.num_batches_tracked is not None
        and norm.momentum is not None
    )
    if norm.training:
        y, batch_mean, batch_var = Normalise.apply(
            x, norm.weight, norm.bias, residual, norm.eps, activation
        )  # pyright: ignore[reportGeneralTypeIssues]
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


def scale_shift(
    x: Tensor, residual: Tensor | None, out: Tensor, scale: Tensor, shift: Tensor, activation: str
) -> Tensor:
    """out, which may be x: each channel scaled and shifted, the residual added, then the activation."""
    channels = x.shape[1]
    extra = None if residual is None else residual.data_ptr()
    library(x.dtype).scale_shift(
        x.data_ptr(),
        extra,
        out.data_ptr(),
        scale.data_ptr(),
        shift.data_ptr(),
        x.numel() // channels,
        channels,
        ACTIVATIONS.index(activation),
        torch.get_num_threads(),
    )
    return out
