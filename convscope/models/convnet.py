"""The network of a `ConvNet` recipe."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor, nn

from convscope.errors import UserError
from convscope.models.block import Block
from convscope.models.layers import Act
from convscope.models.orders import PermutePixels, ordering
from convscope.models.whitening import Whiten
from convscope.recipe import ConvNet


class ConvNetModule(nn.Module):
    """The network of a `ConvNet` recipe: N×C×H×W images to N×K logits.

    Raises UserError where the images are too small for the stem or for the poolings.
    """

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
        per_block = zip(spec.channels, spec.pools, spec.block_dilations, strict=True)
        for d, (out, pool, dilation) in enumerate(per_block, 1):
            if height // pool < 1 or width // pool < 1:
                fitting = sum(1 for _ in sides_after_blocks(spec, in_shape))
                raise UserError(
                    f"depth = {spec.depth}: block {d} would pool a {height}×{width} feature map "
                    f"by {pool}, below 1×1; depth at most {fitting} for "
                    f"{in_shape[1]}×{in_shape[2]} images, or pool = none"
                )
            blocks.append(Block(spec, channels, out, pool, dilation))
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
        x = self.blocks(self.stem(self.pixels(x)))
        return self.fc(self.order(self.head(x)))


def sides_after_blocks(spec: ConvNet, in_shape: tuple[int, int, int]) -> Iterator[tuple[int, int]]:
    """Height and width behind each block, as long as a pixel is left."""
    height, width = (side - (spec.stem == "whiten") for side in in_shape[1:])
    for pool in spec.pools:
        height, width = height // pool, width // pool
        if height < 1 or width < 1:
            return
        yield height, width
