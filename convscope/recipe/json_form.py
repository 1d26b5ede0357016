"""A recipe as plain JSON values."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

from convscope.recipe.networks import MODELS

PLAIN = (str, int, float, bool, type(None))


def to_json(value: Any) -> Any:
    """A recipe, or a part of one, as plain JSON values; a model carries its kind.

    A field that came after the first release is left out at its default, so that ids stay.
    """
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, tuple | list):
        return [to_json(item) for item in value]
    if not dataclasses.is_dataclass(value) or isinstance(value, type):
        return value
    kind, names = form_of(type(value))
    tree = {"kind": kind} if kind else {}
    for name, added, default in names:
        held = getattr(value, name)
        if not (added and held == default):
            tree[name] = held if type(held) in PLAIN else to_json(held)
    return tree


@functools.cache
def form_of(cls: type) -> tuple[str | None, list[tuple[str, bool, Any]]]:
    """A model's kind, and each field's name, whether it came later, and its default."""
    kind = next((name for name, known in MODELS.items() if cls is known), None)
    fields = dataclasses.fields(cls)
    return kind, [(f.name, bool(f.metadata.get("added")), f.default) for f in fields]
