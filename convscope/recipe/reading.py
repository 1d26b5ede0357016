"""A recipe from JSON values or from a file."""

from __future__ import annotations

import dataclasses
import functools
import json
from pathlib import Path
from typing import Any

from convscope.errors import UserError, did_you_mean, one_line
from convscope.files import parse_json
from convscope.recipe.networks import MODELS, Custom, Model
from convscope.recipe.recipe import Recipe

MAX_RECIPE_BYTES = 1_000_000


def recipe_from_json(tree: Any) -> Recipe:
    """The recipe that `to_json` wrote or that a user wrote by hand.

    Keys that are missing have their defaults. Raises UserError that names the key that is wrong.
    """
    if not isinstance(tree, dict):
        raise UserError(f"a recipe is a JSON object, not {type(tree).__name__}")
    tree = dict(tree)
    if "model" in tree:
        tree["model"] = model_from_json(tree["model"])
    return _build(Recipe, tree)


def model_from_json(tree: Any) -> Model:
    """The network that `to_json` wrote; without a kind it is a ConvNet. Raises UserError."""
    kinds = ", ".join(MODELS)
    if not isinstance(tree, dict):
        raise UserError(f"model {one_line(tree)!r}: must be an object with a kind of {kinds}")
    kind = tree.get("kind", "convnet")
    if not isinstance(kind, str) or kind not in MODELS:
        raise UserError(f"model.kind {one_line(kind)!r}: must be one of {kinds}")
    fields = {k: v for k, v in tree.items() if k != "kind"}
    if kind == "custom":
        return _build(Custom, fields)  # its arguments may be changed: it is nobody else's
    try:
        return _built_once(kind, json.dumps(fields))
    except TypeError:  # no JSON: the check of its fields says more
        return _build(MODELS[kind], fields)


@functools.lru_cache(maxsize=1000)
def _built_once(kind: str, fields: str) -> Model:
    """A network of convscope's; of thousands of recipes in a folder many have the same."""
    return _build(MODELS[kind], json.loads(fields))


def _build(cls: type, tree: dict[str, Any]) -> Any:
    """The dataclass `cls` from its fields by name."""
    names, needed = _names_of(cls)
    if not tree.keys() <= names.keys():
        key = next(key for key in tree if key not in names)
        near = did_you_mean(key, list(names))
        raise UserError(f"unknown key {one_line(key)!r} in {cls.__name__}{near}")
    for name in needed:
        if name not in tree:
            raise UserError(f"{cls.__name__} needs the key {name!r}, which is missing")
    return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in tree.items()})


@functools.cache
def _names_of(cls: type) -> tuple[dict[str, None], tuple[str, ...]]:
    """The names of a dataclass's fields, and of those without a default; kept, as folders hold
    thousands of recipes.
    """
    fields, none = dataclasses.fields(cls), dataclasses.MISSING
    needed = (f.name for f in fields if f.default is none and f.default_factory is none)
    return dict.fromkeys(f.name for f in fields), tuple(needed)


def read_recipe(path: Path | str) -> Recipe:
    """The recipe in a file: strict JSON in UTF-8, at most a megabyte.

    Raises UserError, with line and column where the JSON is wrong: see `files.parse_json`.
    """
    path = Path(path)
    shown = f"recipe {one_line(path)}"
    if not path.exists():
        raise UserError(f"{shown}: no such file")
    if not path.is_file():
        raise UserError(f"{shown}: not a file")
    if (size := path.stat().st_size) > MAX_RECIPE_BYTES:
        raise UserError(f"{shown}: {size:,} bytes; a recipe has at most {MAX_RECIPE_BYTES:,}")
    try:
        return recipe_from_json(parse_json(path.read_bytes()))
    except UserError as error:
        raise UserError(f"{shown}: {error}") from None
