"""The layers of which networks are made, beside torch's own: activations, poolings, normalisations, fixed permutations.

Shapes: N images, C channels, H×W pixels, F features.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

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


# Flattened order of a C×H×W map: position j of the vector takes the natural position order[j] (natural: channel after channel, row after row).
ORDERS: dict[str, Callable[[Sequence[int], torch.Generator], Tensor]] = {
    "natural": lambda shape, _: torch.arange(torch.Size(shape).numel()),
    "reversed": lambda shape, _: torch.arange(torch.Size(shape).numel()).flip(0),
    "random": lambda shape, generator: torch.randperm(
        torch.Size(shape).numel(), generator=generator
    ),
    "channel-last": lambda shape, _: (
        torch.arange(torch.Size(shape).numel()).reshape(*shape).movedim(0, -1).flatten()
    ),
}


class Act(nn.Module):
    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        self.function = ACTIVATIONS[name]

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)

    def extra_repr(self) -> str:
        return self.name


class FewChannelsMaxPool(torch.autograd.Function):
    """2×2 max pooling of a channels_last batch with few channels, where the library's kernel, which vectorises over channels, is slow.

    Rows are compared first (runs of W·C values), then neighbours in a row. In a tie the gradient goes to one of the equal pixels, as
    in the library, but not always to the same one.
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
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        rows, pairs = ctx.saved_tensors
        count, half, _, run = rows.shape
        width, channels = 2 * pairs.shape[2], pairs.shape[4]
        grad = grad.permute(0, 2, 3, 1)
        grad_pairs = torch.empty_like(pairs)
        # threshold_backward passes a gradient where its second argument is positive, and is vectorised where torch.where is not
        right = torch.ops.aten.threshold_backward(grad, pairs[..., 1, :] - pairs[..., 0, :], 0)
        grad_pairs[..., 1, :] = right
        torch.sub(grad, right, out=grad_pairs[..., 0, :])
        taller = grad_pairs.view(count, half, run)
        grad_rows = torch.empty_like(rows)
        below = torch.ops.aten.threshold_backward(taller, rows[:, :, 1] - rows[:, :, 0], 0)
        grad_rows[:, :, 1] = below
        torch.sub(taller, below, out=grad_rows[:, :, 0])
        return grad_rows.view(count, 2 * half, width, channels).permute(0, 3, 1, 2)


class MaxPool(nn.Module):
    """Max pooling of non-overlapping size×size windows, equal to torch's.

    The library's kernel keeps an index of every maximum and is slow for few channels. Where no gradient is asked for, the maximum of the
    four strided slices of a 2×2 window gives the same values at half the cost (measured on CPUs, bf16, channels_last).
    """

    FEW_CHANNELS = 4

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        plain = (
            self.size == 2
            and x.shape[-1] % 2 == 0
            and x.shape[-2] % 2 == 0
            and x.device.type == "cpu"
        )
        if not plain:
            return F.max_pool2d(x, self.size)
        if not (torch.is_grad_enabled() and x.requires_grad):
            rows = torch.maximum(x[..., ::2, :], x[..., 1::2, :])
            return torch.maximum(rows[..., ::2], rows[..., 1::2])
        if x.shape[1] <= self.FEW_CHANNELS and x.is_contiguous(memory_format=torch.channels_last):
            return FewChannelsMaxPool.apply(x)
        return F.max_pool2d(x, self.size)

    def extra_repr(self) -> str:
        return str(self.size)


class PickOne(nn.Module):
    """Strided pooling that keeps the first pixel of each size×size window: linear, and equivariant only to shifts by multiples of size."""

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

PART = 100  # images whose patches stay in the cache


class Whiten(nn.Conv2d):
    """A fixed 2×2 convolution after which the patches of the training images are uncorrelated and of equal variance; its bias is learnt.

    The filters are the patches' principal axes divided by their standard deviations, each also negated, so that a ReLU behind loses nothing
    (Page 2019, "How to train your ResNet 8"; Jordan 2024, "94 % on CIFAR-10 in 3.29 seconds"). N×C×H×W to N×8C×(H−1)×(W−1).
    """

    EPS = 5e-4  # added to the variances

    def __init__(self, channels: int) -> None:
        super().__init__(channels, 8 * channels, 2)
        self.weight.requires_grad_(False)

    @torch.no_grad()
    def prepare(self, images: Tensor) -> None:
        """Take the filters from normalised training images N×C×H×W."""
        size, count = self.weight[0].numel(), 0
        total, products = (
            torch.zeros(size, dtype=torch.float64),
            torch.zeros(size, size, dtype=torch.float64),
        )
        for part in images.split(PART):
            patches = F.unfold(part.float(), 2).transpose(1, 2).flatten(0, 1).double()  # P×4C
            total += patches.sum(0).cpu()
            products += (patches.T @ patches).cpu()
            count += len(patches)
        mean = total / count
        variances, axes = torch.linalg.eigh(products / count - mean.outer(mean))
        filters = (
            (axes / (variances + self.EPS).sqrt()).T.flip(0).reshape(-1, *self.weight.shape[1:])
        )
        self.weight.copy_(torch.cat([filters, -filters]))


class ChannelAffine(nn.Module):
    """Batch normalisation without its statistics: a learnt scale and bias a channel. Affine, with as many parameters."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight, self.bias = (
            nn.Parameter(torch.ones(channels)),
            nn.Parameter(torch.zeros(channels)),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight[:, None, None] + self.bias[:, None, None]


class Permute(nn.Module):
    """A fixed permutation of the features of N×F: position j takes feature order[j]."""

    order: Tensor

    def __init__(self, order: Tensor) -> None:
        super().__init__()
        self.register_buffer("order", order, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return x.index_select(1, self.order)


class PermutePixels(nn.Module):
    """The same random permutation of the H·W pixel positions of every image, all channels of a pixel together."""

    order: Tensor

    def __init__(self, height: int, width: int) -> None:
        super().__init__()
        self.register_buffer("order", fixed_permutation(height * width), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        rows = x.permute(0, 2, 3, 1).flatten(1, 2).index_select(1, self.order)  # N×HW×C
        return rows.view(len(x), x.shape[2], x.shape[3], x.shape[1]).permute(0, 3, 1, 2)


class ShuffleEach(nn.Module):
    """Another random permutation of the features for every image: only their multiset is left. In evaluation mode it depends on the place in the batch alone."""

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            keys = torch.rand(x.shape, device=x.device)
        else:
            keys = torch.rand(x.shape, generator=torch.Generator().manual_seed(0)).to(x.device)
        return x.gather(1, keys.argsort(1))


def fixed_permutation(count: int) -> Tensor:
    return torch.randperm(count, generator=torch.Generator().manual_seed(0))


def ordering(name: str, shape: Sequence[int]) -> nn.Module:
    """What brings the flattened vector of a C×H×W map into an order of a ConvNet recipe."""
    if name == "natural":
        return nn.Identity()
    if name == "per-sample":
        return ShuffleEach()
    return Permute(ORDERS[name](tuple(shape), torch.Generator().manual_seed(0)))


def normalisation(name: str, channels: int) -> nn.Module:
    if name == "batch":
        return nn.BatchNorm2d(channels)
    if name == "affine":
        return ChannelAffine(channels)
    if (
        name == "group"
    ):  # Wu & He 2018; groups of at least two channels where there are two, 8 groups at the most
        groups = max(
            (g for g in range(1, 9) if channels % g == 0 and channels // g >= 2), default=1
        )
        return nn.GroupNorm(groups, channels)
    return nn.Identity()
