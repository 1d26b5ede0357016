"""Pooling: 2×2 windows and whole maps as kernels, and max pooling by faster library operations."""

from __future__ import annotations

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from convscope.fast.operations import CHANNELS_LAST, dense, empty_map
from convscope.fast.shared_library import kernels_for

FEW_CHANNELS = 4  # the library's kernel vectorises over channels: with so few it is slow


class Pool(torch.autograd.Function):
    """2×2 pooling by maximum or mean, with ReLU or without.

    With it max pooling is relu(max(x)), the same as max(relu(x)), and mean pooling mean(relu(x)). A
    last odd row or column belongs to no window.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, kind: str, relu: bool) -> Tensor:
        count, channels, height, width = x.shape
        y = empty_map(x, channels, height // 2, width // 2)
        function = getattr(kernels_for(x.dtype), f"{kind}_pool")
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
    def backward(ctx: Any, *grads: Any) -> Any:
        (g,) = grads
        x, y = ctx.saved_tensors
        count, channels, height, width = x.shape
        g, dx = dense(g), torch.empty_like(x)
        winners = (y.data_ptr(),) if ctx.kind == "max" else ()
        function = getattr(kernels_for(x.dtype), f"{ctx.kind}_pool_back")
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
        kernels_for(x.dtype).global_pool(
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
    def backward(ctx: Any, *grads: Any) -> Any:
        (g,) = grads
        (x,) = ctx.saved_tensors
        count, channels, height, width = x.shape
        g, dx = g.contiguous(), torch.empty_like(x)
        kernels_for(x.dtype).global_pool_back(
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


class FewChannelsMaxPool(torch.autograd.Function):
    """2×2 max pooling of a channels_last batch with few channels, by the library's operations.

    Rows are compared first (runs of W·C values), then neighbours in a row. In a tie the gradient
    goes to one of the equal pixels, as in the library, but not always to the same one.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        count, channels, height, width = x.shape
        rows = x.permute(0, 2, 3, 1).contiguous().view(count, height // 2, 2, width * channels)
        taller = torch.maximum(rows[:, :, 0], rows[:, :, 1])
        pairs = taller.view(count, height // 2, width // 2, 2, channels)
        ctx.save_for_backward(rows, pairs)
        return torch.maximum(pairs[..., 0, :], pairs[..., 1, :]).permute(0, 3, 1, 2)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        (grad,) = grads
        rows, pairs = ctx.saved_tensors
        count, half, _, run = rows.shape
        width, channels = 2 * pairs.shape[2], pairs.shape[4]
        grad = grad.permute(0, 2, 3, 1)
        grad_pairs = torch.empty_like(pairs)
        # threshold_backward passes a gradient where its second argument is positive, and is
        # vectorised where torch.where is not
        right = torch.ops.aten.threshold_backward(grad, pairs[..., 1, :] - pairs[..., 0, :], 0)
        grad_pairs[..., 1, :] = right
        torch.sub(grad, right, out=grad_pairs[..., 0, :])
        taller = grad_pairs.view(count, half, run)
        grad_rows = torch.empty_like(rows)
        below = torch.ops.aten.threshold_backward(taller, rows[:, :, 1] - rows[:, :, 0], 0)
        grad_rows[:, :, 1] = below
        torch.sub(taller, below, out=grad_rows[:, :, 0])
        return grad_rows.view(count, 2 * half, width, channels).permute(0, 3, 1, 2)


def max_pool(x: Tensor, size: int) -> Tensor:
    """Max pooling of windows of size×size pixels, equal to torch's, on the CPU.

    The library's kernel keeps an index of every maximum. Where no gradient is asked for, the
    maximum of the four strided slices of a 2×2 window gives the same values at half the cost
    (measured in bfloat16, channels_last).
    """
    if size != 2 or x.shape[-1] % 2 or x.shape[-2] % 2:
        return F.max_pool2d(x, size)
    if not (torch.is_grad_enabled() and x.requires_grad):
        rows = torch.maximum(x[..., ::2, :], x[..., 1::2, :])
        return torch.maximum(rows[..., ::2], rows[..., 1::2])
    if x.shape[1] <= FEW_CHANNELS and x.is_contiguous(memory_format=CHANNELS_LAST):
        return cast("Tensor", FewChannelsMaxPool.apply(x))
    return F.max_pool2d(x, size)
