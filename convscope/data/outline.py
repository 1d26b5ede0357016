"""What is known of images without reading them, for refusals that come at once."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from convscope.data import shapes
from convscope.data.archives import inside_archive
from convscope.data.array_names import NAMES
from convscope.data.cache import expanded
from convscope.data.hub import PREFIX
from convscope.data.known import KNOWN
from convscope.data.listed import Options
from convscope.data.resolving import names, resolve
from convscope.data.splitting import TEST_SHARE

# kinds of files that are opened to be resolved, which is left to whoever loads them
READ_LATER = {".csv", ".tsv", ".parquet", ".arrow", ".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz"}


@dataclass(frozen=True)
class Outline:
    """The size of a data set.

    stored: the number of images of its training split, before any is held out; None: not known.
    splits: the names of the splits that it has of its own.
    in_shape: channels, height and width of an image; the sides alone count for those with a name.
    """

    stored: int | None
    splits: frozenset[str]
    in_shape: tuple[int, int, int]

    def train(self, val: float) -> int | None:
        """The number of training images that are left, where each class has several."""
        count = self.stored
        if count is None:
            return None
        if "test" not in self.splits:
            count -= round(TEST_SHARE * count)
        return count if "val" in self.splits else count - round(val * count)


def check_there(name_or_path: str, options: Options | None = None) -> None:
    """UserError where there is no such data set, in the words of `load`; nothing is read."""
    options = options or Options()
    options.check()
    path = expanded(name_or_path)
    if name_or_path in names():
        resolve(name_or_path, options)
    elif is_folder(path) or inside_archive(path) is not None:
        return  # listing a folder or an archive may take long: left to whoever loads it
    elif path.suffix.lower() not in READ_LATER and not name_or_path.startswith(PREFIX):
        resolve(name_or_path, options)


def is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # a name that is too long
        return False


def outline_of(name_or_path: str) -> Outline | None:
    """The size of a data set that has a name or is an .npz file; None where it is not known."""
    both = frozenset({"train", "test"})
    if name_or_path in KNOWN:
        side = KNOWN[name_or_path].side
        return Outline(None, both, (1, side, side))
    if name_or_path == "shapes":
        return Outline(shapes.NUM_TRAIN, both, (3, shapes.SIDE, shapes.SIDE))
    try:
        return outline_of_npz(expanded(name_or_path))
    except Exception:  # zipfile and numpy raise many kinds on damaged files; loading names them
        return None


def outline_of_npz(path: Path) -> Outline | None:
    found: dict[str, tuple[int, ...]] = {}
    with zipfile.ZipFile(path) as archive:
        for split, pairs in NAMES.items():
            for images, _ in pairs:
                if f"{images}.npy" in archive.namelist() and split not in found:
                    with archive.open(f"{images}.npy") as file:
                        found[split] = header(file)
    if "train" not in found or len(found["train"]) not in (3, 4):
        return None
    count, *rest = found["train"]
    if len(rest) == 2:
        shape = 1, rest[0], rest[1]
    elif rest[2] <= 4:
        shape = rest[2], rest[0], rest[1]
    else:
        shape = rest[0], rest[1], rest[2]
    return Outline(count, frozenset(found), shape)


def header(file: IO[bytes]) -> tuple[int, ...]:
    """The shape that a .npy file begins with."""
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_2_0
    if version == (1, 0):
        read = np.lib.format.read_array_header_1_0
    return read(file)[0]
