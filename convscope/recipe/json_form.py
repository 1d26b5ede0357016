"""A recipe as plain JSON values."""

from __future__ import annotations

import dataclasses
from typing import Any

from convscope.recipe.networks import MODELS


def to_json(value: Any) -> Any:
    """A recipe, or a part of one, as plain JSON values; a model carries its kind.

    A field that came after the first release is left out at its default, so that ids stay.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {
            f.name: to_json(getattr(value, f.name))
            for f in dataclasses.fields(value)
            if not (f.metadata.get("added") and getattr(value, f.name) == f.default)
        }
        kind = next((name for name, cls in MODELS.items() if type(value) is cls), None)
        return {"kind": kind, **fields} if kind else fields
    if isinstance(value, tuple | list):
        return [to_json(item) for item in value]
    return value
