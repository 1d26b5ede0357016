"""Image files without labels, read as those of a data set were: for a network in use."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from convscope.data.content import Progress
from convscope.data.decoding import in_parallel
from convscope.data.depth import UNIT, Scale
from convscope.data.memory import refuse_what_does_not_fit
from convscope.data.pixels import Resize, decode_new

# of values that the data set had not: the whole range of their type
WHOLE = {"grey": Scale(), "RGB": Scale(), "floating-point": UNIT}


def read_unlabelled(
    paths: Sequence[Path],
    in_shape: tuple[int, int, int],
    resize: Resize,
    scales: Mapping[str, Scale],
    progress: Progress | None = None,
) -> tuple[NDArray[np.uint8], dict[int, str], tuple[str, ...]]:
    """Decode images as those of a data set were.

    paths: the files.
    in_shape: channels, height and width of the data set's images.
    resize: what became of images of another aspect ratio.
    scales: depth of values -> their range in the data set.
    progress: called with what is done, how much of it, and of how much.

    Returns uint8 N×H×W×C, zeros where a file is bad; place -> what is wrong with the file; and
    sentences to be said, without the full stop. Raises UserError where they do not fit into memory.
    """
    from PIL import Image

    channels, height, width = in_shape
    refuse_what_does_not_fit(
        len(paths) * height * width * channels,
        f"{len(paths):,} images of {height}×{width}×{channels} take",
        "give fewer at once",
    )
    Image.init()  # loads the decoders, before the threads start
    images = np.zeros((len(paths), height, width, channels), np.uint8)
    unknown: list[str] = []
    ranges = {**WHOLE, **scales}

    def one(place: int) -> str:
        fault, depth = decode_new(paths[place], images[place], resize, ranges)
        if depth and depth not in scales:
            unknown.append(depth)
        return fault

    with warnings.catch_warnings():
        # Pillow warns of oddities in metadata; what matters to us comes as an exception
        warnings.simplefilter("ignore")
        faults = in_parallel(one, list(range(len(paths))), "decoding", progress)
    notes = tuple(
        f"{unknown.count(depth):,} of the images have {depth} values of more than 8 bits, and the "
        f"training images had none: {WHOLE[depth].high:,} is white"
        for depth in sorted(set(unknown))
    )
    return images, {place: fault for place, fault in enumerate(faults) if fault}, notes
