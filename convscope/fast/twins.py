"""Faster twins of a network's modules: they share parameters, buffers and state-dict keys.

A twin is a shallow copy of another class: its `__dict__` holds the same parameters, buffers, hooks
and settings as the plain module's. It has a list of children of its own, for their twins. Training
a twin trains the plain module.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convscope.fast import strided_means
from convscope.fast.convolutions import fastest_convolution
from convscope.fast.operations import (
    CHANNELS_LAST,
    MOST_INPUT_CHANNELS,
    FirstBlock,
    Flatten,
    activate,
    batch_norm,
)
from convscope.fast.pooling import GlobalPool, Pool, max_pool
from convscope.fast.shared_library import MOST_CHANNELS, are_available
from convscope.models import Block, ConvNetModule, MaxPool, WhitenedBlock, WhitenedNet
from convscope.recipe import Recipe


def accelerate(net: nn.Module, recipe: Recipe) -> nn.Module:
    """The network with twins in the place of the modules that have one, for the recipe's kernels.

    The network itself is left as it is, and is returned where no module has a twin. Modules of
    other classes than ours and `nn.Sequential`, a user's own, stay what they are, with all they
    hold. Twins stay as they are: accelerating twice changes nothing.
    """
    return twin_of(net, recipe.kernels) if recipe.device == "cpu" else net


def twin_of(module: nn.Module, kernels: str) -> nn.Module:
    """The module, or its twin where it or one of its children has one."""
    plain = type(module)
    if plain not in (*CONTAINERS, MaxPool):
        return module
    children = {
        name: None if child is None else twin_of(child, kernels)
        for name, child in module._modules.items()
    }
    twins = LIBRARY if kernels == "library" else COMPILED
    same = all(children[name] is child for name, child in module._modules.items())
    if same and plain not in twins:
        return module
    kind = twins.get(plain, plain)
    twin = cast(nn.Module, object.__new__(kind))
    twin.__dict__.update(module.__dict__)
    twin.__dict__["_modules"] = children
    if isinstance(twin, CompiledBlock | CompiledWhitenedBlock):
        twin.configure(winograd=kernels == "winograd")
    return twin


def suits_kernels(x: Tensor) -> bool:
    """Whether there are kernels for this map: its dtype, its layout, few enough channels."""
    return (
        are_available(x.dtype)
        and x.shape[1] <= MOST_CHANNELS
        and x.is_contiguous(memory_format=CHANNELS_LAST)
    )


def has_windows(x: Tensor) -> bool:
    """Whether a 2×2 window fits."""
    return min(x.shape[-2:]) >= 2


class FastMaxPool(MaxPool):
    """Max pooling by faster operations of the library."""

    def forward(self, x: Tensor) -> Tensor:
        return max_pool(x, self.size)


class CompiledBlock(Block):
    """A block with compiled kernels around its convolutions."""

    def configure(self, winograd: bool) -> None:
        bare = len(self.convs) == 1 and isinstance(self.norms[0], nn.Identity)
        dense = self.conv(0).dilation == (1, 1)  # the kernels know no other
        of_three = self.conv(0).kernel_size == (3, 3) and dense
        self.winograd = winograd
        # the kernels' name of the pooling; empty where they don't have it
        self.halving = halving_of(self.pool)
        # convolution and pooling are all there is
        self.linear = bare and dense and self.act.name == "identity" and self.halving == "mean"
        # of images it is one kernel
        relu_behind = self.act.name == "relu" and self.halving == "max" and not self.pool_first
        self.one_kernel = bare and of_three and relu_behind

    def forward(self, x: Tensor) -> Tensor:
        if not suits_kernels(x):
            return super().forward(x)
        conv, windows = self.conv(0), has_windows(x)
        if self.linear and windows and strided_means.gains(x):
            return strided_means.convolve_and_average(x, conv.weight, conv.bias)
        few = x.shape[1] <= MOST_INPUT_CHANNELS
        if self.one_kernel and windows and few and not x.requires_grad:
            return cast(
                "Tensor", FirstBlock.apply(x, conv.weight, conv.bias, torch.is_grad_enabled())
            )
        return self.compiled_end(*self.convolve(x))

    def conv(self, index: int) -> nn.Conv2d:
        return cast(nn.Conv2d, self.convs[index])

    def convolve(self, x: Tensor) -> tuple[Tensor, bool]:
        """The block up to its last activation; True where that is done too."""
        first: Tensor | None = None
        done = False
        for i, norm in enumerate(self.norms):
            inner = i < len(self.convs) - 1
            residual = None if inner or not self.skip else first
            x = convolved(self.conv(i), x, self.winograd)
            if self.pool_first and i == 0:
                x = self.pooled(x)
            if (
                isinstance(norm, nn.BatchNorm2d)
                and suits_kernels(x)
                and (norm.training or not torch.is_grad_enabled())
            ):
                done = self.act.name == "relu" and (inner or self.pool_first)
                x = batch_norm(norm, x, residual, "relu" if done else "")
            else:
                x, done = norm(x) if residual is None else norm(x) + residual, False
            if inner:
                x = x if done else self.act(x)
                first = x if first is None else first
        return x, done

    def compiled_end(self, x: Tensor, done: bool) -> Tensor:
        """The last activation, where it is not done, and the pooling where it stands at the end."""
        if self.pool_first:
            return x if done else self.act(x)
        known = self.act.name in ("relu", "identity")
        ready = self.halving and has_windows(x) and suits_kernels(x)
        if not (ready and (known or self.swap)):
            return self.end(x)
        if known:
            return cast("Tensor", Pool.apply(x, self.halving, self.act.name == "relu"))
        return self.act(Pool.apply(x, self.halving, False))

    def average(self, x: Tensor) -> Tensor:
        """The block, which has no pooling, and the mean of each of its channels: N×C."""
        x, done = self.convolve(x)
        if not suits_kernels(x):
            return (x if done else self.act(x)).mean((2, 3))
        relu = self.act.name == "relu"
        return cast("Tensor", GlobalPool.apply(x if relu else self.act(x), relu and not done))

    def pooled(self, x: Tensor) -> Tensor:
        """The pooling alone."""
        ready = self.halving and has_windows(x) and suits_kernels(x)
        return cast("Tensor", Pool.apply(x, self.halving, False) if ready else self.pool(x))


class CompiledConvNet(ConvNetModule):
    """A network of compiled blocks; its pooling or flattening before the head is a kernel too."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(self.pixels(x))
        if not suits_kernels(x):
            return self.fc(self.order(self.head(self.blocks(x))))
        last = self.blocks[-1]
        assert isinstance(last, CompiledBlock)
        for i in range(len(self.blocks) - 1):
            x = self.blocks[i](x)
        if self.gap and isinstance(last.pool, nn.Identity):
            return self.fc(last.average(x))
        x = last(x)
        if not suits_kernels(x):
            return self.fc(self.order(self.head(x)))
        x = cast("Tensor", GlobalPool.apply(x, False) if self.gap else Flatten.apply(x))
        return self.fc(self.order(x))


class CompiledWhitenedBlock(WhitenedBlock):
    """A block of the strong recipe's network with compiled kernels around its convolutions."""

    def configure(self, winograd: bool) -> None:
        self.winograd = winograd

    def forward(self, x: Tensor) -> Tensor:
        if not suits_kernels(x):
            return super().forward(x)
        x = convolved(self.conv1, x, self.winograd)
        x = cast("Tensor", Pool.apply(x, "max", False))
        x = batch_norm(self.norm1, x, None, "gelu")
        return batch_norm(self.norm2, convolved(self.conv2, x, self.winograd), None, "gelu")


class CompiledWhitenedNet(WhitenedNet):
    """The strong recipe's network, its first activation a kernel too."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(self.padded(x))
        if suits_kernels(x) and not x.requires_grad:
            return self.logits(activate(x, "gelu"))
        return self.logits(F.gelu(x, approximate="tanh"))


def halving_of(pool: nn.Module) -> str:
    """The kernels' name of a pooling of 2×2 windows; empty where they don't have it."""
    if isinstance(pool, MaxPool):
        return "max" if pool.size == 2 else ""
    return "mean" if isinstance(pool, nn.AvgPool2d) and pool.kernel_size == 2 else ""


def convolved(conv: nn.Conv2d, x: Tensor, winograd: bool) -> Tensor:
    return fastest_convolution(conv, x, winograd) if suits_kernels(x) else conv(x)


LIBRARY: dict[type, type] = {MaxPool: FastMaxPool}

COMPILED: dict[type, type] = {
    **LIBRARY,
    Block: CompiledBlock,
    ConvNetModule: CompiledConvNet,
    WhitenedBlock: CompiledWhitenedBlock,
    WhitenedNet: CompiledWhitenedNet,
}

CONTAINERS = (nn.Sequential, Block, ConvNetModule, WhitenedBlock, WhitenedNet)
