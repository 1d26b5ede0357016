"""Image files and splits as arrays, for tests that look at pixels."""

from __future__ import annotations

import os
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from convscope import data
from convscope.data import Split
from convscope.errors import UserError


def arrays(*splits: Split) -> tuple[np.ndarray, np.ndarray]:
    """(uint8 images N×H×W×C, labels) of all splits, one after another."""
    images = np.concatenate([split.images.permute(0, 2, 3, 1).numpy() for split in splits])
    return images, np.concatenate([split.labels.numpy() for split in splits])


def image_file(
    path: Path,
    size: tuple[int, int] = (20, 20),
    mode: str = "RGB",
    colour: object = None,
    **options: object,
) -> Path:
    """Save an image of this size and mode: one colour, or noise drawn by its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if colour is None:
        pixels = np.random.default_rng(zlib.crc32(os.fsencode(path))).integers(
            0, 256, (size[1], size[0], 3), np.uint8
        )
        Image.fromarray(pixels).convert(mode).save(path, **options)
    else:
        Image.new(mode, size, colour).save(path, **options)
    return path


def refused(path: Path, *words: str) -> str:
    """The one line with which loading the path is refused, nothing being written."""
    before = (
        set((data.cache_folder() / "datasets").glob("*")) if data.cache_folder().exists() else set()
    )
    with pytest.raises(UserError) as caught:
        data.load(path)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 1_200
    for word in words:
        assert word in message, message
    after = (
        set((data.cache_folder() / "datasets").glob("*")) if data.cache_folder().exists() else set()
    )
    assert after == before  # nothing written
    return message
