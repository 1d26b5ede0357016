"""Activations, poolings and normalisations beside torch's own.

Shapes: N images, C channels, H×W pixels.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "gelu": F.gelu,
    "silu": F.silu,
    "tanh": torch.tanh,
    "leaky_relu": F.leaky_relu,
    "identity": lambda x: x,
}

MONOTONE = {"relu", "tanh", "leaky_relu", "identity"}  # these commute with max pooling

MOST_GROUPS, LEAST_IN_GROUP = 8, 2  # of group normalisation; channels


class Act(nn.Module):
    """An activation by its name in ACTIVATIONS."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        self.function = ACTIVATIONS[name]

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)

    def extra_repr(self) -> str:
        return self.name


class MaxPool(nn.Module):
    """Max pooling of windows of size×size pixels that do not overlap."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        return F.max_pool2d(x, self.size)

    def extra_repr(self) -> str:
        return str(self.size)


class PickOne(nn.Module):
    """Strided pooling: keeps the first pixel of each window of size×size pixels.

    It is linear, and equivariant only to shifts by multiples of the size.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2] // self.size * self.size, x.shape[-1] // self.size * self.size
        return x[..., : height : self.size, : width : self.size]

    def extra_repr(self) -> str:
        return str(self.size)


POOLS: dict[str, Callable[[int], nn.Module]] = {
    "max": MaxPool,
    "avg": nn.AvgPool2d,
    "stride": PickOne,
}


class ChannelAffine(nn.Module):
    """A learnt scale and shift per channel: batch normalisation without its statistics.

    It is affine and has as many parameters as batch normalisation.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight[:, None, None] + self.bias[:, None, None]


def normalisation(name: str, channels: int) -> nn.Module:
    """The normalisation of a ConvNet recipe; the identity for "none".

    Groups (Wu & He 2018, arXiv 1803.08494) have at least two channels where there are two, and are
    eight at most.
    """
    if name == "batch":
        return nn.BatchNorm2d(channels)
    if name == "affine":
        return ChannelAffine(channels)
    if name == "group":
        possible = range(1, MOST_GROUPS + 1)
        fitting = (g for g in possible if channels % g == 0 and channels // g >= LEAST_IN_GROUP)
        return nn.GroupNorm(max(fitting, default=1), channels)
    return nn.Identity()
