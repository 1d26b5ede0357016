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
    """Field -> type; kept, because evaluating annotations is slow and a plan has many recipes."""
    return typing.get_type_hints(cls)


def check_types(value: Any) -> None:
    """Each field of the dataclass `value` has the type of its annotation: "10" is no 10, True no 1.

    Where two spellings mean the same, one is stored, so that ids agree: whole numbers become
    floats in fields of floats, -0.0 becomes 0.0, lists become tuples. Raises UserError.
    """
    hints = hints_of(type(value))
    for f in dataclasses.fields(value):
        hint, given = hints[f.name], getattr(value, f.name)
        if hint is float and isinstance(given, int | float) and not isinstance(given, bool):
            if abs(given) > sys.float_info.max:
                raise UserError(f"{f.name} = {one_line(given, 60)}: must be {_expected(float)}")
            object.__setattr__(value, f.name, float(given) + 0.0)
        elif isinstance(given, list) and typing.get_origin(hint) is tuple:
            object.__setattr__(value, f.name, tuple(given))
        given = getattr(value, f.name)
        if not _matches(given, hint):
            raise UserError(f"{f.name} = {one_line(repr(given))}: must be {_expected(hint)}")


def check_range(value: Any, name: str, low: float, high: float) -> None:
    """The field is None or from `low` to `high`, both included; UserError where it is not."""
    given = getattr(value, name)
    if given is not None and not low <= given <= high:
        raise UserError(f"{name} = {given}: must be from {low:,} to {high:,}")


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


EXPECTED = {
    int: "a whole number",
    float: "a finite number",
    bool: "true or false",
    str: "a text",
    type(None): "null",
}


def _expected(hint: Any) -> str:
    """The type in words, for messages."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return "one of " + ", ".join(args)
    if origin is tuple:
        return f"a list, each item {_expected(args[0])}"
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_expected(arg) for arg in args)
    return EXPECTED.get(hint, getattr(hint, "__name__", "an object"))
