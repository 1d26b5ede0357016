"""Random changes to a batch of training images on their device. Shapes: N×C×H×W, any dtype.

Every image draws its own change, from a generator of the CPU, so that a seed means the same on
every device.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def flip(images: Tensor, generator: torch.Generator) -> Tensor:
    """Mirror each image left to right with probability one half."""
    return mirror(images, torch.rand(len(images), generator=generator) < 0.5)


def mirror(images: Tensor, chosen: Tensor) -> Tensor:
    """Mirror those images left to right that `chosen` (N booleans) names."""
    return torch.where(chosen.to(images.device)[:, None, None, None], images.flip(-1), images)


def shrink(images: Tensor, height: int, width: int) -> Tensor:
    """Smaller images, filtered so that nothing aliases."""
    small = F.interpolate(images.float(), (height, width), mode="bilinear", antialias=True).to(
        images.dtype
    )
    return (
        small.contiguous(memory_format=torch.channels_last) if is_channels_last(images) else small
    )


def is_channels_last(images: Tensor) -> bool:
    return images.is_contiguous(memory_format=torch.channels_last) and not images.is_contiguous()


def crop(images: Tensor, pixels: int, generator: torch.Generator) -> Tensor:
    """Move each image by up to `pixels` along both axes.

    What enters at the border is the image's reflection, or zeros where the image is too small.
    """
    count, _, height, width = images.shape
    mode = "reflect" if pixels < min(height, width) else "constant"
    padded = F.pad(images, (pixels,) * 4, mode=mode)
    offsets = torch.randint(0, 2 * pixels + 1, (2, count), generator=generator).to(images.device)
    rows = offsets[0][:, None] + torch.arange(height, device=images.device)  # N×H
    columns = offsets[1][:, None] + torch.arange(width, device=images.device)  # N×W
    index = torch.arange(count, device=images.device)[:, None, None]
    moved = padded.permute(0, 2, 3, 1)[index, rows[:, :, None], columns[:, None, :]]  # N×H×W×C
    return moved.permute(0, 3, 1, 2)


def cutout(images: Tensor, side: int, generator: torch.Generator) -> Tensor:
    """Set a side×side square around a random pixel to 0, the mean (DeVries & Taylor 2017)."""
    count, _, height, width = images.shape
    centres = torch.rand(2, count, generator=generator).to(images.device)
    top = (centres[0] * height).floor() - side // 2
    left = (centres[1] * width).floor() - side // 2
    rows = torch.arange(height, device=images.device) - top[:, None]  # N×H
    columns = torch.arange(width, device=images.device) - left[:, None]  # N×W
    in_rows, in_columns = (rows >= 0) & (rows < side), (columns >= 0) & (columns < side)
    return images.masked_fill(in_rows[:, None, :, None] & in_columns[:, None, None, :], 0)
