"""The cache of data sets: one memory-mapped form with hashes, shared by all processes."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convscope.errors import one_line
from convscope.files import parse_json

Progress = Callable[[str, int, int | None], None]

Pair = tuple[NDArray[np.uint8], NDArray[np.int64]]  # images N×H×W×C, labels N

Splits = dict[str, Pair]

FORMAT = 1  # of the cache; another number is another folder

SPLITS = ("train", "val", "test")


class Damaged(Exception):
    """A cached folder is not what was written; the text says in what."""


@dataclass(frozen=True)
class Content:
    """A data set on its way into the cache."""

    splits: Splits
    classes: tuple[str, ...]
    source: str
    licence: str
    notes: tuple[str, ...] = ()


def write_cached(target: Path, content: Content, workspace: Path) -> None:
    """The cache form, written aside, synchronised to the disk and renamed into place; another process may be first."""
    folder = workspace / "cache"
    folder.mkdir()
    sizes = {}
    for split, pair in content.splits.items():
        for kind, array in zip(("images", "labels"), pair, strict=True):
            with open(folder / f"{split}_{kind}.npy", "wb") as file:
                np.save(file, np.ascontiguousarray(array), allow_pickle=False)
                file.flush()
                os.fsync(file.fileno())
                sizes[f"{split}_{kind}.npy"] = file.tell()
    meta = {
        "format": FORMAT,
        "classes": list(content.classes),
        "hash": _digest(content.splits, content.classes),
        "source": content.source,
        "licence": content.licence,
        "notes": list(content.notes),
        "files": sizes,
    }
    with open(folder / "meta.json", "w", encoding="utf-8") as file:
        json.dump(meta | {"checksum": _checksum(meta)}, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    _sync(folder)
    try:
        folder.rename(target)
    except OSError:
        if not target.exists():
            raise
    _sync(target.parent)


def _digest(splits: Splits, classes: tuple[str, ...]) -> str:
    digest = hashlib.sha256(
        json.dumps([list(classes), {s: splits[s][0].shape for s in SPLITS if s in splits}]).encode()
    )
    for array in (array for split in SPLITS if split in splits for array in splits[split]):
        digest.update(array.astype(array.dtype.newbyteorder("<"), copy=False).data.cast("B"))
    return digest.hexdigest()


def _checksum(meta: dict[str, Any]) -> str:
    return hashlib.sha256(
        json.dumps({k: v for k, v in meta.items() if k != "checksum"}, sort_keys=True).encode()
    ).hexdigest()


def _sync(folder: Path) -> None:
    if os.name == "posix":  # Windows can't open a folder
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def open_cached(folder: Path, verify: bool) -> tuple[dict[str, Any], Splits]:
    """meta.json and the memory-mapped arrays (copy on write); Damaged where they are not what was written."""
    try:
        meta = parse_json((folder / "meta.json").read_bytes())
        if (
            not isinstance(meta, dict)
            or meta.get("checksum") != _checksum(meta)
            or meta["format"] != FORMAT
        ):
            raise Damaged("meta.json was altered")
        splits: Splits = {}
        for split in SPLITS:
            if f"{split}_images.npy" in meta["files"]:
                paths = [folder / f"{split}_{kind}.npy" for kind in ("images", "labels")]
                if [path.stat().st_size for path in paths] != [
                    meta["files"][path.name] for path in paths
                ]:
                    raise Damaged(f"the {split} files have another size")
                images, labels = (
                    np.load(path, mmap_mode="c", allow_pickle=False) for path in paths
                )
                if (
                    images.dtype != np.uint8
                    or images.ndim != 4
                    or labels.dtype != np.int64
                    or labels.shape != images.shape[:1]
                ):
                    raise Damaged(f"the {split} files have another header")
                splits[split] = (images, labels)
        if verify and _digest(splits, tuple(meta["classes"])) != meta["hash"]:
            raise Damaged("its hash differs")
    except (
        FileNotFoundError,
        NotADirectoryError,
        ValueError,
        TypeError,
        KeyError,
        EOFError,
    ) as error:
        raise Damaged(one_line(f"{type(error).__name__}: {error}", 80)) from error
    return meta, splits


def cache_folder() -> Path:
    """Where data sets are kept: $CONVSCOPE_CACHE, or the user's cache folder."""
    if chosen := os.environ.get("CONVSCOPE_CACHE"):
        return expanded(chosen)
    import platformdirs

    return platformdirs.user_cache_path("convscope")


def expanded(given: str) -> Path:
    return Path(os.path.expanduser(given))  # noqa: PTH111  leaves ~unknown as it is, where pathlib raises
