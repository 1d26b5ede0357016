"""Fashion-MNIST from its project's server, or from Debian's package of the same bytes."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from convscope.data.content import Progress, Splits
from convscope.data.downloads import SourceFailed, download

URL = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com"

# split -> (file, MD5 by the project's README) of images, of labels; Debian compressed them anew
FILES = {
    "train": (
        ("train-images-idx3-ubyte.gz", "8d4fb7e6c68d591d4c3dfef9ec88bf0d"),
        ("train-labels-idx1-ubyte.gz", "25c81989df183df01b3e8a0aad5dffbe"),
    ),
    "test": (
        ("t10k-images-idx3-ubyte.gz", "bef4ecab320f06d8554ea6380940ec79"),
        ("t10k-labels-idx1-ubyte.gz", "bb300cfdad3c16e7a12a480ee83cd310"),
    ),
}

DEBIAN = (Path("/usr/share/datasets/fashion-mnist"), Path("/usr/share/dataset-fashion-mnist"))


def from_debian(workspace: Path, progress: Progress | None) -> Splits:
    """The files of the package dataset-fashion-mnist. Raises SourceFailed where it lacks."""
    folder = next((folder for folder in DEBIAN if folder.is_dir()), None)
    if folder is None:
        raise SourceFailed(f"no {DEBIAN[0]}")
    return _splits(lambda name, md5: folder / name)


def from_project(workspace: Path, progress: Progress | None) -> Splits:
    """The files of the project's server. Raises SourceFailed and what requests raises."""
    return _splits(lambda name, md5: download(f"{URL}/{name}", md5, workspace, progress))


def _splits(find: Callable[[str, str], Path]) -> Splits:
    """All splits; `find` gives a file by its name and MD5."""
    splits: Splits = {}
    for split, (images, labels) in FILES.items():
        pixels = read_idx(find(*images))[..., None]
        splits[split] = (pixels, read_idx(find(*labels)).astype(np.int64))
    return splits


def read_idx(path: Path, limit: int = 100_000_000) -> NDArray[np.uint8]:
    """A gzipped IDX file of unsigned bytes.

    Four bytes 0, 0, 8, number of dimensions, then big-endian sizes, then values. Source:
    yann.lecun.com/exdb/mnist, "the IDX file format".

    path: the file.
    limit: most bytes that are unpacked.

    Raises SourceFailed for anything else.
    """
    with gzip.open(path, "rb") as file:
        raw = file.read(limit + 1)
    if len(raw) > limit or len(raw) < 4 or raw[:3] != b"\0\0\x08" or not 1 <= raw[3] <= 4:
        raise SourceFailed(f"{path.name} is not an IDX file of bytes")
    start = 4 + 4 * raw[3]
    shape = tuple(int.from_bytes(raw[i : i + 4], "big") for i in range(4, start, 4))
    if len(raw) - start != int(np.prod(shape, dtype=np.int64)):
        raise SourceFailed(
            f"{path.name} is {len(raw):,} bytes long, not what its header {shape} says"
        )
    return np.frombuffer(raw, np.uint8, offset=start).reshape(shape)
