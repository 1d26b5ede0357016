"""A block of the network family: convolutions at one resolution, each with normalisation and activation, closed by a pooling.

There are two ways through it, one by the library's operations and one by compiled kernels around its convolutions; they differ in rounding alone (tests).
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn

from convscope import fast as fused
from convscope.fast import library as kernels
from convscope.fast import strided_means as averaged
from convscope.models.layers import MONOTONE, POOLS, Act, normalisation
from convscope.recipe import ConvNet


class Block(nn.Module):
    """`block_depth` convolutions at one resolution, closed by activation and pooling.

    After the last convolution a monotone activation is applied behind max pooling: the same function, a quarter of the work.
    """

    def __init__(self, spec: ConvNet, in_channels: int, channels: int, pool: int) -> None:
        super().__init__()
        widths = [in_channels] + [channels] * spec.block_depth
        self.convs = nn.ModuleList(
            nn.Conv2d(a, b, spec.kernel, padding=spec.kernel // 2)
            for a, b in itertools.pairwise(widths)
        )
        self.norms = nn.ModuleList(normalisation(spec.norm, channels) for _ in self.convs)
        for conv in self.convs:
            conv.scale_free = spec.norm == "batch"  # pyright: ignore[reportArgumentType] (muon.py asks for it)
        self.act = Act(spec.activation)
        self.pool = POOLS[spec.pool](pool) if pool > 1 else nn.Identity()
        self.skip = spec.skip and spec.block_depth > 1
        self.pool_first = spec.pool_at == "first"
        self.swap = not self.pool_first and spec.pool == "max" and spec.activation in MONOTONE
        kind = {"max": "max", "avg": "mean"}.get(spec.pool, "")
        self.halving = (
            kind if pool == 2 else ""
        )  # the kernels' name of the pooling, where they have it
        self.linear = (
            spec.block_depth == 1
            and spec.norm == "none"
            and spec.activation == "identity"
            and self.halving == "mean"
        )

    def forward(self, x: Tensor) -> Tensor:
        if kernels.active(x):
            if self.linear and has_windows(x) and averaged.gains(x):
                return averaged.convolve(x, self.convs[0].weight, self.convs[0].bias)  # pyright: ignore[reportArgumentType]
            return (
                self.first_compiled(x)
                if self.is_first(x)
                else self.end_compiled(*self.convolve_compiled(x))
            )
        first: Tensor | None = None
        for i, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            x = conv(x)
            x = norm(self.pool(x) if self.pool_first and i == 0 else x)
            if i < len(self.convs) - 1:
                x = self.act(x)
                first = x if first is None else first
        if self.skip and first is not None:
            x = x + first
        return self.end(x)

    def end(self, x: Tensor) -> Tensor:
        if self.pool_first:
            return self.act(x)
        return self.act(self.pool(x)) if self.swap else self.pool(self.act(x))

    # by compiled kernels

    def is_first(self, x: Tensor) -> bool:
        """Whether the whole block is one kernel: a 3×3 convolution of images, ReLU, 2×2 max pooling."""
        conv, bare = self.convs[0], isinstance(self.norms[0], nn.Identity)
        shape_fits = (
            x.shape[1] <= fused.MOST_INPUT_CHANNELS
            and conv.kernel_size == (3, 3)
            and has_windows(x)
        )
        return (
            len(self.convs) == 1
            and bare
            and not self.pool_first
            and shape_fits
            and self.halving == "max"
            and self.act.name == "relu"
            and not x.requires_grad
        )

    def first_compiled(self, x: Tensor) -> Tensor:
        conv = self.convs[0]
        return fused.FirstBlock.apply(x, conv.weight, conv.bias, torch.is_grad_enabled())  # pyright: ignore[reportReturnType]

    def convolve_compiled(self, x: Tensor) -> tuple[Tensor, bool]:
        """The block up to its last activation and pooling; True where the last activation is done too."""
        first: Tensor | None = None
        done = False
        for i, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            inner = i < len(self.convs) - 1
            residual = None if inner or not self.skip else first
            x = fused.convolve(conv, x)  # pyright: ignore[reportArgumentType] (a list of modules holds its convolutions)
            if self.pool_first and i == 0:
                x = self.halved(x)
            if (
                isinstance(norm, nn.BatchNorm2d)
                and kernels.active(x)
                and (norm.training or not torch.is_grad_enabled())
            ):
                done = self.act.name == "relu" and (inner or self.pool_first)
                x = fused.batch_norm(norm, x, residual, "relu" if done else "")
            else:
                x, done = norm(x) if residual is None else norm(x) + residual, False
            if inner:
                x = x if done else self.act(x)
                first = x if first is None else first
        return x, done

    def end_compiled(self, x: Tensor, done: bool) -> Tensor:
        if self.pool_first:
            return x if done else self.act(x)
        known = self.act.name in ("relu", "identity")
        if not (self.halving and has_windows(x) and kernels.active(x) and (known or self.swap)):
            return self.end(x)
        if known:
            return fused.Pool.apply(x, self.halving, self.act.name == "relu")  # pyright: ignore[reportReturnType]
        return self.act(fused.Pool.apply(x, self.halving, False))

    def average(self, x: Tensor) -> Tensor:
        """The block, which has no pooling, and the mean of each of its channels: N×C."""
        x, done = self.convolve_compiled(x)
        if not kernels.active(x):
            return (x if done else self.act(x)).mean((2, 3))
        relu = self.act.name == "relu"
        return fused.GlobalPool.apply(x if relu else self.act(x), relu and not done)  # pyright: ignore[reportReturnType]

    def halved(self, x: Tensor) -> Tensor:
        """The pooling alone."""
        ready = self.halving and has_windows(x) and kernels.active(x)
        return fused.Pool.apply(x, self.halving, False) if ready else self.pool(x)  # pyright: ignore[reportReturnType]


def has_windows(x: Tensor) -> bool:
    """Whether a 2×2 window fits."""
    return min(x.shape[-2:]) >= 2
