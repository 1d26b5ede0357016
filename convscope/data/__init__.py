"""Name, folder or file becomes a `Dataset` of uint8 tensors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convscope import lazily

if TYPE_CHECKING:
    from convscope.data.cache import cache_folder as cache_folder
    from convscope.data.dataset import Dataset as Dataset
    from convscope.data.dataset import Split as Split
    from convscope.data.dataset import info as info
    from convscope.data.loading import _hold_out as _hold_out
    from convscope.data.loading import fetch as fetch
    from convscope.data.loading import load as load
    from convscope.data.loading import names as names
    from convscope.data.sources import DataUnavailable as DataUnavailable

_HOMES = {
    "DataUnavailable": "sources",
    "Dataset": "dataset",
    "Split": "dataset",
    "_hold_out": "loading",
    "cache_folder": "cache",
    "fetch": "loading",
    "info": "dataset",
    "load": "loading",
    "names": "loading",
}
if not TYPE_CHECKING:  # else any name would pass for one of the face's
    __getattr__ = lazily(__name__, _HOMES)
