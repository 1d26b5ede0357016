"""Fields of a dataclass have the types and ranges that their annotations promise."""

from __future__ import annotations

import dataclasses
import functools
import math
import sys
import types
import typing
from typing import Any, Literal

from convscope.errors import UserError, one_line


@functools.cache
def hints_of(cls: type) -> dict[str, Any]:
    """Annotations as types: evaluating them takes most of the time of making a recipe, and a plan makes thousands."""
    return typing.get_type_hints(cls)


def check_types(value: Any) -> None:
    """Each field has the type that its annotation says: "10" is not 10, and True is not a count."""
    hints = hints_of(type(value))
    for f in dataclasses.fields(value):
        given = getattr(value, f.name)
        if (
            hints[f.name] is float
            and isinstance(given, int | float)
            and not isinstance(given, bool)
        ):
            if abs(given) > sys.float_info.max:
                raise UserError(f"{f.name} = {one_line(given, 60)}: {_expected(float)}")
            object.__setattr__(
                value, f.name, float(given) + 0.0
            )  # 1 and 1.0, -0.0 and 0.0 are the same recipe
        elif isinstance(given, list) and typing.get_origin(hints[f.name]) is tuple:
            object.__setattr__(value, f.name, tuple(given))
        given = getattr(value, f.name)
        if not _matches(given, hints[f.name]):
            raise UserError(f"{f.name} = {one_line(repr(given))}: {_expected(hints[f.name])}")


def _matches(value: Any, hint: Any) -> bool:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return any(_matches(value, arg) for arg in args)
    if origin is Literal:
        return isinstance(value, str) and value in args
    if origin is tuple:
        return isinstance(value, tuple) and all(_matches(item, args[0]) for item in value)
    if origin is dict:
        return isinstance(value, dict) and all(isinstance(key, str) for key in value)
    if hint in (int, float, bool, str):
        return type(value) is hint and not (isinstance(value, float) and not math.isfinite(value))
    return value is None if hint is type(None) else isinstance(value, hint)


def _expected(hint: Any) -> str:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return "one of " + ", ".join(args)
    if origin is tuple:
        return f"a list of {_expected(args[0])}"
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_expected(arg) for arg in args)
    plain = {
        int: "a whole number",
        float: "a finite number",
        bool: "true or false",
        str: "a text",
        type(None): "null",
    }
    return plain.get(hint, getattr(hint, "__name__", "an object"))


def check_range(value: Any, name: str, low: float, high: float) -> None:
    given = getattr(value, name)
    if given is not None and not low <= given <= high:
        raise UserError(f"{name} = {given}: from {low:,} to {high:,}")
