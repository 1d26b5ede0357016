"""Splits as arrays, for tests that look at pixels."""

from __future__ import annotations

import numpy as np

from convscope.data.dataset import Split


def arrays(*splits: Split) -> tuple[np.ndarray, np.ndarray]:
    """(uint8 images N×H×W×C, labels) of all splits, one after another."""
    images = np.concatenate([split.images.permute(0, 2, 3, 1).numpy() for split in splits])
    return images, np.concatenate([split.labels.numpy() for split in splits])
