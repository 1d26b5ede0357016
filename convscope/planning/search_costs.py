"""What a network of the family costs, by arithmetic: a search asks for hundreds of networks."""

from __future__ import annotations

from dataclasses import dataclass

from convscope.recipe import ConvNet

VALUE_BYTES = 8  # of a value in a feature map: itself and its gradient, in float32


@dataclass(frozen=True)
class NetworkCost:
    """What one image's forward pass costs.

    flops: 2 × multiply-adds of convolutions and fully connected layers.
    parameters: the learnable ones.
    memory: about the bytes of the image's feature maps and their gradients in float32.
    """

    flops: int
    parameters: int
    memory: int

    def __add__(self, other: NetworkCost) -> NetworkCost:
        return NetworkCost(
            self.flops + other.flops,
            self.parameters + other.parameters,
            self.memory + other.memory,
        )


def map_cost(values: int, parameters: int = 0) -> NetworkCost:
    """Of a layer without multiplications by weights: normalisation, activation, pooling."""
    return NetworkCost(0, parameters, VALUE_BYTES * values)


def convolution_cost(inputs: int, outputs: int, kernel: int, pixels: int) -> NetworkCost:
    weights = inputs * outputs * kernel**2
    return NetworkCost(2 * weights * pixels, weights + outputs, VALUE_BYTES * outputs * pixels)


def cost_of(model: ConvNet, in_shape: tuple[int, int, int], num_classes: int) -> NetworkCost:
    """What `models.size_of` counts (a test compares the two), without building the network.

    The images must leave every pooling a pixel (`leaves_room`).
    """
    channels, height, width = in_shape
    total = NetworkCost(0, 0, 0)
    if model.stem == "whiten":
        height, width = height - 1, width - 1
        stem = convolution_cost(channels, 8 * channels, 2, height * width)
        # its filters are fixed, its bias is learnt
        total, channels = NetworkCost(stem.flops, 8 * channels, stem.memory), 8 * channels
    for out, pool in zip(model.channels, model.pools, strict=True):
        before, behind = height * width, (height // pool) * (width // pool)
        total += block_cost(model, channels, out, before, behind)
        channels, height, width = out, height // pool, width // pool
    features = channels if model.head == "gap" else channels * height * width
    total += map_cost(features * (2 if model.head == "gap" else 1))
    for size in (*model.hidden, num_classes):
        total += convolution_cost(features, size, 1, 1)
        features = size
    return total + map_cost(sum(model.hidden))


def block_cost(model: ConvNet, inputs: int, outputs: int, before: int, behind: int) -> NetworkCost:
    """Of a block whose pooling takes its maps from `before` pixels to `behind`."""
    early = model.pool_at == "first"
    scales = 2 * outputs if model.norm != "none" else 0
    total = NetworkCost(0, 0, 0)
    for i in range(model.block_depth):
        pixels = behind if early and i > 0 else before
        total += convolution_cost(inputs if i == 0 else outputs, outputs, model.kernel, pixels)
        pixels = behind if early else before
        total += map_cost((1 + bool(scales)) * outputs * pixels, scales)
    return total + map_cost(outputs * behind if behind < before else 0)
