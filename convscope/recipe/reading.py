"""A recipe from JSON values or from a file."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from convscope.errors import UserError, did_you_mean, one_line
from convscope.files import parse_json
from convscope.recipe.networks import MODELS, Model
from convscope.recipe.recipe import Recipe

MAX_RECIPE_BYTES = 1_000_000


def recipe_from_json(tree: Any) -> Recipe:
    """The recipe that `to_json` wrote, or that a user wrote by hand; UserError names the key that is wrong."""
    if not isinstance(tree, dict):
        raise UserError(f"a recipe is a JSON object, not {type(tree).__name__}")
    tree = dict(tree)
    if "model" in tree:
        tree["model"] = model_from_json(tree["model"])
    return _build(Recipe, tree)


def model_from_json(tree: Any) -> Model:
    if not isinstance(tree, dict):
        raise UserError(
            f"model: an object with a kind of {', '.join(MODELS)}, not {one_line(tree)!r}"
        )
    kind = tree.get("kind", "convnet")
    if not isinstance(kind, str) or kind not in MODELS:
        raise UserError(f"model.kind {one_line(kind)!r}: one of {', '.join(MODELS)}")
    return _build(MODELS[kind], {k: v for k, v in tree.items() if k != "kind"})


def _build(cls: type, tree: dict[str, Any]) -> Any:
    names = [f.name for f in dataclasses.fields(cls)]
    for key in tree:
        if key not in names:
            raise UserError(
                f"unknown key {one_line(key)!r} in {cls.__name__}{did_you_mean(key, names)}"
            )
    required = [
        f.name
        for f in dataclasses.fields(cls)
        if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    ]
    for key in required:
        if key not in tree:
            raise UserError(f"{cls.__name__} lacks {key!r}")
    return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in tree.items()})


def read_recipe(path: Path | str) -> Recipe:
    """A recipe file: strict JSON in UTF-8, without duplicate keys, NaN or infinities; errors give line and column."""
    path = Path(path)
    if not path.exists():
        raise UserError(f"recipe {one_line(path)}: no such file")
    if not path.is_file():
        raise UserError(f"recipe {one_line(path)}: not a file")
    if path.stat().st_size > MAX_RECIPE_BYTES:
        raise UserError(
            f"recipe {one_line(path)}: {path.stat().st_size:,} bytes; a recipe has at most {MAX_RECIPE_BYTES:,}"
        )
    try:
        return recipe_from_json(parse_json(path.read_bytes()))
    except UserError as error:
        raise UserError(f"recipe {one_line(path)}: {error}") from None
