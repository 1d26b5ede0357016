"""Tensors as small PNG pictures: images, filters and templates, feature maps, fields.

Enlarged by nearest neighbour, so that a pixel stays a pixel. `side` is what the longer side is
enlarged to, about, in pixels.
"""

from __future__ import annotations

import io

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

SIDE = 96


def png(pixels: NDArray[np.uint8], side: int = SIDE) -> bytes:
    """A PNG of uint8 pixels, H × W or H × W × 3, each enlarged to a square."""
    from PIL import Image

    picture = Image.fromarray(np.ascontiguousarray(pixels))
    factor = max(1, round(side / max(picture.size)))
    size = (picture.width * factor, picture.height * factor)
    file = io.BytesIO()
    picture.resize(size, Image.Resampling.NEAREST).save(file, "PNG", optimize=True)
    return file.getvalue()


def image(pixels: Tensor, side: int = SIDE) -> bytes:
    """A data set's image, uint8 C × H × W with one or three channels (of others the first)."""
    rows = pixels.permute(1, 2, 0).contiguous().numpy()
    return png(rows if rows.shape[2] == 3 else rows[..., 0], side)


def signed(values: Tensor, largest: float | None = None, side: int = SIDE) -> bytes:
    """Weights or differences.

    values: 3 × H × W as colours around grey, which is 0; 1 × H × W or H × W from blue (negative)
        over white to orange.
    largest: the magnitude shown at full strength; the values' own largest unless given.
    """
    values = values.detach().double().cpu()
    scale = (values / (largest or max(float(values.abs().max()), 1e-300))).clamp(-1, 1)
    if scale.ndim == 3 and scale.shape[0] == 3:
        return png((127.5 + 127.5 * scale.permute(1, 2, 0)).round().to(torch.uint8).numpy(), side)
    plane = (scale if scale.ndim == 2 else scale[0])[..., None]
    blue, orange = torch.tensor([0.0, 114.0, 178.0]), torch.tensor([213.0, 94.0, 0.0])
    colour = 255 + plane.clamp(min=0) * (orange - 255) + (-plane).clamp(min=0) * (blue - 255)
    return png(colour.round().to(torch.uint8).numpy(), side)


def map_of(values: Tensor, side: int = SIDE) -> bytes:
    """A feature map H × W from black (its smallest value) to white (its largest)."""
    values = values.detach().double().cpu()
    low, high = float(values.min()), float(values.max())
    grey = (255 * (values - low) / max(high - low, 1e-300)).round()
    return png(grey.to(torch.uint8).numpy(), side)


def field(
    pixels: Tensor, strength: Tensor, side: int = SIDE, box: tuple[int, ...] | None = None
) -> bytes:
    """A receptive field over an image.

    pixels: uint8 C × H × W, dark grey where `strength` (H × W, 0 to 1) is 0, orange where it is 1.
    box: first and last row, first and last column of a frame in light blue, cut at the border.

    The square root of the strength is shown, so that weak parts are visible.
    """
    grey = pixels.double().mean(0)[..., None] * 0.6
    weight = strength.double().clamp(0, 1).sqrt()[..., None]
    colour = grey * (1 - 0.75 * weight) + torch.tensor([255.0, 150.0, 30.0]) * 0.75 * weight
    shown = colour.clamp(0, 255).round().to(torch.uint8)
    if box is None:
        return png(shown.numpy(), side)
    factor = max(1, round(side / max(shown.shape[:2])))
    large = shown.repeat_interleave(factor, 0).repeat_interleave(factor, 1)
    rows, columns = large.shape[:2]
    top, bottom = max(0, box[0] * factor), min(rows, (box[1] + 1) * factor)
    left, right = max(0, box[2] * factor), min(columns, (box[3] + 1) * factor)
    inner = large[top + 2 : bottom - 2, left + 2 : right - 2].clone()
    large[top:bottom, left:right] = torch.tensor([120, 205, 255], dtype=torch.uint8)
    large[top + 2 : bottom - 2, left + 2 : right - 2] = inner
    return png(large.numpy(), max(rows, columns))
