"""JSON schemas of the TOML files, for editors: made from what reads the files.

python -m convscope.studies.schemas writes docs/study.schema.json and docs/sweep.schema.json.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from pathlib import Path
from typing import Any, Literal

from convscope.files import write_json
from convscope.planning import SETTINGS
from convscope.recipe import ConvNet, Recipe, described_fields, hints_of
from convscope.studies.study_file import KEYS, MACHINE, RESOLVED
from convscope.studies.sweep_request import ASKED, START_FIELDS

DRAFT = "https://json-schema.org/draft/2020-12/schema"

NAMES: dict[Any, str] = {str: "string", int: "integer", float: "number", list: "array"}
NAMES |= {bool: "boolean", dict: "object", types.NoneType: "null"}

CHAPTER_KEYS = {
    "widths": "Filters of the first block, ascending.",
    "depths": "Blocks, ascending; each depth is a series of all widths.",
    "images": "Training images: for capacity an ascending list, else the most.",
    "epochs": "Epochs of each run, whatever the number of images.",
    "seeds": "Seeds of each network: for capacity so many, else at least so many.",
}

SWEEP_KEYS: dict[str, tuple[Any, str]] = {
    "compare": (
        {"type": "array", "items": {"type": "array", "items": {"type": "string"}}},
        'Pairs of configurations, as ["width=32", "width=16"]; without it every pair, '
        "where that makes at most ten, else each against the first.",
    ),
    "margin": (
        {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 100},
        "The difference that does not matter: in percentage points, or in nats.",
    ),
    "measure": ({"enum": ["accuracy", "loss"]}, "What is compared."),
    "split": ({"enum": ["test", "val"]}, "The images: choose by val, and quote test once."),
    "out": ({"type": "string"}, "The sweep's folder; without it, runs/NAME of the file."),
    "workers": ({"type": "integer", "minimum": 1}, "Processes that train; measured without it."),
    "track": (
        {"type": ["string", "array"], "items": {"type": "string"}},
        "Mirror every run in trackers: wandb, tensorboard, mlflow, trackio.",
    ),
    "engine": ({"enum": ["local", "ray"]}, "Where runs are trained: this machine, or a cluster."),
    "address": ({"type": "string"}, "The Ray cluster's address, as auto or HOST:PORT."),
    "silence": ({"type": ["string", "number"]}, "End a run that reports nothing for so long."),
    "seeds": (
        {"type": ["integer", "array"], "items": {"type": "integer"}, "minimum": 1},
        "Seeds of each configuration: their number, or a list; 3 without it.",
    ),
}


def study_schema() -> dict[str, Any]:
    """Of a study's file."""
    keys = {
        name: {"type": [NAMES[kind] for kind in listed(kinds)], "description": said}
        for name, (kinds, said) in KEYS.items()
    }
    chapters = {
        chapter: table(
            {
                key: {**numbers(kind), "description": CHAPTER_KEYS[key]}
                for key, kind in settings.items()
            },
            f"What takes the place of the preset in the chapter {chapter}.",
        )
        for chapter, settings in SETTINGS.items()
    }
    machine = {
        name: {**type_of(hints_of(Recipe)[name]), "description": described_fields(Recipe)[name]}
        for name in MACHINE
        if name != "workers"
    }
    machine["workers"] = {"type": "integer", "description": "Processes that train."}
    resolved = {
        "data_hash": {"type": "string", "description": RESOLVED["data_hash"]},
        "machine": table(machine, RESOLVED["machine"]),
        "fit": table(
            {
                "epochs": {"type": "number"},
                "images": {"type": "number"},
                "seeds": {"type": "integer"},
            },
            RESOLVED["fit"],
        ),
    }
    return whole("A study of convscope", {**keys, **chapters, **resolved})


def sweep_schema() -> dict[str, Any]:
    """Of a sweep's file."""
    said = described_fields(Recipe)
    model = {
        "type": ["string", "object"],
        "description": "A name as course-2,width=16, "
        "package.module:factory,argument=value, or a table of the network's fields.",
    }
    recipe = {
        name: {**type_of(hints_of(Recipe)[name]), "description": said.get(name, "")}
        for name in START_FIELDS
        if name != "model"
    } | {"model": model}
    asked = {name: {**kind, "description": text} for name, (kind, text) in SWEEP_KEYS.items()}
    assert set(asked) == set(ASKED)
    known = {**said, **described_fields(ConvNet)}
    values = {"type": "array", "minItems": 1}
    grid = {
        "type": "object",
        "description": "Setting -> its values, in all combinations: of a recipe, of its network, "
        "or an argument of a factory.",
        "properties": {n: {**values, "description": t} for n, t in known.items() if n != "seed"},
        "additionalProperties": values,
    }
    one = table(
        {**recipe, "seed": {"type": "integer"}, "name": {"type": "string"}}, "A recipe of the list."
    )
    one["additionalProperties"] = True  # fields of its network
    recipes = {
        "type": "array",
        "minItems": 1,
        "items": {"anyOf": [one, {"type": "string"}]},
        "description": "Recipes: tables, or names of recipe files.",
    }
    return whole("A sweep of convscope", {**asked, **recipe, "recipes": recipes, "grid": grid})


def whole(title: str, keys: dict[str, Any]) -> dict[str, Any]:
    return {"$schema": DRAFT, "title": title, **table(keys, title)}


def table(keys: dict[str, Any], said: str) -> dict[str, Any]:
    return {
        "type": "object",
        "description": said,
        "properties": keys,
        "additionalProperties": False,
    }


def listed(kinds: Any) -> tuple[Any, ...]:
    return kinds if isinstance(kinds, tuple) else (kinds,)


def numbers(kind: type) -> dict[str, Any]:
    number = {"type": "integer", "minimum": 1}
    return {"type": "array", "items": number, "minItems": 1} if kind is list else number


def type_of(hint: Any) -> dict[str, Any]:
    """The schema of a field's type; None cannot be written in TOML."""
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        kept = [part for part in parts if part is not types.NoneType]
        return type_of(kept[0]) if len(kept) == 1 else {"anyOf": list(map(type_of, kept))}
    if origin is Literal:
        return {"enum": list(parts)}
    if origin is tuple:
        return {"type": "array", "items": type_of(parts[0])}
    if dataclasses.is_dataclass(hint):
        return {"type": "object"}
    return {"type": NAMES[hint]}


SCHEMAS = {"study": study_schema, "sweep": sweep_schema}

if __name__ == "__main__":
    for name, schema in SCHEMAS.items():
        write_json(Path("docs") / f"{name}.schema.json", schema())
