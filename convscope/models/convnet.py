"""The network of a `ConvNet` recipe."""

from __future__ import annotations

from torch import Tensor, nn

from convscope.errors import UserError
from convscope.fast import library as kernels
from convscope.fast import operations as fused
from convscope.models.block import Block
from convscope.models.layers import Act, PermutePixels, Whiten, ordering
from convscope.recipe import ConvNet


class ConvNetModule(nn.Module):
    """The network of a `ConvNet` recipe: N×C×H×W -> N×K logits."""

    def __init__(self, spec: ConvNet, in_shape: tuple[int, int, int], num_classes: int) -> None:
        super().__init__()
        channels, height, width = in_shape
        self.pixels = PermutePixels(height, width) if spec.pixels == "random" else nn.Identity()
        self.stem: nn.Module = nn.Identity()
        if spec.stem == "whiten":
            if min(height, width) < 2:
                raise UserError(
                    f"stem = whiten: takes patches of 2×2 pixels; the images have {height}×{width}"
                )
            self.stem = stem = Whiten(channels)
            channels, height, width = stem.out_channels, height - 1, width - 1
        blocks = []
        for d, (out, pool) in enumerate(zip(spec.channels, spec.pools, strict=True), 1):
            if height // pool < 1 or width // pool < 1:
                fits = sum(1 for _ in iter_fitting(spec, in_shape))
                raise UserError(
                    f"depth = {spec.depth}: block {d} would pool a {height}×{width} feature map by {pool}, below 1×1; "
                    f"depth at most {fits} for {in_shape[1]}×{in_shape[2]} images, or pool = none"
                )
            blocks.append(Block(spec, channels, out, pool))
            channels, height, width = out, height // pool, width // pool
        self.blocks = nn.Sequential(*blocks)
        self.gap = spec.head == "gap"
        features = channels if self.gap else channels * height * width
        self.head = (
            nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()) if self.gap else nn.Flatten()
        )
        self.order = ordering(spec.order, (channels, height, width))
        layers: list[nn.Module] = []
        for size in spec.hidden:
            layers += [nn.Linear(features, size), Act(spec.activation)]
            features = size
        self.fc = nn.Sequential(*layers, nn.Linear(features, num_classes))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(self.pixels(x))
        if not kernels.active(x):
            return self.fc(self.order(self.head(self.blocks(x))))
        last = self.blocks[-1]
        assert isinstance(last, Block)
        for i in range(len(self.blocks) - 1):
            x = self.blocks[i](x)
        if self.gap and isinstance(last.pool, nn.Identity):
            return self.fc(last.average(x))
        x = last(x)
        if not kernels.active(x):
            return self.fc(self.order(self.head(x)))
        x = fused.GlobalPool.apply(x, False) if self.gap else fused.Flatten.apply(x)
        return self.fc(self.order(x))


def iter_fitting(spec: ConvNet, in_shape: tuple[int, int, int]):
    height, width = (side - (spec.stem == "whiten") for side in in_shape[1:])
    for pool in spec.pools:
        height, width = height // pool, width // pool
        if height < 1 or width < 1:
            return
        yield height, width
