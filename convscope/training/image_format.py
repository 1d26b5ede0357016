"""What images a run's network takes, and what its answers are called.

It is stored with the run, so that its weights can be used where its data are not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from convscope.data import Dataset, Scale
from convscope.errors import UserError, one_line

LEAST_STD = 1e-3  # of pixels from 0 to 255: a channel of one value stays finite


@dataclass(frozen=True)
class ImageFormat:
    """How images become a network's inputs, and what its classes are called.

    classes: their names, in the order of the logits.
    in_shape: channels, height and width of an image.
    mean: of the training pixels from 0 to 255, one per channel.
    std: their population standard deviation, one per channel.
    resize: what becomes of images of another aspect ratio: crop, squash or pad.
    scales: depth of an image's values -> the least and the greatest, which become 0 and 255.
    """

    classes: tuple[str, ...]
    in_shape: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    resize: Literal["crop", "squash", "pad"] = "crop"
    scales: Mapping[str, tuple[float, float]] = field(default_factory=dict, compare=False)

    @property
    def num_classes(self) -> int:
        return len(self.classes)

    @property
    def ranges(self) -> dict[str, Scale]:
        """The scales, as files are read with them."""
        return {depth: Scale(*ends) for depth, ends in self.scales.items()}

    def columns(self) -> tuple[Tensor, Tensor]:
        """Mean and scale, each C×1×1 in float32: (image − mean) · scale is what the network sees.

        Over the training images that has mean 0 and standard deviation 1.
        """
        mean, std = (torch.tensor(one, dtype=torch.float64) for one in (self.mean, self.std))
        column = (len(self.mean), 1, 1)
        scale = (1 / std.clamp(min=LEAST_STD)).float().reshape(column)
        return mean.float().reshape(column), scale

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, tree: Any) -> ImageFormat:
        """From what `to_json` made, through JSON; UserError for anything else."""
        try:
            channels, height, width = tree["in_shape"]
            found = cls(
                tuple(tree["classes"]),
                (channels, height, width),
                tuple(tree["mean"]),
                tuple(tree["std"]),
                tree["resize"],
                {depth: (low, high) for depth, (low, high) in tree["scales"].items()},
            )
            if not len(found.mean) == len(found.std) == channels:
                raise ValueError(f"{channels} channels")
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UserError(f"no image format: {type(error).__name__}: {one_line(error)}") from None
        return found


def image_format_of(
    data: Dataset, resize: Literal["crop", "squash", "pad"], mean: Tensor, std: Tensor
) -> ImageFormat:
    """The format of a data set's images.

    data: the data set.
    resize: how its files were resized.
    mean: of the pixels that are trained on, from 0 to 255, one per channel.
    std: their standard deviation.
    """
    scales = {depth: (one.low, one.high) for depth, one in data.scales.items()}
    pixels = (tuple(mean.tolist()), tuple(std.tolist()))
    return ImageFormat(data.classes, data.in_shape, *pixels, resize, scales)
