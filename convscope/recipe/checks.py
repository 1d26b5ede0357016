"""Fields of a dataclass have the types and ranges that their annotations promise."""

from __future__ import annotations

import dataclasses
import functools
import math
import sys
import types
import typing
from collections.abc import Callable
from typing import Any, Literal

from convscope.errors import UserError, one_line

UNIONS = (typing.Union, types.UnionType)


@functools.cache
def hints_of(cls: type) -> dict[str, Any]:
    """Field -> type; kept, because evaluating annotations is slow and a plan has many recipes."""
    return typing.get_type_hints(cls)


def check_types(value: Any) -> None:
    """Each field of the dataclass `value` has the type of its annotation: "10" is no 10, True no 1.

    Where two spellings mean the same, one is stored, so that ids agree: whole numbers become
    floats in fields of floats, -0.0 becomes 0.0, lists become tuples. Raises UserError.
    """
    for name, hint, matches, plain in fields_of(type(value)):
        given = getattr(value, name)
        if type(given) in plain:
            continue  # of thousands of recipes nearly all fields are right
        if hint is float and isinstance(given, int | float) and not isinstance(given, bool):
            if abs(given) > sys.float_info.max:
                raise UserError(f"{name} = {one_line(given, 60)}: must be {_expected(float)}")
            given = float(given) + 0.0
            object.__setattr__(value, name, given)
        elif isinstance(given, list) and typing.get_origin(hint) is tuple:
            given = tuple(given)
            object.__setattr__(value, name, given)
        if not matches(given):
            raise UserError(f"{name} = {one_line(repr(given))}: must be {_expected(hint)}")


@functools.cache
def fields_of(cls: type) -> list[tuple[str, Any, Callable[[Any], bool], frozenset[type]]]:
    """Name, type, check, and the types of which any value will do, of each field.

    It is made once, because folders hold thousands of recipes.
    """
    hints = hints_of(cls)
    return [
        (f.name, hints[f.name], _check_of(hints[f.name]), _plain_of(hints[f.name]))
        for f in dataclasses.fields(cls)
    ]


def _plain_of(hint: Any) -> frozenset[type]:
    """The types of which a field takes any value: not floats, which must be finite."""
    args = typing.get_args(hint) if typing.get_origin(hint) in UNIONS else (hint,)
    return frozenset(arg for arg in args if arg in (int, bool, str, type(None)))


def check_range(value: Any, name: str, low: float, high: float) -> None:
    """The field is None or from `low` to `high`, both included; UserError where it is not."""
    given = getattr(value, name)
    if given is not None and not low <= given <= high:
        raise UserError(f"{name} = {given}: must be from {low:,} to {high:,}")


def _check_of(hint: Any) -> Callable[[Any], bool]:
    """Whether a value is of a type."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in UNIONS:
        checks = [_check_of(arg) for arg in args]
        return lambda value: any(check(value) for check in checks)
    if origin is Literal:
        return lambda value: isinstance(value, str) and value in args
    if origin is tuple:
        item = _check_of(args[0])
        return lambda value: isinstance(value, tuple) and all(map(item, value))
    if origin is dict:
        return lambda value: isinstance(value, dict) and all(isinstance(key, str) for key in value)
    if hint is float:
        return lambda value: type(value) is float and math.isfinite(value)
    if hint in (int, bool, str):
        return lambda value: type(value) is hint
    if hint is type(None):
        return lambda value: value is None
    return lambda value: isinstance(value, hint)


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
    if origin in UNIONS:
        return " or ".join(_expected(arg) for arg in args)
    return EXPECTED.get(hint, getattr(hint, "__name__", "an object"))
