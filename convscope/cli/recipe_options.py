"""An option of `convscope train` for each field of a recipe, made from the field itself.

Name, type, values and default come from the dataclass, the help text from its docstring.
"""

from __future__ import annotations

import dataclasses
import inspect
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, Literal

import typer

from convscope.recipe import Recipe, described_fields, hints_of
from convscope.words import listed

OTHERWISE_GIVEN = ("data", "model", "data_hash")  # an argument, an option of its own, a result
MEASURED = ("precision", "layout", "threads", "kernels")


def with_recipe_options(command: Callable[..., None]) -> Callable[..., None]:
    """`command` with an option for each field of Recipe in the place of its **changes.

    An option that is not given is None.
    """
    signature = inspect.signature(command, eval_str=True)
    parameters: list[inspect.Parameter] = []
    for parameter in signature.parameters.values():
        if parameter.kind is parameter.VAR_KEYWORD:
            parameters += recipe_options()
        else:
            parameters.append(parameter.replace(kind=parameter.KEYWORD_ONLY))
    vars(command)["__signature__"] = signature.replace(parameters=parameters)
    return command


def recipe_options() -> Iterable[inspect.Parameter]:
    """The fields of Recipe as keyword parameters with their typer options."""
    described = described_fields(Recipe)
    for field in dataclasses.fields(Recipe):
        if field.name not in OTHERWISE_GIVEN:
            yield option_of(field, hints_of(Recipe)[field.name], described.get(field.name, ""))


def option_of(field: dataclasses.Field[Any], hint: Any, described: str) -> inspect.Parameter:
    """One field as an option.

    field: the field.
    hint: its type.
    described: the sentence that explains it.
    """
    option = typer.Option(help=with_values(described, hint), show_default=default_of(field))
    return inspect.Parameter(
        field.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=None,
        annotation=Annotated[parsed_type(hint) | None, option],
    )


def parsed_type(hint: Any) -> type:
    """What the parser makes of the option's text; the recipe itself checks values and ranges."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        (hint,) = (part for part in typing.get_args(hint) if part is not type(None))
    return hint if hint in (int, float, bool) else str


def with_values(described: str, hint: Any) -> str:
    """The sentence with the values that the type allows."""
    if typing.get_origin(hint) is Literal:
        values = (f'"{value}"' if " " in value else value for value in typing.get_args(hint))
        return f"{described.rstrip('.')}: {listed(values, 'or')}."
    if typing.get_origin(hint) is tuple:
        return f"{described.rstrip('.')}, joined by commas."
    return described


def default_of(field: dataclasses.Field[Any]) -> str | bool:
    """What the help shows as the default of a recipe that no file gives; False shows none."""
    if field.name in MEASURED:
        return "measured"
    if field.name == "device":
        return "auto"
    if field.default is None:  # the sentence says what happens without it
        return False
    if isinstance(field.default, bool):
        return field.name if field.default else f"no-{field.name}"
    return ",".join(field.default) if isinstance(field.default, tuple) else str(field.default)


def given_fields(changes: Mapping[str, Any]) -> dict[str, Any]:
    """The options that were given, as values of the recipe's fields."""
    hints = hints_of(Recipe)
    return {
        name: tuple(part.strip() for part in value.split(","))
        if typing.get_origin(hints[name]) is tuple
        else value
        for name, value in changes.items()
        if value is not None
    }
