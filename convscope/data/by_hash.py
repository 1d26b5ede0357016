"""Images by the hash of their content, as machines know them that share no disk.

A cached set may have come from a folder that is nowhere else; its hash is the same everywhere. The
files of the cache are sent as they are. Torch stays away: who passes them on needs no tensors.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock

from convscope.data.cache import FORMAT, Damaged, cache_folder, new_workspace, open_cached
from convscope.errors import UserError, one_line
from convscope.files import parse_json, sync_folder, write_bytes

SENT = "sent"  # begins the names of sets that came from another machine
DIGITS = 20  # of a hash, in such a name


def folder_with(data_hash: str) -> Path | None:
    """The folder of a cached set with this hash, whose files are whole; None where there is none.

    data_hash: SHA-256 as a Dataset has it.
    """
    for meta in sorted((cache_folder() / "datasets").glob(f"*.v{FORMAT}/meta.json")):
        if holds(meta.parent, data_hash):
            return meta.parent
    return None


def holds(folder: Path, data_hash: str) -> bool:
    """Whether a folder is a cached set with this hash whose files are what was written."""
    try:
        if parse_json((folder / "meta.json").read_bytes()).get("hash") != data_hash:
            return False
        open_cached(folder, verify=True)
    except (OSError, UserError, AttributeError, Damaged):
        return False
    return True


def files_of(folder: Path) -> dict[str, bytes]:
    """The files of a cached set: name -> content."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}


def keep_files(data_hash: str, files: Mapping[str, Any]) -> Path:
    """Keep a set that was sent in this machine's cache; returns its folder.

    data_hash: what it must have.
    files: name -> content.
    Raises UserError where the content is another, or the cache cannot be written.
    """
    root = cache_folder() / "datasets"
    target = root / f"{SENT}-{data_hash[:DIGITS]}.v{FORMAT}"
    try:
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(root / f".{target.name}.lock"):  # of a node's slots one writes
            if (there := folder_with(data_hash)) is not None:
                return there
            shutil.rmtree(target, ignore_errors=True)
            workspace = new_workspace(root)
            try:
                for name, content in files.items():
                    write_bytes(workspace / Path(name).name, content)
                if not holds(workspace, data_hash):
                    raise UserError(
                        f"images {data_hash[:12]}: what was sent is not what was to be sent"
                    )
                workspace.rename(target)
            finally:
                shutil.rmtree(workspace, ignore_errors=True)
            sync_folder(root)
    except OSError as error:
        raise UserError(
            f"cache folder {one_line(root)}: {error.strerror}; "
            "set CONVSCOPE_CACHE to a folder with room that can be written"
        ) from None
    return target
