"""The cache of data sets: one memory-mapped form with hashes, shared by all processes.

The form is a folder: {train,val,test}_images.npy (uint8 N×H×W×C), …_labels.npy (int64 N) and
meta.json.
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
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from convscope.data.content import Content, Splits
from convscope.errors import UserError, one_line
from convscope.files import parse_json, sync_folder

FORMAT = 1  # of the cache; another number is another folder

SPLITS = ("train", "val", "test")

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

    Args:
        key: The folder's name; it changes when the content does.
        make: Makes the content in a workspace, called where the cache lacks it or is damaged.
        verify: Whether the files' hash is checked, not only their sizes and headers.

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
        workspace = _new_workspace(root)
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


def _new_workspace(root: Path) -> Path:
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

    Args:
        target: The folder; where another process was first, its content stays.
        content: What is written.
        workspace: A folder on the same disk, the caller's to delete.
    """
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
    sync_folder(folder)
    try:
        folder.rename(target)
    except OSError:
        if not target.exists():
            raise
    sync_folder(target.parent)


def open_cached(folder: Path, verify: bool) -> Stored:
    """meta.json and the memory-mapped arrays, copied where they are written to.

    Args:
        folder: The data set's folder in the cache.
        verify: Whether the files' hash is checked, not only their sizes and headers.

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
        if verify and _digest(splits, tuple(meta["classes"])) != meta["hash"]:
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


def _digest(splits: Splits, classes: tuple[str, ...]) -> str:
    """SHA-256 of shapes, classes, pixels and labels."""
    shapes = {split: splits[split][0].shape for split in SPLITS if split in splits}
    digest = hashlib.sha256(json.dumps([list(classes), shapes]).encode())
    for array in (array for split in SPLITS if split in splits for array in splits[split]):
        digest.update(array.astype(array.dtype.newbyteorder("<"), copy=False).data.cast("B"))
    return digest.hexdigest()


def _checksum(meta: dict[str, Any]) -> str:
    content = {key: value for key, value in meta.items() if key != "checksum"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
