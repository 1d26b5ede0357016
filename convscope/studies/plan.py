"""What a study will train, fitted into a budget."""

from __future__ import annotations

from dataclasses import replace

from convscope.chapters import CHAPTERS
from convscope.errors import UserError
from convscope.machine import Costs
from convscope.planning import CHAPTER_OVERHEAD, OVERHEAD, BudgetFit, Context, duration, levels
from convscope.recipe import Recipe
from convscope.studies.folder import StudyFolder
from convscope.studies.study_json import Fitted
from convscope.studies.watcher import Watcher
from convscope.words import count

BATCH = 128


def planned(context: Context) -> dict[str, list[Recipe]]:
    """By chapter the recipes that it will ask for and no earlier one, as far as is known before."""
    plan: dict[str, list[Recipe]] = {}
    known: set[Recipe] = set()
    for name in context.chapters:
        recipes = dict.fromkeys(CHAPTERS[name].forecast(context))
        plan[name] = [recipe for recipe in recipes if recipe not in known]
        known.update(plan[name])
    return plan


def forecast(context: Context) -> list[Recipe]:
    """The same of all chapters."""
    return [recipe for recipes in planned(context).values() for recipe in recipes]


def fitted(
    folder: StudyFolder,
    context: Context,
    costs: Costs,
    budget: float,
    workers: int,
    watcher: Watcher,
) -> Context:
    """The context whose plan fits into a time budget by this machine's measured speed.

    folder: of the study; what an earlier process chose for the same request is kept there.
    context: as it is without a budget.
    costs: the seconds that runs take.
    budget: in seconds.
    workers: the number of processes that train.
    watcher: is told what the budget takes away.
    Raises UserError where not even the smallest plan fits.
    """
    asked = Fitted(budget, context.preset, context.chapters, len(context.seeds), BudgetFit())
    kept = folder.fitted
    if kept is not None and replace(kept, fit=asked.fit) == asked:
        return with_fit(context, kept.fit)
    fixed = OVERHEAD + CHAPTER_OVERHEAD * len(context.chapters)
    seconds = 0.0
    for fit in levels(len(context.seeds)):
        plan = forecast(with_fit(context, fit))
        seconds = fixed + sum(costs.run(recipe) for recipe in plan) / workers
        if seconds <= budget:
            folder.fitted = replace(asked, fit=fit)
            folder.save()
            if not fit.whole:
                watcher.say(taken_away(fit, budget, context.preset))
            return with_fit(context, fit)
    raise UserError(
        f"budget = {duration(budget)}: the smallest plan takes about {duration(seconds)} here; "
        "give more time or name fewer chapters"
    )


def with_fit(context: Context, fit: BudgetFit) -> Context:
    return replace(context, fit=fit, seeds=context.seeds[: fit.seeds])


def taken_away(fit: BudgetFit, budget: float, preset: str) -> str:
    """What a budget leaves of a preset, in one line."""
    left = [f"{100 * fit.epochs:g} % of the epochs and trials"]
    left += [count(fit.seeds, "seed")] if fit.seeds else []
    left += [f"{100 * fit.images:g} % of the training images"] if fit.images < 1 else []
    return f"to fit into {duration(budget)}: {', '.join(left)} of the preset {preset}"
