"""What a network is: one family, the linear baseline, the user's own."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Literal

from convscope.errors import UserError, one_line
from convscope.recipe.checks import check_range, check_types

MAX_DEPTH = 200

MAX_CHANNELS = 65_536

ADDED = {
    "added": True
}  # metadata of a field that came after the first release of a recipe's form: at its default it is left out of JSON, so that ids stay


@dataclass(frozen=True)
class ConvNet:
    """The one family of networks: `depth` blocks of `block_depth` convolutions, each block closed by a pooling, then a head.

    Block d has round(width · growth^d) filters in each of its convolutions. Every convolution is followed by
    normalisation and activation; with `skip`, a block of two or more convolutions adds the output of its first
    activation to the input of its last one. The head is flatten or global average pooling ("gap"), fully
    connected layers of the `hidden` sizes with the activation between them, and the classifier. `norm` "affine" is batch normalisation's
    scale and bias without its statistics. `order` is that of the flattened vector ("per-sample": another random one for every image), `pixels` that
    of the input's pixels; random ones are drawn once, the same for all images. `stem` "whiten" puts a fixed 2×2 convolution before
    the blocks that decorrelates patches of the training images (`layers.Whiten`). `pool_at` "first" pools behind the first convolution of a block
    instead of at its end, so that the others work on the smaller map.
    """

    width: int = 32
    depth: int = 3
    block_depth: int = 1
    growth: float = 2.0
    kernel: int = 3
    activation: Literal["relu", "gelu", "silu", "tanh", "leaky_relu", "identity"] = "relu"
    pool: Literal["max", "avg", "stride", "none"] = "max"
    pool_sizes: tuple[int, ...] = ()  # one a block; empty: 2 everywhere (1 where pool is "none")
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

    def __post_init__(self) -> None:
        check_types(self)
        check_range(self, "width", 1, MAX_CHANNELS)
        check_range(self, "depth", 1, MAX_DEPTH)
        check_range(self, "block_depth", 1, MAX_DEPTH)
        check_range(self, "growth", 0.01, 16.0)
        check_range(self, "kernel", 1, 255)
        if self.kernel % 2 == 0:
            raise UserError(
                f"kernel = {self.kernel}: an odd size keeps the feature map's size (1, 3, 5, 7 …)"
            )
        if self.pool_sizes and len(self.pool_sizes) != self.depth:
            raise UserError(
                f"pool_sizes = {list(self.pool_sizes)}: give one size a block, {self.depth} in all, or none"
            )
        if any(not 1 <= size <= 255 for size in self.pool_sizes):
            raise UserError(f"pool_sizes = {list(self.pool_sizes)}: each from 1 to 255")
        if any(not 1 <= size <= MAX_CHANNELS for size in self.hidden):
            raise UserError(f"hidden = {list(self.hidden)}: each from 1 to {MAX_CHANNELS}")
        if self.order != "natural" and self.head != "flatten":
            raise UserError(
                f"order = {self.order}: of a flattened vector; head = {self.head} has none"
            )
        if max(self.channels) > MAX_CHANNELS:
            raise UserError(
                f"width {self.width} grown by {self.growth} over {self.depth} blocks is over {MAX_CHANNELS} channels"
            )

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


@dataclass(frozen=True)
class SoftmaxRegression:
    """Flatten, one fully connected layer: the linear baseline."""


@dataclass(frozen=True)
class Custom:
    """The user's own network: `package.module:factory`, called as factory(in_shape, num_classes, **arguments)."""

    factory: str
    arguments: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_types(self)
        try:
            json.dumps(self.arguments, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise UserError(
                f"arguments = {one_line(self.arguments)}: JSON values only ({one_line(error)})"
            ) from None
        module, colon, name = self.factory.partition(":")
        if (
            not colon
            or not name.isidentifier()
            or not all(part.isidentifier() for part in module.split("."))
        ):
            raise UserError(f"model {one_line(self.factory)!r}: write package.module:factory")

    def __hash__(self) -> int:
        return hash((self.factory, json.dumps(self.arguments, sort_keys=True)))


Model = ConvNet | SoftmaxRegression | Custom

MODELS: dict[str, type] = {"convnet": ConvNet, "softmax": SoftmaxRegression, "custom": Custom}
