"""`convscope train`."""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from convscope.cli.options import Data, Json, Track, restrict_kernels
from convscope.cli.printing import print_epoch, say, show
from convscope.cli.recipe_options import given_fields, with_recipe_options
from convscope.errors import UserError, one_line
from convscope.recipe import Custom, Recipe, read_recipe
from convscope.recipes import NAMED, named
from convscope.words import listed

if TYPE_CHECKING:
    from convscope.data import Dataset

FAILED = ("failed", "out_of_memory", "diverged")
NUMERICS = ("precision", "layout", "kernels")


@with_recipe_options
def train(
    data: Data = None,
    recipe: Annotated[
        str | None,
        typer.Option(help=f"A recipe file (JSON), or a named one: {listed(NAMED, 'or')}."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="A known name, with changes: course-2,width=16; or package.module:factory."
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="The run goes to OUT/ID.")] = Path("runs"),
    track: Track = None,
    as_json: Json = False,
    **changes: Any,
) -> None:
    """Train one network.

    Options change the recipe's values; what neither gives has the default. A recipe file says how
    the machine computes, too: with one, nothing is measured.
    """
    given = given_fields({**changes, "data": data})
    base, loaded = starting_point(recipe, given)
    from convscope.models import parse_model, size_of
    from convscope.studies import trackers
    from convscope.training import check_device, dataset_of, keep_freed_memory

    keep_freed_memory()
    check_writable(out)
    device = given.pop("device", None)
    changed = replace(base, **given)
    if model is not None:
        changed = replace(changed, model=parse_model(model))
    from_file = recipe is not None and loaded is None  # a file says how the machine computes
    if device or not from_file:
        changed = replace(changed, device=check_device(device or "auto"))
    if isinstance(changed.model, Custom):  # refused before this machine is measured
        loaded = loaded or dataset_of(changed)
        size_of(changed.model, loaded.in_shape, loaded.num_classes)
    if not from_file:
        changed = measured(changed, given)
    loaded = said_first(changed, loaded)
    run = trackers.train_tracked(changed, out, track, data=loaded, log=print_epoch, say=say)
    tree = {"id": run.id, "path": str(run.path), "status": run.status}
    show(run, as_json, {**tree, "size": run.size, "rows": run.rows})
    if run.status in FAILED:
        raise typer.Exit(1)


def starting_point(source: str | None, given: dict[str, Any]) -> tuple[Recipe, Dataset | None]:
    """The recipe that the options change, and the data where they had to be loaded for it.

    source: what --recipe names: a file, a named recipe, or None for the default recipe.
    given: the fields that options give.
    """
    if source is None:
        return Recipe(), None
    if source not in NAMED or Path(source).exists():
        return read_recipe(source), None
    from convscope.training import dataset_of

    loaded = dataset_of(
        replace(named(source, 1), **given)
    )  # its data do not depend on their number
    return named(source, min(given.get("limit", len(loaded.train)), len(loaded.train))), loaded


def said_first(recipe: Recipe, loaded: Dataset | None) -> Dataset:
    """The recipe's data; how files were read is said before anything is trained."""
    from convscope.training import dataset_of

    data = loaded or dataset_of(recipe)
    for line in data.said:
        say(line)
    return data


def measured(recipe: Recipe, given: Collection[str]) -> Recipe:
    """The recipe with the fastest precision, layout, kernels and threads of this machine.

    recipe: with the device that is measured.
    given: fields that stay. The first three are measured together: where one of them is given
        and is not the fastest, the other two stay as well, at defaults that suit each other.
    """
    from convscope.machine import Numerics, best_numerics, best_threads

    if not set(NUMERICS) <= set(given):
        if "kernels" in given and recipe.kernels == "library":
            restrict_kernels(recipe.kernels)
        best = best_numerics(recipe.device)
        found: dict[str, Any] = {name: getattr(best, name) for name in NUMERICS}
        if all(getattr(recipe, name) == found[name] for name in NUMERICS if name in given):
            recipe = replace(recipe, **found)
    if "threads" not in given:
        way = Numerics(recipe.precision, recipe.layout, recipe.kernels, {})
        recipe = replace(recipe, threads=best_threads(recipe.device, way))
    return recipe


def check_writable(out: Path) -> None:
    """UserError where no folder can be made at `out`."""
    shown = f"out {one_line(out)!r}"
    try:
        there = next(
            folder for folder in [out.absolute(), *out.absolute().parents] if folder.exists()
        )
    except OSError as error:
        raise UserError(f"{shown}: {error.strerror}; name another folder") from None
    if not there.is_dir():
        raise UserError(f"{shown}: {one_line(there)} is a file; name a folder")
    if not os.access(there, os.W_OK):
        raise UserError(f"{shown}: read-only; name a folder that can be written")
