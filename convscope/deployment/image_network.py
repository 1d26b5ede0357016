"""A trained network that takes images as they are: what normalises them is inside."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from convscope.data import Dataset
from convscope.deployment.run_card import one_run
from convscope.errors import UserError
from convscope.training import ImageFormat, Run, format_of
from convscope.training import network as inner_network

SLACK = 1e-3  # of float images: filters that resize overshoot a little


class ImageNetwork(nn.Module):
    """A run's network, for images as they are.

    forward: N×C×H×W, uint8 or floating point from 0 to 1, to logits N×K. Raises UserError for other
    types, shapes and values.

    network: the network inside, which takes normalised images; its parameters are the run's.
    mean, scale: C×1×1; (pixel − mean) · scale is what it takes, of pixels from 0 to 255.
    classes: names of the K classes.
    in_shape: channels, height and width of an image.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, network: nn.Module, images: ImageFormat) -> None:
        super().__init__()
        self.network = network
        self.classes, self.in_shape = images.classes, images.in_shape
        mean, scale = images.columns()
        self.register_buffer("mean", mean)
        self.register_buffer("scale", scale)

    def __getattr__(self, name: str) -> Any:
        """What the network inside has, as its blocks, where this one has no such attribute."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name == "network":  # it is not there yet, or is gone
                raise
            return getattr(self.network, name)

    def forward(self, images: Tensor) -> Tensor:
        check_shape(images.shape, self.in_shape)
        return self.network(self.normalised(images))

    def normalised(self, images: Tensor) -> Tensor:
        """What the network inside takes."""
        if images.dtype != torch.uint8:
            images = pixels_of(images)
        return (images.to(self.mean.dtype) - self.mean) * self.scale


def check_shape(found: tuple[int, ...], in_shape: tuple[int, int, int]) -> None:
    """UserError where images are not N×C×H×W of this shape."""
    if len(found) != 4 or tuple(found[1:]) != in_shape:
        expected = "×".join(map(str, ("N", *in_shape)))
        raise UserError(
            f"images of shape {'×'.join(map(str, found)) or '()'}: must be {expected}, "
            "channels before height and width"
        )


def pixels_of(images: Tensor) -> Tensor:
    """Float images from 0 to 1 as pixels from 0 to 255. Raises UserError for others."""
    if not images.is_floating_point():
        raise UserError(
            f"images of {str(images.dtype).removeprefix('torch.')}: must be uint8 from 0 to 255, "
            "or floating point from 0 to 1"
        )
    if images.numel():
        low, high = (float(value) for value in images.aminmax())
        if not (low >= -SLACK and high <= 1 + SLACK):
            raise UserError(
                f"float images with values from {low:g} to {high:g}: must be from 0 to 1; "
                "divide by what white is, or give uint8"
            )
    return images * 255


def network(
    run: Run | Path | str,
    which: Literal["best", "last"] = "best",
    *,
    data: Dataset | None = None,
) -> ImageNetwork:
    """The trained network of a run, float32, on the CPU, in eval mode; it needs no data.

    It takes images as they are: N×C×H×W, uint8 or floating point from 0 to 1.

    run: a finished run, its folder, or a study's folder, which stands for its winner.
    which: weights of the best epoch or of the last one.
    data: what run.recipe.data names; only asked of runs of earlier versions.

    Raises UserError where the weights are missing or altered, where they do not fit what a
    user's factory gives today, and where the data of a run of an earlier version are gone.
    """
    found = one_run(run)
    return ImageNetwork(inner_network(found, which, data=data), format_of(found, data)).eval()
