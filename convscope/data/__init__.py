"""Name, folder or file becomes a `Dataset` of uint8 tensors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convscope import lazily

if TYPE_CHECKING:
    from convscope.data.alike import NearDuplicates as NearDuplicates
    from convscope.data.alike import near_duplicate_rows as near_duplicate_rows
    from convscope.data.alike import near_duplicates as near_duplicates
    from convscope.data.archives import is_archive as is_archive
    from convscope.data.archives import is_hidden as is_hidden
    from convscope.data.archives import opened_archive as opened_archive
    from convscope.data.by_hash import files_of as files_of
    from convscope.data.by_hash import folder_with as folder_with
    from convscope.data.by_hash import keep_files as keep_files
    from convscope.data.cache import cache_folder as cache_folder
    from convscope.data.class_balance import UNEQUAL as UNEQUAL
    from convscope.data.class_balance import ratio_of as ratio_of
    from convscope.data.control_groups import groups_of as groups_of
    from convscope.data.control_groups import memory_limit as memory_limit
    from convscope.data.dataset import Dataset as Dataset
    from convscope.data.dataset import Split as Split
    from convscope.data.dataset import info as info
    from convscope.data.depth import Scale as Scale
    from convscope.data.fetching import fetch as fetch
    from convscope.data.known import DataUnavailable as DataUnavailable
    from convscope.data.listed import Options as Options
    from convscope.data.listing import is_image as is_image
    from convscope.data.listing import text_of as text_of
    from convscope.data.loading import load as load
    from convscope.data.loading import load_by_hash as load_by_hash
    from convscope.data.outline import Outline as Outline
    from convscope.data.outline import check_there as check_there
    from convscope.data.resolving import names as names
    from convscope.data.stored import stored_hash as stored_hash
    from convscope.data.unlabelled import read_unlabelled as read_unlabelled

_HOMES = {
    "DataUnavailable": "known",
    "Dataset": "dataset",
    "NearDuplicates": "alike",
    "Outline": "outline",
    "Scale": "depth",
    "Split": "dataset",
    "UNEQUAL": "class_balance",
    "cache_folder": "cache",
    "Options": "listed",
    "check_there": "outline",
    "fetch": "fetching",
    "files_of": "by_hash",
    "folder_with": "by_hash",
    "groups_of": "control_groups",
    "info": "dataset",
    "is_archive": "archives",
    "is_hidden": "archives",
    "is_image": "listing",
    "keep_files": "by_hash",
    "load": "loading",
    "load_by_hash": "loading",
    "memory_limit": "control_groups",
    "names": "resolving",
    "near_duplicate_rows": "alike",
    "near_duplicates": "alike",
    "opened_archive": "archives",
    "ratio_of": "class_balance",
    "read_unlabelled": "unlabelled",
    "stored_hash": "stored",
    "text_of": "listing",
}
if not TYPE_CHECKING:  # else any name would pass for one of the face's
    __getattr__ = lazily(__name__, _HOMES)
