"""IDX files, the form of MNIST and of data sets made in its image.

Four bytes 0, 0, 8, number of dimensions, then big-endian sizes, then values. Source:
yann.lecun.com/exdb/mnist, "the IDX file format".
"""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from convscope.data.content import Splits
from convscope.data.downloads import SourceFailed

# split -> (file, its MD5) of the images, of the labels
Files = dict[str, tuple[tuple[str, str], tuple[str, str]]]
LIMIT = 100_000_000  # bytes


def splits_of(files: Files, find: Callable[[str, str], Path]) -> Splits:
    """All splits of a data set in gzipped IDX files.

    files: which they are.
    find: the path of a file, by its name and MD5.

    Raises SourceFailed for a file of another form, and what `find` raises.
    """
    return {
        split: (read_idx(find(*images))[..., None], read_idx(find(*labels)).astype(np.int64))
        for split, (images, labels) in files.items()
    }


def read_idx(path: Path, limit: int = LIMIT) -> NDArray[np.uint8]:
    """A gzipped IDX file of unsigned bytes.

    path: the file.
    limit: most bytes that are unpacked.

    Raises SourceFailed for anything else.
    """
    with gzip.open(path, "rb") as file:
        return parse_idx(file.read(limit + 1), path.name, limit)


def parse_idx(raw: bytes, name: str, limit: int = LIMIT) -> NDArray[np.uint8]:
    """The array in an IDX file of unsigned bytes.

    raw: the file's content.
    name: of the file, for messages.
    limit: most bytes.

    Raises SourceFailed for anything else.
    """
    if len(raw) > limit or len(raw) < 4 or raw[:3] != b"\0\0\x08" or not 1 <= raw[3] <= 4:
        raise SourceFailed(f"{name} is not an IDX file of bytes")
    start = 4 + 4 * raw[3]
    shape = tuple(int.from_bytes(raw[i : i + 4], "big") for i in range(4, start, 4))
    if len(raw) - start != int(np.prod(shape, dtype=np.int64)):
        raise SourceFailed(f"{name} is {len(raw):,} bytes long, not what its header {shape} says")
    return np.frombuffer(raw, np.uint8, offset=start).reshape(shape)
