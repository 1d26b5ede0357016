"""hf:OWNER/NAME: an image data set of the Hugging Face Hub, fetched as parquet and checked.

The Hub lists a repository's files with their SHA-256. Parquet files of the repository are taken,
or where it has none, those to which the Hub has converted it (revision refs/convert/parquet). Only
public data sets: no token is read.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote

from convscope.data.content import Content, Progress
from convscope.data.downloads import CONNECT_SECONDS, READ_SECONDS
from convscope.data.hugging_face import find_embedded, read_embedded
from convscope.data.known import DataUnavailable
from convscope.data.listed import Options
from convscope.data.listing import quoted
from convscope.data.parquet import arrow
from convscope.errors import UserError, one_line

HUB = "https://huggingface.co"  # HF_ENDPOINT names a mirror, as for the Hub's own tools

CONVERTED = "refs/convert/parquet"

PREFIX = "hf:"

NAME = re.compile(r"([\w.-]+/)?[\w.-]+")


@dataclass(frozen=True)
class HubName:
    """What stands after hf: owner/name, a folder in it ("" for all), a revision ("" for main)."""

    repository: str
    folder: str
    revision: str


def parse_hub_name(given: str) -> HubName:
    """OWNER/NAME[/FOLDER][@REVISION] after hf:. Raises UserError for another form."""
    text, _, revision = given.removeprefix(PREFIX).partition("@")
    parts = text.strip("/").split("/")
    repository, folder = "/".join(parts[:2]), "/".join(parts[2:])
    if (
        not NAME.fullmatch(repository)
        or {".", ".."} & set(parts)
        or not re.fullmatch(r"[\w./-]*", revision)
    ):
        raise UserError(
            f"data {one_line(given)!r}: must be hf:OWNER/NAME, "
            "hf:OWNER/NAME/FOLDER or hf:OWNER/NAME@REVISION"
        )
    return HubName(repository, folder, revision)


def read_hub(
    name: HubName, workspace: Path, options: Options, progress: Progress | None
) -> Content:
    """The content of a data set of the Hub.

    name: which.
    workspace: a folder for the files, the caller's to delete.
    options: how the images are read.
    progress: called with what is done, how much of it, and of how much.

    Raises DataUnavailable where the Hub cannot be reached or lacks it, and what files raise.
    """
    arrow("pyarrow")  # says what is missing before anything is fetched
    shown = f"{PREFIX}{name.repository}"
    tries = [name.revision] if name.revision else ["main", CONVERTED]
    files: list[dict[str, Any]] = []
    for revision in tries:
        files = _parquet_files(name, revision, shown)
        if files:
            folder = workspace / "hub"
            for file in files:
                _fetch(name, revision, file, folder, shown, progress)
            embedded = find_embedded(folder / name.folder, options)
            if embedded is not None:
                content = read_embedded(embedded, workspace, options, progress)
                return _told(content, shown, revision)
    raise UserError(
        f"{shown}: has no parquet files with images; download it and give the folder of its images"
    )


def _told(content: Content, shown: str, revision: str) -> Content:
    return replace(
        content,
        source=f"the Hugging Face Hub, {shown} at revision {one_line(revision, 60)}",
        licence="as its page on the Hub states",
    )


def _parquet_files(name: HubName, revision: str, shown: str) -> list[dict[str, Any]]:
    """The parquet files of a revision: path, size and, for large ones, their SHA-256."""
    url = f"{_hub()}/api/datasets/{name.repository}/tree/{quote(revision, safe='')}?recursive=true"
    found: list[dict[str, Any]] = []
    while url:
        answer = _get(url, shown, missing_is_none=revision == CONVERTED)
        if answer is None:
            return []
        with answer:
            try:
                entries = answer.json()
                paths = [entry["path"] for entry in entries if entry["type"] == "file"]
            except (ValueError, TypeError, KeyError):
                raise DataUnavailable(f"{shown}: the Hub's answer is not a list of files") from None
            url = answer.links.get("next", {}).get("url", "")
        _check_paths(paths, shown)
        found += [entry for entry in entries if entry["path"].lower().endswith(".parquet")]
    inside = f"{name.folder}/" if name.folder else ""
    chosen = [entry for entry in found if entry["path"].startswith(inside)]
    if found and not chosen:
        tops = sorted({entry["path"].partition("/")[0] for entry in found})
        raise UserError(f"{shown}: has no folder {one_line(name.folder)!r}; it has {quoted(tops)}")
    return chosen


def _check_paths(paths: Sequence[str], shown: str) -> None:
    for path in paths:
        parts = PurePosixPath(path).parts
        if ".." in parts or PurePosixPath(path).is_absolute() or "\\" in path or "\0" in path:
            raise DataUnavailable(f"{shown}: lists the file {one_line(path, 80)!r}, out of bounds")


def _fetch(
    name: HubName,
    revision: str,
    file: dict[str, Any],
    folder: Path,
    shown: str,
    progress: Progress | None,
) -> None:
    """One file, checked by its size and, where the Hub tells it, by its SHA-256."""
    path, size = folder / file["path"], int(file.get("size", 0))
    path.parent.mkdir(parents=True, exist_ok=True)
    if size > shutil.disk_usage(folder).free:
        raise UserError(
            f"{shown}: {one_line(file['path'])} has {size / 1e9:,.1f} GB, more than the disk has "
            "room for; set CONVSCOPE_CACHE to a folder with room"
        )
    url = (
        f"{_hub()}/datasets/{name.repository}/resolve/{quote(revision, safe='')}/"
        f"{quote(file['path'])}"
    )
    digest, done = hashlib.sha256(), 0
    answer = _get(url, shown)
    assert answer is not None
    with answer, open(path, "wb") as target:
        for piece in answer.iter_content(1 << 20):
            target.write(piece)
            digest.update(piece)
            done += len(piece)
            if done > size:
                break
            if progress is not None:
                progress(f"fetching {one_line(file['path'], 40)}", done, size)
    wanted = (file.get("lfs") or {}).get("oid", digest.hexdigest())
    if done != size or wanted != digest.hexdigest():
        raise DataUnavailable(f"{shown}: {one_line(file['path'])} came damaged; try again")


def _get(url: str, shown: str, missing_is_none: bool = False) -> Any:
    """An answer of the Hub. Raises DataUnavailable, with what can be done, for any other."""
    import requests

    remedy = "download it elsewhere and give the folder of its parquet files"
    try:
        answer = requests.get(url, stream=True, timeout=(CONNECT_SECONDS, READ_SECONDS))
    except requests.RequestException as error:
        why = type(error).__name__
        raise DataUnavailable(
            f"{shown}: the Hub {_hub()} cannot be reached ({why}); {remedy}"
        ) from None
    if answer.status_code == 404 and missing_is_none:
        return None
    if answer.status_code in (401, 403, 404):  # the Hub says 401 for what is not there, too
        raise DataUnavailable(
            f"{shown}: not on the Hub, or not public (HTTP {answer.status_code}); "
            f"check the name, or {remedy}"
        )
    if answer.status_code != 200:
        raise DataUnavailable(
            f"{shown}: the Hub answers HTTP {answer.status_code}; try later, or {remedy}"
        )
    return answer


def _hub() -> str:
    return os.environ.get("HF_ENDPOINT", HUB).rstrip("/")
