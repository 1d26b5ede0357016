"""Data sets that this process has on its device, for the next runs."""

from __future__ import annotations

from convscope import data as datasets
from convscope.errors import UserError, one_line
from convscope.recipe import Recipe
from convscope.training.tensors import Tensors, tensors_key, to_device

_resident: dict[
    tuple[object, ...], Tensors
] = {}  # data sets moved to the device, kept for the next runs of this process, the last used last

KEPT_BYTES = 550_000_000  # of them, before another one is added


def load(recipe: Recipe, verify: bool = True) -> datasets.Dataset:
    return datasets.load(
        recipe.data, val=recipe.val, split_seed=recipe.split_seed, size=recipe.size, verify=verify
    )


def resident(recipe: Recipe, data: datasets.Dataset | None = None) -> Tensors:
    """The recipe's data on its device; runs on the same data share them, and a study's pilots on a part of them don't drive out the whole."""
    key = tensors_key(recipe)
    if key in _resident:
        _resident[key] = _resident.pop(key)
    else:
        data = data or load(recipe, verify=False)
        if recipe.data_hash not in ("", data.hash):
            raise UserError(
                f"data {one_line(recipe.data)!r} changed since the recipe was written: {recipe.data_hash[:12]} then, {data.hash[:12]} now"
            )
        while _resident and sum(tensors.bytes() for tensors in _resident.values()) > KEPT_BYTES:
            _resident.pop(next(iter(_resident)))
        _resident[key] = to_device(data, recipe)
    return _resident[key]
