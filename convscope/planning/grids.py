"""What a user sets in the place of a chapter's preset: widths, depths, epochs, seeds, images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, TypeVar

from convscope.errors import UserError, did_you_mean, one_line

if TYPE_CHECKING:
    from convscope.planning.context import Context

# by chapter its settings: numbers, or lists of them in ascending order
SETTINGS: dict[str, dict[str, type]] = {
    "capacity": {"widths": list, "depths": list, "images": list, "epochs": int, "seeds": int},
    "ordering": {"images": int, "epochs": int, "seeds": int},
    "nonlinearity": {"images": int, "epochs": int, "seeds": int},
    "receptive_field": {"images": int, "epochs": int, "seeds": int},
}

MOST: dict[str, int] = {
    "widths": 65_536,
    "depths": 200,
    "images": 2**40,
    "epochs": 1_000_000,
    "seeds": 1000,
}

P = TypeVar("P")


class Exact(int):
    """Epochs that a user has set, which are not fitted to the number of images."""


def checked_grids(given: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """By chapter its settings. Raises UserError for one that is unknown or cannot be."""
    found: dict[str, dict[str, Any]] = {}
    for chapter, settings in given.items():
        if chapter not in SETTINGS:
            raise UserError(f"chapter {one_line(chapter)!r}{did_you_mean(chapter, SETTINGS)}")
        if not isinstance(settings, Mapping):
            raise UserError(f"{chapter} = {one_line(settings)}: a table [{chapter}] is expected")
        for key, value in settings.items():
            known = SETTINGS[chapter]
            if key not in known:
                raise UserError(
                    f"unknown key {one_line(key)!r} in [{chapter}]{did_you_mean(key, known)}"
                )
            checked = checked_numbers if known[key] is list else checked_number
            found.setdefault(chapter, {})[key] = checked(f"{chapter}.{key}", value, MOST[key])
    return found


def checked_number(name: str, value: Any, most: int) -> int:
    if type(value) is not int or not 1 <= value <= most:
        raise UserError(f"{name} = {one_line(value)}: a whole number from 1 to {most:,}")
    return value


def checked_numbers(name: str, value: Any, most: int) -> list[int]:
    numbers = value if isinstance(value, list | tuple) else [value]
    if not numbers:
        raise UserError(f"{name} = []: a list of whole numbers is expected")
    checked = [checked_number(name, number, most) for number in numbers]
    if checked != sorted(set(checked)):
        raise UserError(f"{name} = {one_line(list(numbers))}: ascending numbers are expected")
    return checked


def asked_of(context: Context, chapter: str) -> Mapping[str, Any]:
    """What a user has set of a chapter."""
    return context.grids.get(chapter, {})


def preset_of(context: Context, chapter: str, presets: Mapping[str, P]) -> P:
    """The study's preset of a chapter, with what a user has set in its place."""
    preset: Any = presets[context.preset]
    asked = asked_of(context, chapter)
    known = {field.name for field in fields(preset)}
    changes = {key: value for key, value in asked.items() if key in known}
    if "epochs" in changes:
        changes["epochs"] = Exact(changes["epochs"])
    return replace(preset, **changes) if changes else preset
