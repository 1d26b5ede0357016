"""The one transparent value of a PNG image that has no alpha channel: its colour key (tRNS).

The key counts in the file's own bits. Pillow compares it with bytes, which is right for 8 bits
alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import PIL.Image

STEPS = {"L;2": 85, "L;4": 17}  # unpacker of fewer bits -> bytes for each step of its values


def wide_key(image: PIL.Image.Image) -> tuple[int, ...] | None:
    """The key of an image with more than 8 bits, a value for each channel; None without one."""
    key = image.info.get("transparency")
    if isinstance(key, int):
        return (key,)
    return tuple(key) if isinstance(key, tuple) and len(key) == 3 else None


def opaque(values: NDArray[Any], key: tuple[int, ...]) -> NDArray[np.bool_]:
    """H×W: whether a pixel is none of the transparent ones.

    values: H×W, or H×W×3.
    key: the transparent value, of one channel or three.
    """
    differs = values.reshape(*values.shape[:2], -1) != np.array(key)
    return differs.any(axis=-1)


def with_alpha(pixels: NDArray[np.uint8], shown: NDArray[np.bool_]) -> PIL.Image.Image:
    """An image of bytes, H×W or H×W×3, that is transparent where it is not shown."""
    from PIL import Image

    return Image.fromarray(np.dstack([pixels, np.where(shown, 255, 0).astype(np.uint8)]))


def count_in_bytes(image: PIL.Image.Image) -> None:
    """The key of an image that is not loaded yet, of 2 or 4 bits, becomes that of its bytes."""
    key = image.info.get("transparency")
    raw = [tile[3] for tile in image.tile]  # pyright: ignore[reportAttributeAccessIssue]
    if isinstance(key, int) and raw and raw[0] in STEPS:
        image.info["transparency"] = key * STEPS[raw[0]]
