"""Fixed and drawn permutations of pixels and of flattened feature maps.

Shapes: N images, C channels, H×W pixels, F features.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn


def natural(shape: Sequence[int]) -> Tensor:
    """0, 1, … as a map of this shape."""
    return torch.arange(torch.Size(shape).numel()).reshape(*shape)


# Position j of the flattened vector of a C×H×W map takes the natural position order[j]; natural is
# channel after channel, row after row.
ORDERS: dict[str, Callable[[Sequence[int], torch.Generator], Tensor]] = {
    "natural": lambda shape, _: natural(shape).flatten(),
    "reversed": lambda shape, _: natural(shape).flatten().flip(0),
    "random": lambda shape, generator: torch.randperm(
        torch.Size(shape).numel(), generator=generator
    ),
    "channel-last": lambda shape, _: natural(shape).movedim(0, -1).flatten(),
}


class Permute(nn.Module):
    """A fixed permutation of the features of N×F: position j takes feature order[j]."""

    order: Tensor

    def __init__(self, order: Tensor) -> None:
        super().__init__()
        self.register_buffer("order", order, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return x.index_select(1, self.order)


class PermutePixels(nn.Module):
    """One random permutation of the H·W pixels of every image, all channels of a pixel together."""

    order: Tensor

    def __init__(self, height: int, width: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        order = torch.randperm(height * width, generator=generator)
        self.register_buffer("order", order, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        rows = x.permute(0, 2, 3, 1).flatten(1, 2).index_select(1, self.order)  # N×HW×C
        return rows.view(x.shape[0], x.shape[2], x.shape[3], x.shape[1]).permute(0, 3, 1, 2)


class ShuffleEach(nn.Module):
    """Another random permutation of the features for every image: only their multiset is left.

    In evaluation mode it depends on the place in the batch alone.
    """

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            keys = torch.rand(x.shape, device=x.device)
        else:
            keys = torch.rand(x.shape, generator=torch.Generator().manual_seed(0)).to(x.device)
        return x.gather(1, keys.argsort(1))


def ordering(name: str, shape: Sequence[int]) -> nn.Module:
    """The module that brings the flattened vector of a C×H×W map into an order of a recipe."""
    if name == "natural":
        return nn.Identity()
    if name == "per-sample":
        return ShuffleEach()
    return Permute(ORDERS[name](tuple(shape), torch.Generator().manual_seed(0)))
