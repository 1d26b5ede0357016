"""A block's normalisation, activation and flattening, and the whole first block, as kernels.

Feature maps are N×C×H×W, channels_last and dense (`twins.suits_kernels`). Each operation gives what
the library's operations give in the same order, up to rounding: it rounds once where the library
rounds after every operation.

They are autograd functions, not `torch.library` operators: docs/kernels.md has reason and numbers.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from convscope.fast.shared_library import kernels_for

MOST_INPUT_CHANNELS = 5  # of the first block: three pixels' values fit a vector

CHANNELS_LAST = torch.channels_last

# Behind a normalisation, as normalise.c numbers them; GELU is that of the hyperbolic tangent.
ACTIVATIONS = ("", "relu", "gelu")


def empty_map(x: Tensor, channels: int, height: int, width: int) -> Tensor:
    """A map for as many images of the same precision, not filled."""
    shape = (len(x), channels, height, width)
    return torch.empty(shape, dtype=x.dtype, memory_format=CHANNELS_LAST)


def dense(gradient: Tensor) -> Tensor:
    return gradient.contiguous(memory_format=CHANNELS_LAST)


class Normalise(torch.autograd.Function):
    """Normalisation by the batch's statistics, then the residual added, then the activation.

    The activation is one of `ACTIVATIONS`; GELU takes no residual. Returns the result, the means
    and the biased variances.
    """

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
        rows, threads, lib = count * height * width, torch.get_num_threads(), kernels_for(x.dtype)
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
    def backward(ctx: Any, *grads: Any) -> Any:
        g = grads[0]
        x, y, mean, inverse_sd, weight, scale, shift = ctx.saved_tensors
        count, channels, height, width = x.shape
        g, dx = dense(g), torch.empty_like(x)
        d_weight, d_bias = torch.empty(channels), torch.empty(channels)
        # the residual's gradient is g itself but behind a ReLU
        behind_relu = torch.empty_like(x) if ctx.residual and ctx.activation == "relu" else None
        kernels_for(x.dtype).normalise_back(
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
    """3×3 convolution with a border of zeros, ReLU, 2×2 max pooling, of images without gradient.

    `training`: a gradient of the weights will be asked for. Weights are not rounded to the images'
    precision.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, training: bool) -> Tensor:
        count, channels, height, width = x.shape
        filters = len(weight)
        y = empty_map(x, filters, height // 2, width // 2)
        weight = weight.contiguous()
        place = torch.empty(y.numel(), dtype=torch.uint8) if training else None
        kernels_for(x.dtype).first_block(
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
    def backward(ctx: Any, *grads: Any) -> Any:
        (g,) = grads
        x, weight, place = ctx.saved_tensors
        count, channels, height, width = x.shape
        g, filters = dense(g), len(weight)
        d_weight, d_bias = torch.empty_like(weight), torch.empty(filters)
        kernels_for(x.dtype).first_block_back(
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
        kernels_for(x.dtype).flatten(
            x.data_ptr(), y.data_ptr(), count, height * width, channels, torch.get_num_threads()
        )
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        (g,) = grads
        count, channels, height, width = ctx.shape
        g = g.contiguous()
        dx = torch.empty(ctx.shape, dtype=g.dtype, memory_format=CHANNELS_LAST)
        kernels_for(g.dtype).flatten(
            g.data_ptr(), dx.data_ptr(), count, channels, height * width, torch.get_num_threads()
        )
        return dx


def batch_norm(norm: nn.BatchNorm2d, x: Tensor, residual: Tensor | None, activation: str) -> Tensor:
    """Normalisation in the module's mode, the residual added, then the activation.

    Running statistics are updated as the module does. Nothing else may need the map: in evaluation
    mode, which has no gradients, it is overwritten.
    """
    mean, var = norm.running_mean, norm.running_var
    assert mean is not None and var is not None
    assert norm.num_batches_tracked is not None and norm.momentum is not None
    if norm.training:
        found = Normalise.apply(x, norm.weight, norm.bias, residual, norm.eps, activation)
        y, batch_mean, batch_var = cast("tuple[Tensor, Tensor, Tensor]", found)
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
    """Each channel scaled and shifted, the residual added, then the activation; out may be x."""
    channels = x.shape[1]
    extra = None if residual is None else residual.data_ptr()
    kernels_for(x.dtype).scale_shift(
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
