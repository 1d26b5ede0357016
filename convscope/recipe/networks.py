"""What a network is: one family, the linear baseline, the user's own."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Literal

from convscope.errors import UserError, one_line
from convscope.recipe.checks import check_range, check_types

MAX_DEPTH = 200

MAX_CHANNELS = 65_536

# metadata of a field that came after the first release of a recipe's form: at its default it is
# left out of JSON, so that ids stay
ADDED = {"added": True}


@dataclass(frozen=True)
class ConvNet:
    """The one family of networks: a stem, `depth` blocks, a head.

    A block has `block_depth` convolutions, each followed by normalisation and activation, and one
    pooling. The head is flatten or global average pooling, fully connected layers with the
    activation between them, and the classifier. Raises UserError for a value of another type, out
    of range or that does not go with another one.

    width: filters of each convolution in the first block.
    depth: number of blocks.
    block_depth: convolutions of each block.
    growth: block d, counted from 0, has round(width · growth^d) filters in each convolution.
    kernel: side of the kernels in pixels, odd.
    activation: the nonlinear function after each convolution and hidden layer.
    pool: how a block halves its feature map: max or average pooling, a stride, or not at all.
    pool_sizes: pooling size of each block; empty is 2 everywhere, 1 where pool is none.
    norm: normalisation after each convolution; affine is batch normalisation's scale and bias
        without its statistics.
    skip: in blocks of two or more convolutions, add the output of the first activation to the
        input of the last one.
    head: flatten, or gap: global average pooling.
    hidden: sizes of the fully connected layers before the classifier.
    order: order of the flattened vector; random is drawn once, the same for all images,
        per-sample anew for each image.
    pixels: order of the input's pixels; random is drawn once, the same for all images.
    stem: whiten puts a fixed 2×2 convolution before the blocks that decorrelates patches of
        the training images.
    pool_at: pool at the end of a block, or behind its first convolution, so that the others
        work on the smaller map.
    dilations: distance in pixels between neighbouring taps of each block's kernels; empty is
        1 everywhere.
    """

    width: int = 32
    depth: int = 3
    block_depth: int = 1
    growth: float = 2.0
    kernel: int = 3
    activation: Literal["relu", "gelu", "silu", "tanh", "leaky_relu", "identity"] = "relu"
    pool: Literal["max", "avg", "stride", "none"] = "max"
    pool_sizes: tuple[int, ...] = ()
    norm: Literal["none", "batch", "group", "affine"] = "none"
    skip: bool = False
    head: Literal["flatten", "gap"] = "flatten"
    hidden: tuple[int, ...] = ()
    order: Literal["natural", "reversed", "random", "channel-last", "per-sample"] = field(
        default="natural", metadata=ADDED
    )
    pixels: Literal["natural", "random"] = field(default="natural", metadata=ADDED)
    stem: Literal["none", "whiten"] = field(default="none", metadata=ADDED)
    pool_at: Literal["end", "first"] = field(default="end", metadata=ADDED)
    dilations: tuple[int, ...] = field(default=(), metadata=ADDED)

    def __post_init__(self) -> None:
        check_types(self)
        check_range(self, "width", 1, MAX_CHANNELS)
        check_range(self, "depth", 1, MAX_DEPTH)
        check_range(self, "block_depth", 1, MAX_DEPTH)
        check_range(self, "growth", 0.01, 16.0)
        check_range(self, "kernel", 1, 255)
        if self.kernel % 2 == 0:
            raise UserError(
                f"kernel = {self.kernel}: must be odd (1, 3, 5, 7 …), which keeps the map's size"
            )
        self._check_blocks("pool_sizes", "size")
        self._check_blocks("dilations", "dilation")
        if all(dilation == 1 for dilation in self.dilations):  # one spelling, so that ids agree
            object.__setattr__(self, "dilations", ())
        if any(not 1 <= size <= MAX_CHANNELS for size in self.hidden):
            raise UserError(f"hidden = {list(self.hidden)}: each must be from 1 to {MAX_CHANNELS}")
        if self.order != "natural" and self.head != "flatten":
            raise UserError(
                f"order = {self.order}: needs head = flatten; head = {self.head} has no order"
            )
        if max(self.channels) > MAX_CHANNELS:
            grown = f"width {self.width} grown by {self.growth} over {self.depth} blocks"
            raise UserError(f"{grown} is {max(self.channels):,} channels, over {MAX_CHANNELS}")

    def _check_blocks(self, name: str, noun: str) -> None:
        """The field has one value from 1 to 255 for each block, or none; else UserError."""
        values: tuple[int, ...] = getattr(self, name)
        given = f"{name} = {list(values)}"
        if values and len(values) != self.depth:
            raise UserError(
                f"{given}: must have one {noun} per block, {self.depth} in all, or none"
            )
        if any(not 1 <= value <= 255 for value in values):
            raise UserError(f"{given}: each must be from 1 to 255")

    @property
    def channels(self) -> tuple[int, ...]:
        """Filters of each convolution, block by block."""
        return tuple(
            max(1, round(self.width * min(self.growth**d, 1e9))) for d in range(self.depth)
        )

    @property
    def pools(self) -> tuple[int, ...]:
        """Pooling size of each block; 1 is no pooling."""
        if self.pool == "none":
            return (1,) * self.depth
        return self.pool_sizes or (2,) * self.depth

    @property
    def block_dilations(self) -> tuple[int, ...]:
        """Dilation of each block's convolutions."""
        return self.dilations or (1,) * self.depth


@dataclass(frozen=True)
class SoftmaxRegression:
    """Flatten, one fully connected layer: the linear baseline."""


@dataclass(frozen=True)
class Custom:
    """The user's own network: factory(in_shape, num_classes, **arguments) -> nn.Module.

    Raises UserError for another form of the factory and for arguments that JSON cannot hold.

    factory: as package.module:factory.
    arguments: keyword arguments, JSON values.
    sources: the factory's file, those of its own that it imports and the files of weights and
        settings that these name, each with the first digits of its SHA-256; filled in when a run
        begins, so that changed code is another network.
    """

    factory: str
    arguments: dict[str, Any] = field(default_factory=dict)
    sources: tuple[str, ...] = field(default=(), metadata=ADDED)

    def __post_init__(self) -> None:
        check_types(self)
        try:
            json.dumps(self.arguments, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise UserError(
                f"arguments = {one_line(self.arguments)}: must be JSON values ({one_line(error)})"
            ) from None
        module, _, name = self.factory.partition(":")
        if not all(part.isidentifier() for part in (*module.split("."), name)):
            raise UserError(f"model {one_line(self.factory)!r}: write package.module:factory")
        if any(" " not in source for source in self.sources):
            raise UserError(
                f"sources = {one_line(list(self.sources))}: each is a file and its hash"
            )

    def __hash__(self) -> int:
        return hash((self.factory, json.dumps(self.arguments, sort_keys=True), self.sources))


Model = ConvNet | SoftmaxRegression | Custom

MODELS: dict[str, type] = {"convnet": ConvNet, "softmax": SoftmaxRegression, "custom": Custom}
