"""What a network of the family needs on a device, by arithmetic: a search asks for hundreds.

The same as `device_fit` counts from the operators of the built network; a test compares the two.
"""

from __future__ import annotations

from dataclasses import dataclass

from convscope.deployment.device_graph import WIDE, bytes_of
from convscope.recipe import ConvNet


@dataclass(frozen=True)
class Needs:
    """Bytes of feature maps that are in memory at once, bytes of weights, multiply-adds."""

    peak_bytes: int
    weight_bytes: int
    macs: int


def needs_of(
    model: ConvNet, in_shape: tuple[int, int, int], num_classes: int, bits: int = 8
) -> Needs:
    """What a network of the family needs; its images must leave every pooling a pixel."""
    count = Count(bits)
    channels, height, width = in_shape
    if model.pixels == "random":
        count.gather(channels * height * width, height * width)
    if model.stem == "whiten":
        images = channels * height * width
        height, width = height - 1, width - 1
        count.layer(images, 4 * channels, 8 * channels, height * width)
        channels *= 8
    for out, pool in zip(model.channels, model.pools, strict=True):
        behind = (height // pool) * (width // pool)
        count.block(model, channels, out, height * width, behind)
        channels, height, width = out, height // pool, width // pool
    features = channels * height * width
    if model.head == "gap":
        count.hold(features, channels)
        features = channels
    if model.order != "natural":
        count.gather(features, features)
    for size in (*model.hidden, num_classes):
        count.layer(features, features, size, 1)
        features = size
    return Needs(count.peak, count.weights, count.macs)


class Count:
    """Adds up what layers need, and keeps the highest moment. Sizes are in values."""

    def __init__(self, bits: int) -> None:
        self.bits, self.wide = bits, max(bits, WIDE)
        self.peak = self.weights = self.macs = 0

    def hold(self, *maps: int) -> None:
        """These maps are in memory at once."""
        self.peak = max(self.peak, sum(bytes_of(values, self.bits) for values in maps))

    def layer(self, inputs: int, fan_in: int, outputs: int, pixels: int, held: int = 0) -> None:
        """A convolution, or a fully connected layer of one pixel; held: values that wait."""
        self.hold(inputs, outputs * pixels, held)
        self.weights += bytes_of(fan_in * outputs, self.bits) + bytes_of(outputs, self.wide)
        self.macs += fan_in * outputs * pixels

    def gather(self, values: int, places: int) -> None:
        """A fixed permutation, which is stored."""
        self.hold(values, values)
        self.weights += bytes_of(places, self.wide)

    def block(self, model: ConvNet, inputs: int, outputs: int, before: int, behind: int) -> None:
        """A block whose pooling takes its maps from `before` pixels to `behind`."""
        pooled, early = behind < before, model.pool_at == "first"
        skips = model.skip and model.block_depth > 1
        pixels, channels = before, inputs
        for i in range(model.block_depth):
            held = outputs * pixels if skips and i > 1 else 0
            self.layer(channels * pixels, channels * model.kernel**2, outputs, pixels, held)
            channels = outputs
            moved = early and pooled and i == 0
            if moved:
                self.hold(outputs * before, outputs * behind)
                pixels = behind
            # batch normalisation is folded into a convolution right before it
            if model.norm == "group" or (model.norm != "none" and moved):
                self.weights += bytes_of(2 * outputs, self.wide)
        if skips:
            self.hold(*3 * (outputs * pixels,))
        if pooled and not early:
            self.hold(outputs * before, outputs * behind)
