"""Data sets that this process has on its device, for the next runs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from convscope.data import Dataset, Options, load, load_by_hash
from convscope.errors import UserError, one_line
from convscope.recipe import Recipe
from convscope.training.tensors import Tensors, tensors_key, to_device

# data sets moved to the device, kept for the next runs of this process, the last used last
_resident: dict[tuple[object, ...], Tensors] = {}

KEPT_BYTES = 550_000_000  # of them, before another one is added

_by_hash: list[bool] = []  # holds something in a process that works for another machine


def find_data_by_hash() -> None:
    """From now on this process finds images by their hash: their path is another machine's."""
    _by_hash[:] = [True]


def dataset_of(recipe: Recipe, verify: bool = True) -> Dataset:
    """The data set that the recipe names, split as it says.

    verify: hash the cached files, which a parent process may have done just now.
    """
    if _by_hash and recipe.data_hash:
        return load_by_hash(recipe.data, recipe.data_hash, recipe.val, recipe.split_seed)
    return load(
        recipe.data,
        val=recipe.val,
        split_seed=recipe.split_seed,
        verify=verify,
        **vars(Options.of(recipe)),
    )


def resident(recipe: Recipe, data: Dataset | None = None) -> Tensors:
    """The recipe's data on its device; runs on the same data share them.

    A study's pilots on a part of the data don't drive out the whole. Raises UserError where the
    data are not those that the recipe was written for.
    """
    key = tensors_key(recipe)
    if key in _resident:
        _resident[key] = _resident.pop(key)
    else:
        data = data or dataset_of(recipe, verify=False)
        if recipe.data_hash not in ("", data.hash):
            raise UserError(
                f"data {one_line(recipe.data)!r} changed since the recipe was written: "
                f"{recipe.data_hash[:12]} then, {data.hash[:12]} now"
            )
        while _resident and sum(tensors.bytes() for tensors in _resident.values()) > KEPT_BYTES:
            _resident.pop(next(iter(_resident)))
        _resident[key] = to_device(data, recipe)
    return _resident[key]


@contextlib.contextmanager
def others_resident() -> Iterator[None]:
    """Inside, what this process has on its device is not seen, and what comes there is dropped."""
    known = dict(_resident)
    _resident.clear()
    try:
        yield
    finally:
        _resident.clear()
        _resident.update(known)
