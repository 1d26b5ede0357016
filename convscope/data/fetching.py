"""A data set is brought into the cache and checked; bad images are refused without torch."""

from __future__ import annotations

from pathlib import Path

from convscope.data.cache import Stored, cached
from convscope.data.content import Content, Progress
from convscope.data.listed import Options
from convscope.data.resolving import Request, resolve
from convscope.data.splitting import with_test


def fetch(
    name_or_path: str | Path,
    *,
    size: int | None = None,
    columns: str | None = None,
    group_by: str | None = None,
    resize: str = "crop",
    classes: str = "folders",
    progress: Progress | None = None,
) -> Path:
    """Make sure that the cache holds the data set, whole and checked; returns its folder.

    name_or_path: as for `load`.
    size: as for `load`.
    columns: as for `load`.
    group_by: as for `load`.
    resize: as for `load`.
    classes: as for `load`.
    progress: as for `load`.

    Raises what `load` raises.
    """
    request = resolve(name_or_path, Options(size, columns, group_by, resize, classes))
    return in_cache(request, progress, verify=True)[0]


def in_cache(
    request: Request, progress: Progress | None, verify: bool
) -> tuple[Path, Stored, list[str]]:
    """A data set's folder in the cache, what it holds, and remarks on a damaged copy.

    request: what was asked for.
    progress: as for `load`.
    verify: whether the files' hash is checked, not only their sizes and headers.

    Raises what `load` raises of the images as a whole.
    """

    def make(workspace: Path) -> Content:
        return with_test(request.make(workspace, progress), request.shown)

    return cached(request.key, make, verify)
