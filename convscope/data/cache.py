"""The cache of data sets: one memory-mapped form with hashes, shared by all processes.

The form is a folder: {train,val,test}_images.npy (uint8 N×H×W×C), …_labels.npy (int64 N),
meta.json, and train_groups.npy (int64 N) where the training images have groups.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
import shutil
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convscope.data.content import Content, Splits
from convscope.errors import UserError, one_line
from convscope.files import parse_json, sync_folder

FORMAT = 1  # of the cache; another number is another folder

_PARTS = 4  # of an array, summed at once

_WORTH_THREADS = 1 << 24  # bytes; fewer are done before threads have started

SPLITS = ("train", "val", "test")

GROUPS = "train_groups.npy"

LEFT_OVER_AFTER = 86_400  # seconds until the workspace of a process that was killed is removed

UNREADABLE = (FileNotFoundError, NotADirectoryError, ValueError, TypeError, KeyError, EOFError)

Stored = tuple[dict[str, Any], Splits]  # meta.json and the arrays


class Damaged(Exception):
    """A cached folder is not what was written; the text says in what."""


def cache_folder() -> Path:
    """Where data sets are kept: $CONVSCOPE_CACHE, or the user's cache folder.

    Where the user has none, or it cannot be written, it is a folder among the temporary files.
    """
    if chosen := os.environ.get("CONVSCOPE_CACHE"):
        return expanded(chosen)
    usual = users_cache()
    if usual is not None:
        there = next((path for path in (usual, *usual.parents) if path.exists()), usual)
        if os.access(there, os.W_OK):
            return usual
    user = os.getuid() if hasattr(os, "getuid") else "user"
    return Path(tempfile.gettempdir()) / f"convscope-{user}"


def users_cache() -> Path | None:
    """This package's folder in the user's cache; None for a user without a home folder."""
    import platformdirs

    try:
        usual = platformdirs.user_cache_path("convscope")
    except RuntimeError:  # earlier versions return a path that begins with ~
        return None
    return usual if usual.is_absolute() else None


def expanded(given: str) -> Path:
    """The path with ~ as the home folder; ~unknown stays as it is, where pathlib raises."""
    return Path(os.path.expanduser(given))  # noqa: PTH111


def cached(
    key: str, make: Callable[[Path], Content], verify: bool
) -> tuple[Path, Stored, list[str]]:
    """A data set's folder in the cache, what it holds, and remarks on a damaged copy.

    key: the folder's name; it changes when the content does.
    make: makes the content in a workspace, called where the cache lacks it or is damaged.
    verify: whether the files' hash is checked, not only their sizes and headers.

    Raises UserError where the cache cannot be written.
    """
    root = cache_folder() / "datasets"
    target = root / f"{key}.v{FORMAT}"
    remarks: list[str] = []
    with _one_line_errors(root):
        if target.exists():
            try:
                return target, open_cached(target, verify), remarks
            except Damaged as error:
                aside = one_line(_set_aside(target))
                remarks.append(
                    f"the cached copy was damaged ({error}); "
                    f"it was set aside as {aside} and made again"
                )
        workspace = new_workspace(root)
    try:
        content = make(workspace)
        with _one_line_errors(root):
            write_cached(target, content, workspace)
            return target, open_cached(target, verify=False), remarks
    finally:
        shutil.rmtree(workspace, ignore_errors=True)


def _set_aside(target: Path) -> Path:
    """Rename a damaged folder to a name that is free; returns that."""
    numbered = (target.with_name(f"{target.name}.damaged-{n}") for n in itertools.count(1))
    aside = next(path for path in numbered if not path.exists())
    with contextlib.suppress(FileNotFoundError):  # another process has set it aside
        target.rename(aside)
    return aside


def new_workspace(root: Path) -> Path:
    """An empty folder beside the data sets; those that killed processes left are removed."""
    root.mkdir(parents=True, exist_ok=True)
    for left in root.glob(".making-*"):
        if time.time() - left.stat().st_mtime > LEFT_OVER_AFTER:
            shutil.rmtree(left, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=".making-", dir=root))


@contextlib.contextmanager
def _one_line_errors(root: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        why = error.strerror or one_line(error)
        raise UserError(
            f"cache folder {one_line(root)}: {why}; "
            "set CONVSCOPE_CACHE to a folder with room that can be written"
        ) from None


def write_cached(target: Path, content: Content, workspace: Path) -> None:
    """Write the cache form aside, sync it to the disk and rename it into place.

    target: the folder; where another process was first, its content stays.
    content: what is written.
    workspace: a folder on the same disk, the caller's to delete.
    """
    folder = workspace / "cache"
    folder.mkdir()
    arrays = {
        f"{split}_{kind}.npy": array
        for split, pair in content.splits.items()
        for kind, array in zip(("images", "labels"), pair, strict=True)
    }
    if content.groups is not None:
        arrays[GROUPS] = content.groups
    sizes = {name: _write_array(folder / name, array) for name, array in arrays.items()}
    meta = {
        "format": FORMAT,
        "classes": list(content.classes),
        "hash": _digest(content.splits, content.classes, content.groups),
        "source": content.source,
        "licence": content.licence,
        "notes": list(content.notes),
        "files": sizes,
        "crc32": _crcs(content.splits, content.groups),
        "preview": content.preview and asdict(content.preview),
        "scales": {depth: [one.low, one.high] for depth, one in content.scales.items()},
    }
    with open(folder / "meta.json", "w", encoding="utf-8") as file:
        json.dump(meta | {"checksum": _checksum(meta)}, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    sync_folder(folder)
    try:
        folder.rename(target)
    except OSError:
        if not target.exists():
            raise
    sync_folder(target.parent)


def _write_array(path: Path, array: NDArray[Any]) -> int:
    """Write an array and sync it to the disk; returns the file's size."""
    with open(path, "wb") as file:
        np.save(file, np.ascontiguousarray(array), allow_pickle=False)
        file.flush()
        os.fsync(file.fileno())
        return file.tell()


def open_cached(folder: Path, verify: bool) -> Stored:
    """meta.json and the memory-mapped arrays, copied where they are written to.

    folder: the data set's folder in the cache.
    verify: whether the files' hash is checked, not only their sizes and headers.

    Raises Damaged where they are not what was written.
    """
    try:
        meta = parse_json((folder / "meta.json").read_bytes())
        whole = isinstance(meta, dict) and meta.get("checksum") == _checksum(meta)
        if not whole or meta["format"] != FORMAT:
            raise Damaged("meta.json was altered")
        splits: Splits = {}
        for split in SPLITS:
            if f"{split}_images.npy" in meta["files"]:
                splits[split] = _open_split(folder, split, meta["files"])
        groups = open_groups(folder, meta)
        if groups is not None and len(groups) != len(splits["train"][1]):
            raise Damaged("the groups are not as many as the training images")
        if verify and not _as_written(meta, splits, groups):
            raise Damaged("its hash differs")
    except UNREADABLE as error:
        raise Damaged(one_line(f"{type(error).__name__}: {error}", 80)) from error
    return meta, splits


def _open_split(folder: Path, split: str, sizes: dict[str, int]) -> Any:
    """The memory-mapped images and labels of one split."""
    paths = [folder / f"{split}_{kind}.npy" for kind in ("images", "labels")]
    if [path.stat().st_size for path in paths] != [sizes[path.name] for path in paths]:
        raise Damaged(f"the {split} files have another size")
    images, labels = (np.load(path, mmap_mode="c", allow_pickle=False) for path in paths)
    types = (images.dtype, labels.dtype) == (np.uint8, np.int64)
    if not types or images.ndim != 4 or labels.shape != images.shape[:1]:
        raise Damaged(f"the {split} files have another header")
    return images, labels


def open_groups(folder: Path, meta: dict[str, Any]) -> NDArray[np.int64] | None:
    """The group of each training image; None where the data have none.

    folder: the data set's folder in the cache.
    meta: of that folder.

    Raises Damaged where they are not what was written.
    """
    if GROUPS not in meta["files"]:
        return None
    path = folder / GROUPS
    if path.stat().st_size != meta["files"][GROUPS]:
        raise Damaged(f"{GROUPS} has another size")
    groups = np.load(path, allow_pickle=False)
    if groups.dtype != np.int64 or groups.ndim != 1:
        raise Damaged(f"{GROUPS} has another header")
    return groups


def _as_written(meta: Mapping[str, Any], splits: Splits, groups: NDArray[np.int64] | None) -> bool:
    """Whether the arrays hold what was written.

    The checksums, which find what a disk may do, take a third of the hash's time.
    """
    if "crc32" in meta:
        return _crcs(splits, groups) == meta["crc32"]
    return _digest(splits, tuple(meta["classes"]), groups) == meta["hash"]  # of version 0.1.0


def _crcs(splits: Splits, groups: NDArray[np.int64] | None) -> dict[str, list[int]]:
    """Split -> CRC-32 of its images and labels, in parts that several threads compute.

    The groups, where there are such, are a part of their own.
    """
    arrays: dict[str, tuple[NDArray[Any], ...]] = {**splits}
    if groups is not None:
        arrays["groups"] = (groups,)
    parts = {
        name: [part for array in some for part in np.array_split(array.reshape(-1), _PARTS)]
        for name, some in arrays.items()
    }
    if sum(part.nbytes for some in parts.values() for part in some) < _WORTH_THREADS:
        return {name: [_crc(part) for part in some] for name, some in parts.items()}
    with ThreadPoolExecutor(_PARTS) as pool:
        return {name: list(pool.map(_crc, some)) for name, some in parts.items()}


def _crc(part: NDArray[Any]) -> int:
    return zlib.crc32(part.data.cast("B"))


def _digest(splits: Splits, classes: tuple[str, ...], groups: NDArray[np.int64] | None) -> str:
    """SHA-256 of shapes, classes, pixels, labels and groups, where there are such."""
    shapes = {split: splits[split][0].shape for split in SPLITS if split in splits}
    digest = hashlib.sha256(json.dumps([list(classes), shapes]).encode())
    arrays = [array for split in SPLITS if split in splits for array in splits[split]]
    for array in arrays if groups is None else [*arrays, groups]:
        digest.update(array.astype(array.dtype.newbyteorder("<"), copy=False).data.cast("B"))
    return digest.hexdigest()


def _checksum(meta: dict[str, Any]) -> str:
    content = {key: value for key, value in meta.items() if key != "checksum"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
