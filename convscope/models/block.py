"""A block of the network family: convolutions at one resolution, closed by a pooling."""

from __future__ import annotations

import itertools

from torch import Tensor, nn

from convscope.models.layers import MONOTONE, POOLS, Act, normalisation
from convscope.recipe import ConvNet


class Block(nn.Module):
    """`block_depth` convolutions, each with normalisation and activation, closed by a pooling.

    N×C×H×W to N×F×H/pool×W/pool. A residual connection, where the recipe asks for one, leads from
    behind the first activation to before the last. The pooling stands at the end, or behind the
    first convolution. At the end, behind max pooling, a monotone activation is applied after it:
    the same function, a quarter of the work. A dilated kernel keeps the map's size, too.
    """

    def __init__(
        self, spec: ConvNet, in_channels: int, channels: int, pool: int, dilation: int = 1
    ) -> None:
        super().__init__()
        border = spec.kernel // 2 * dilation
        widths = [in_channels] + [channels] * spec.block_depth
        self.convs = nn.ModuleList(
            nn.Conv2d(a, b, spec.kernel, padding=border, dilation=dilation)
            for a, b in itertools.pairwise(widths)
        )
        self.norms = nn.ModuleList(normalisation(spec.norm, channels) for _ in self.convs)
        for conv in self.convs:
            # the optimiser asks for it: only the direction of such filters matters
            conv.scale_free = spec.norm == "batch"  # pyright: ignore[reportArgumentType]
        self.act = Act(spec.activation)
        self.pool = POOLS[spec.pool](pool) if pool > 1 else nn.Identity()
        self.skip = spec.skip and spec.block_depth > 1
        self.pool_first = spec.pool_at == "first"
        self.swap = not self.pool_first and spec.pool == "max" and spec.activation in MONOTONE

    def forward(self, x: Tensor) -> Tensor:
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
        """The last activation, and the pooling where it stands at the end."""
        if self.pool_first:
            return self.act(x)
        return self.act(self.pool(x)) if self.swap else self.pool(self.act(x))
