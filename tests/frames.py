"""Frames cut from sequences: each is a moving view of one still, with its own noise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from convscope.data import shapes

SIDE = 20


def frames_of_sequences(
    root: Path,
    sequences: int,
    frames: int,
    classes: int = 2,
    name: str = "clip{clip:03}/frame_{frame:04}.png",
) -> Path:
    """Write root/CLASS/name; a sequence shows one figure of `shapes` on its own clutter.

    sequences: of each class.
    frames: of each sequence.
    """
    draw = np.random.default_rng(0)
    images, labels = shapes.generate(10 * sequences, seed=5)
    for label in range(classes):
        for clip, still in enumerate(images[labels == label]):
            place = np.array([4, 4])
            for frame in range(frames):
                place = np.clip(place + draw.integers(-1, 2, 2), 0, 32 - SIDE)
                y, x = place
                view = still[y : y + SIDE, x : x + SIDE].astype(int)
                noisy = np.clip(view + draw.integers(-8, 9, view.shape), 0, 255).astype(np.uint8)
                number = frame if "clip" in name else clip * (frames + 5) + frame
                path = root / shapes.CLASSES[label] / name.format(clip=clip, frame=number)
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(noisy).save(path)
    return root
