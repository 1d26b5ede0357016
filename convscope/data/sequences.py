"""Signs that images are frames of sequences, which a random split would tear apart."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import PurePath

import numpy as np
from numpy.typing import NDArray

from convscope.data.groups import number_of
from convscope.data.listing import File
from convscope.errors import one_line

WORDS = re.compile(
    r"(?:^|[^a-z])(frames?|fr|videos?|vid|clips?|seq|sequence|scene|shot|burst|take|slice|patient|"
    r"subject)(?:[^a-z]|$)"
)

MOST = 0.5  # of the names, from which on they are a sign

PAIRS, LEAST_PAIRS = 400, 10  # of neighbours that are looked at

NEARER = 0.2  # so many more of neighbours than of other pairs are nearly the same


def sign_of_sequences(files: Sequence[File], images: NDArray[np.uint8]) -> str:
    """Why the images seem to be frames of sequences; "" where nothing says so.

    files: the training files.
    images: their pixels, N×H×W×C.
    """
    named = _by_names(files)
    seen = _by_pixels(files, images)
    if not named and not seen:
        return ""
    return (
        f"{' and '.join(filter(None, (named, seen)))} suggest sequences: a random split puts "
        "images of one sequence into training and test, and accuracies come out too high; keep "
        "them together by --group-by COLUMN of a table, parent (the folder) or prefix (the name "
        "up to its number)"
    )


def _by_names(files: Sequence[File]) -> str:
    """Names with a number after a word such as frame."""
    found = [
        name
        for name in (file.path.name for file in files)
        if number_of(PurePath(name).stem)[1] and WORDS.search(name.lower())
    ]
    if len(found) < max(2, MOST * len(files)):
        return ""
    return f"file names such as {one_line(found[0], 60)!r}"


def _by_pixels(files: Sequence[File], images: NDArray[np.uint8]) -> str:
    """Images with numbers in a row that are nearly the same, much more often than others are."""
    pairs = neighbours(files)
    if len(pairs) < LEAST_PAIRS:
        return ""
    from convscope.data.alike import LEAST_SIDE  # here: few images are refused without torch

    if min(images.shape[1:3]) < LEAST_SIDE:
        return ""
    pairs = pairs[:: -(-len(pairs) // PAIRS)]
    others = _other_pairs(files, len(pairs))
    near, far = (_share_alike(images, some) for some in (pairs, others))
    if near - far < NEARER:
        return ""
    return (
        f"{near:.0%} of images with numbers in a row that are nearly the same ({far:.0%} of "
        "other pairs of their class)"
    )


def neighbours(files: Sequence[File]) -> list[tuple[int, int]]:
    """Pairs of rows of one folder, one name and one class whose numbers follow each other."""
    named: list[tuple[tuple[str, str, int], int, int]] = []
    for row, file in enumerate(files):
        folder, name = os.path.split(file.path)
        prefix, number = number_of(PurePath(name).stem)
        if number:
            named.append(((folder, prefix, file.label), int(number), row))
    return [(a[2], b[2]) for a, b in pairwise(sorted(named)) if a[0] == b[0]]


def _other_pairs(files: Sequence[File], count: int) -> list[tuple[int, int]]:
    """Pairs of one class that are far apart in its order."""
    import torch

    rows: dict[int, list[int]] = {}
    for row, file in enumerate(files):
        rows.setdefault(file.label, []).append(row)
    pairs = []
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randint(len(files), (count,), generator=generator).tolist()
    for row in drawn:
        same = rows[files[row].label]
        place = same.index(row)
        pairs.append((row, same[(place + len(same) // 2) % len(same)]))
    return [(a, b) for a, b in pairs if a != b]


def _share_alike(images: NDArray[np.uint8], pairs: list[tuple[int, int]]) -> float:
    import torch

    from convscope.data.alike import ALIKE, likenesses

    if not pairs:
        return 0.0
    rows = np.array(pairs)
    chosen = torch.from_numpy(images[rows.ravel()]).permute(0, 3, 1, 2)
    at = torch.arange(2 * len(pairs)).reshape(-1, 2)
    return float((likenesses(chosen, chosen, at) >= ALIKE).float().mean())
