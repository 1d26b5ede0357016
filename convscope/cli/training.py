"""`convscope train`."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from convscope.cli.finished import begun_as, finished_already
from convscope.cli.options import MODEL, Data, Json, Track, restrict_kernels
from convscope.cli.printing import aside, print_epoch, say, show
from convscope.cli.recipe_options import MEASURED, given_fields, with_recipe_options
from convscope.cli.refusals import folder_of, refuse, refuse_tracker
from convscope.recipe import Recipe, read_recipe
from convscope.recipes import NAMED, named
from convscope.words import listed

if TYPE_CHECKING:
    from convscope.data import Dataset
    from convscope.training import Run

FAILED = ("failed", "out_of_memory", "diverged")
NUMERICS = ("precision", "layout", "kernels")


@with_recipe_options
def train(
    data: Data = None,
    recipe: Annotated[
        str | None,
        typer.Option(help=f"A recipe file (JSON), or a named one: {listed(NAMED, 'or')}."),
    ] = None,
    model: Annotated[str | None, typer.Option(help=MODEL)] = None,
    out: Annotated[str, typer.Option(help="The run goes to OUT/ID.")] = "runs",
    track: Track = None,
    as_json: Json = False,
    **changes: Any,
) -> None:
    """Train one network.

    Options change the recipe's values; what neither gives has the default. A recipe file says how
    the machine computes, too: with one, nothing is measured.
    """
    given = given_fields({**changes, "data": data})
    folder = folder_of(out)
    refuse_tracker(track)
    refuse(with_model(replace(drafted(recipe), **given), model))
    from convscope.studies import trackers

    done = known_run(recipe, model, given, folder)
    if done is not None and trackers.all_have(track, folder, done.id):
        told(done, as_json)
        return
    with aside():
        run = trained(recipe, model, given, folder, track)
    told(run, as_json)


def trained(
    recipe: str | None, model: str | None, given: dict[str, Any], folder: Path, track: str | None
) -> Run:
    """The run that is asked for, trained.

    recipe, model, track: what these options give.
    given: the fields that options give.
    folder: of runs.
    """
    base, loaded = starting_point(recipe, given)
    from convscope.studies import trackers
    from convscope.training import check_device, keep_freed_memory

    keep_freed_memory()
    device = given.pop("device", None)
    changed = with_model(replace(base, **given), model)
    from_file = recipe is not None and loaded is None  # a file says how the machine computes
    if device or not from_file:
        changed = replace(changed, device=check_device(device or "auto"))
    if not from_file:
        begun = begun_as(changed, given, folder)
        if begun is None:
            loaded = loaded or checked_data(changed)
        changed = begun or measured(changed, given)
    loaded = said_first(changed, loaded)
    return trackers.train_tracked(changed, folder, track, data=loaded, log=print_epoch, say=say)


def told(run: Run, as_json: bool) -> None:
    """Print a run; exit with 1 where it has no result."""
    tree = {"id": run.id, "path": str(run.path), "status": run.status}
    show(run, as_json, {**tree, "size": run.size, "rows": run.rows})
    if run.status in FAILED:
        raise typer.Exit(1)


def known_run(
    source: str | None, model: str | None, given: dict[str, Any], out: Path
) -> Run | None:
    """The finished run that is asked for, found without torch; None where that is not known.

    source: what --recipe names: a file, a named recipe, or None for the default recipe.
    model: what --model names.
    given: the fields that options give.
    out: the folder of runs.
    """
    if source is None:
        asked = with_model(replace(Recipe(), **{"device": "auto", **given}), model)
        return finished_already(asked, given, out)
    if source in NAMED and not Path(source).exists():
        return None  # its batch depends on the images
    asked = with_model(replace(read_recipe(source), **given), model)
    return finished_already(asked, dict.fromkeys(MEASURED), out)


def with_model(recipe: Recipe, model: str | None) -> Recipe:
    """The recipe with the network that --model names."""
    if model is None:
        return recipe
    from convscope.models import parse_model

    return replace(recipe, model=parse_model(model))


def drafted(source: str | None) -> Recipe:
    """The recipe that options change, as far as it is known before data are loaded."""
    if source is None or (source in NAMED and not Path(source).exists()):
        return Recipe(batch=1)  # a named one takes the batch that suits the data
    return read_recipe(source)


def checked_data(recipe: Recipe) -> Dataset:
    """The images; UserError where the recipe does not fit them, which is said before measuring."""
    from convscope.models import size_of
    from convscope.training import check_batch, check_crop, dataset_of

    loaded = dataset_of(recipe)
    check_batch(recipe, min(len(loaded.train), recipe.limit or len(loaded.train)))
    check_crop(recipe, loaded.in_shape)
    size_of(recipe.model, loaded.in_shape, loaded.num_classes)
    return loaded


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
    from convscope.machine import Numerics, best_numerics, best_threads, recalled

    if not set(NUMERICS) <= set(given):
        if "kernels" in given and recipe.kernels == "library":
            restrict_kernels(recipe.kernels)
        device = recipe.device
        name = f"numerics {device}"
        best = recalled(name, lambda: best_numerics(device), lambda tree: Numerics(**tree))
        found: dict[str, Any] = {name: getattr(best, name) for name in NUMERICS}
        if all(getattr(recipe, name) == found[name] for name in NUMERICS if name in given):
            recipe = replace(recipe, **found)
    if "threads" not in given:
        way = Numerics(recipe.precision, recipe.layout, recipe.kernels, {})
        recipe = replace(recipe, threads=best_threads(recipe.device, way))
    return recipe
