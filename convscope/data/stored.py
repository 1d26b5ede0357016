"""The hash of images that the cache holds, without making tensors of them: torch stays away."""

from __future__ import annotations

from convscope.data.cache import FORMAT, Damaged, cache_folder, open_cached
from convscope.data.listed import Options
from convscope.data.resolving import resolve


def stored_hash(name_or_path: str, options: Options) -> str | None:
    """The hash of a data set, whose cached files are checked; None where the cache lacks it.

    name_or_path: as for `load`.
    options: how the user's own images are read.
    Raises UserError where there is no such data set.
    """
    folder = cache_folder() / "datasets" / f"{resolve(name_or_path, options).key}.v{FORMAT}"
    try:
        meta, _ = open_cached(folder, verify=True)
    except Damaged:  # absent, or for `load` to set aside
        return None
    return meta["hash"]
