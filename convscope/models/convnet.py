"""The network of a `ConvNet` recipe."""

from __future__ import annotations

from torch import Tensor, nn

from convscope.models.block import Block
from convscope.models.layers import Act
from convscope.models.orders import PermutePixels, ordering
from convscope.models.sides import check_sides
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
        check_sides(spec, in_shape)
        if spec.stem == "whiten":
            self.stem = stem = Whiten(channels)
            channels, height, width = stem.out_channels, height - 1, width - 1
        blocks = []
        per_block = zip(spec.channels, spec.pools, spec.block_dilations, strict=True)
        for out, pool, dilation in per_block:
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
