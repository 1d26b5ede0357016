"""A run that is finished is answered at once: torch, which takes seconds, is not imported."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convscope.cli.recipe_options import MEASURED
from convscope.cli.refusals import has_no_gpu
from convscope.errors import UserError
from convscope.recipe import Custom, Recipe, read_recipe

if TYPE_CHECKING:
    from convscope.training import Run


def finished_already(recipe: Recipe, given: Mapping[str, Any], out: Path) -> Run | None:
    """The finished run of what is asked for; None where that takes more to be known.

    recipe: what is asked for.
    given: the fields that options give; of the others, what is measured is taken from the run.
    out: the folder of runs.

    Its files and its images are checked, as training them would. A user's factory, which has to be
    imported, a machine with a GPU and whatever is damaged are left to the usual way.
    """
    from convscope.data import Options, stored_hash
    from convscope.training import read_run, run_path

    on_cpu = recipe.device == "cpu" or (recipe.device == "auto" and has_no_gpu())
    if isinstance(recipe.model, Custom) or not on_cpu or not any(out.glob("*/result.json")):
        return None
    begun = begun_as(replace(recipe, device="cpu"), given, out)
    if begun is None:
        return None
    try:
        found = stored_hash(begun.data, Options.of(begun))
        if found is None or recipe.data_hash not in ("", found):
            return None
        known = replace(begun, data_hash=found)
        path = run_path(known, out)
        run = read_run(path) if (path / "result.json").exists() else None
    except (UserError, OSError):
        return None
    return None if run is None or run.status == "failed" else replace(run, recipe=known)


def begun_as(recipe: Recipe, given: Mapping[str, Any], out: Path) -> Recipe | None:
    """The recipe as a run in `out` was begun, which goes on with what was measured then.

    recipe: what is asked for.
    given: the fields that options give, which are not taken from the run.
    out: the folder of runs; of several that agree, a finished one goes before the others.
    """
    free = [name for name in MEASURED if name not in given]
    found: Recipe | None = None
    paths = sorted(out.glob("*/recipe.json"))
    if paths and isinstance(recipe.model, Custom):  # a run has the hashes of its sources
        from convscope.models import with_sources

        recipe = replace(recipe, model=with_sources(recipe.model))
    for path in paths:
        try:
            begun = read_recipe(path)
        except (UserError, OSError):
            continue
        same = replace(recipe, data_hash="", **{name: getattr(begun, name) for name in free})
        if replace(begun, data_hash="") == same:
            found = same if found is None or (path.parent / "result.json").exists() else found
    return found
