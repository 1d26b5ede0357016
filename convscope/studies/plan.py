"""What a study will train, fitted into a budget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from convscope.chapters import CHAPTERS
from convscope.errors import UserError, did_you_mean, one_line
from convscope.machine import Costs
from convscope.planning import CHAPTER_OVERHEAD, OVERHEAD, Context, Fit, duration, levels
from convscope.recipe import Recipe
from convscope.studies.folder import read_study, write_study
from convscope.studies.watcher import Watcher

PRESETS = ("quick", "standard", "full")

SEEDS = {"quick": 2, "standard": 3, "full": 5}

BATCH = 128


def planned(context: Context) -> dict[str, list[Recipe]]:
    """By chapter the recipes that it will ask for and no earlier one, as far as is known before anything is trained."""
    plan: dict[str, list[Recipe]] = {}
    known: set[Recipe] = set()
    for name in context.chapters:
        plan[name] = [
            recipe
            for recipe in dict.fromkeys(CHAPTERS[name].forecast(context))
            if recipe not in known
        ]
        known.update(plan[name])
    return plan


def forecast(context: Context) -> list[Recipe]:
    """The same of all chapters."""
    return [recipe for recipes in planned(context).values() for recipe in recipes]


def fitted(
    root: Path, context: Context, costs: Costs, budget: float, workers: int, watcher: Watcher
) -> Context:
    """The context whose plan fits into the budget by the measured speed; what an earlier process chose for the same request is kept."""
    known = read_study(root)

    def with_(fit: Fit) -> Context:
        return replace(context, fit=fit, seeds=context.seeds[: fit.seeds])

    asked = {
        "budget": budget,
        "preset": context.preset,
        "chapters": list(context.chapters),
        "seeds": len(context.seeds),
    }
    kept = known.get("fitted")
    if isinstance(kept, dict) and {key: kept.get(key) for key in asked} == asked:
        return with_(Fit(**kept["fit"]))
    fixed = OVERHEAD + CHAPTER_OVERHEAD * len(context.chapters)
    seconds = 0.0
    for fit in levels(len(context.seeds)):
        seconds = fixed + sum(costs.run(recipe) for recipe in forecast(with_(fit))) / workers
        if seconds <= budget:
            write_study(root, {**known, "fitted": {**asked, "fit": asdict(fit)}})
            if not fit.whole:
                told = [
                    f"{100 * fit.epochs:g} % of the epochs and trials",
                    *([f"{fit.seeds} seed{'s' if fit.seeds > 1 else ''}"] if fit.seeds else []),
                ]
                told += [f"{100 * fit.images:g} % of the training images"] if fit.images < 1 else []
                watcher.say(
                    f"to fit into {duration(budget)}: {', '.join(told)} of the preset {context.preset}"
                )
            return with_(fit)
    raise UserError(
        f"budget = {duration(budget)}: the smallest plan takes about {duration(seconds)} here; give more time or name fewer chapters"
    )


def chosen_chapters(chapters: Sequence[str] | None) -> list[str]:
    names = list(dict.fromkeys(chapters)) if chapters else list(CHAPTERS)
    for name in names:
        if name not in CHAPTERS:
            raise UserError(f"chapter {one_line(name)!r}{did_you_mean(name, CHAPTERS)}")
    return names
