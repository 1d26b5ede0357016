"""What a study will train, fitted into a budget."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from convscope.chapters import CHAPTERS
from convscope.errors import UserError
from convscope.machine import Costs, cost_kind
from convscope.planning import (
    CHAPTER_OVERHEAD,
    OVERHEAD,
    WELL_IMAGES,
    BudgetFit,
    Context,
    asked_well,
    asks_well,
    by_worth,
    duration,
    in_order,
    last_levels,
    least_well,
    levels,
)
from convscope.recipe import Recipe
from convscope.studies.folder import StudyFolder
from convscope.studies.study_json import Fitted
from convscope.studies.watcher import Watcher
from convscope.words import count

if TYPE_CHECKING:
    from convscope.data import Dataset

BATCH = 128

AFTER = 8.0  # seconds from the last finding to the end: the report

# of the training's estimate; what a time budget cuts off, beyond its slack, loses its last runs. A
# quiet machine has taken 6 to 8 % less than the estimate, whole `quick` studies of CIFAR-10.
RESERVE = 1.05

FASTEST = 4e11  # FLOPs a second of a core, more than any of today has in training

MOST_MORE = 2  # times that seeds may be added; every look more takes its share of the error

FINELY = 600.0  # seconds below which a refusal tells them one by one


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


def costs_in(folder: StudyFolder, data: Dataset, recipes: Sequence[Recipe]) -> Costs | None:
    """What runs cost by the figures that a study measured; None where it has none.

    data: the images.
    recipes: whose kinds of run the study may have timed; others are estimated from these.
    """
    if not folder.costs:
        return None
    made = Costs(data, folder.costs, list(dict.fromkeys(map(cost_kind, recipes))))
    return made if any(made.flops.values()) else None


def workers_of(context: Context, folder: StudyFolder) -> int:
    """The processes that train, as a study's folder has them where its report is written again."""
    return max(1, folder.choice.workers if folder.choice is not None else context.workers)


def fitted(
    folder: StudyFolder,
    context: Context,
    costs: Costs,
    budget: float,
    workers: int,
    watcher: Watcher,
    spent: float = 0.0,
) -> Context:
    """The context whose plan fits into a time budget by this machine's measured speed.

    Where not all questions can be asked well, fewer are; where not even one can, it is asked on
    what there is time for.

    folder: of the study; what an earlier process chose for the same request is kept there.
    context: as it is without a budget.
    costs: the seconds that runs take.
    budget: in seconds, start-up and report included.
    workers: the number of processes that train.
    watcher: is told what the budget takes away.
    spent: seconds that the start has taken.
    Raises UserError where not even the smallest plan fits.
    """
    asked = Fitted(budget, context.preset, context.chapters, len(context.seeds), BudgetFit())
    kept = folder.fitted
    if kept is not None and replace(kept, fit=asked.fit) == asked:
        return with_fit(context, kept.fit)

    def seconds(fit: BudgetFit) -> float:
        plan = forecast(with_fit(context, fit))
        return fixed(context, fit, spent) + RESERVE * sum(map(costs.run, plan)) / workers

    fit = chosen(context, budget, seconds)
    if fit is None:
        smallest = min(map(seconds, smallest_plans(context)))
        raise UserError(too_short(budget, smallest, context.chapters))
    folder.fitted = replace(asked, fit=fit)
    folder.save()
    if fit.more:
        watcher.say(room_for(fit.more * len(context.seeds)))
    if not fit.whole:
        well = seconds(least_well(len(context.seeds), WELL_IMAGES))
        watcher.say(taken_away(fit, budget, context.preset, context.chapters, well))
    return with_fit(context, fit)


def fixed(context: Context, fit: BudgetFit, spent: float = 0.0) -> float:
    """Seconds that are not training: the start, what it took if that is more, and each chapter."""
    chapters = len(fit.chapters or context.chapters)
    return max(OVERHEAD, spent + AFTER) + CHAPTER_OVERHEAD * chapters


def chosen(
    context: Context, budget: float, seconds: Callable[[BudgetFit], float]
) -> BudgetFit | None:
    """The most that fits: the questions that are asked well, with all that the time is enough for.

    Where not even one can be asked well, it is asked on little, beside what trains nothing; None:
    nothing fits.
    """

    def only(chapters: tuple[str, ...], fit: BudgetFit) -> BudgetFit:
        return replace(fit, chapters=None if chapters == context.chapters else chapters)

    def fits(chapters: tuple[str, ...], images: float) -> bool:
        return seconds(only(chapters, least_well(len(context.seeds), images))) <= budget

    asked = asked_well(context.chapters, fits)
    plans = [only(asked, fit) for fit in levels(len(context.seeds))] if asked else []
    if asked == context.chapters and "capacity" in asked:
        plans = [BudgetFit(more=more) for more in range(MOST_MORE, 0, -1)] + plans
    free = [name for name in context.chapters if not CHAPTERS[name].forecast(context)]
    for fit in smallest_plans(context):
        one = fit.chapters or context.chapters
        plans += [only(in_order(context.chapters, [*one, *free]), fit), fit]
    return next((fit for fit in plans if seconds(fit) <= budget), None)


def smallest_plans(context: Context) -> list[BudgetFit]:
    """One question, that of most worth, on ever less."""
    one = tuple(by_worth(context.chapters)[:1])
    only = None if one == context.chapters else one
    return [replace(fit, chapters=only) for fit in last_levels(len(context.seeds))]


def refuse_at_once(context: Context, budget: float, workers: int) -> None:
    """UserError for a budget in which nothing fits on any processor of today.

    Nothing is measured for it. What seems to fit may still be refused once it is.

    context: as it is without a budget; how this machine computes need not be known.
    workers: the number of processes that train.
    """
    plans = {fit: forecast(with_fit(context, fit)) for fit in smallest_plans(context)}
    kinds = list(dict.fromkeys(cost_kind(recipe) for plan in plans.values() for recipe in plan))
    guess = Costs.at_most(context.data, kinds, FASTEST)
    smallest = min(
        fixed(context, fit) + sum(map(guess.run, plan)) / workers for fit, plan in plans.items()
    )
    if smallest > budget:
        raise UserError(too_short(budget, smallest, context.chapters))


def too_short(budget: float, smallest: float, chapters: Sequence[str]) -> str:
    """Why a budget is refused, and what would fit, in one line."""
    name = by_worth(chapters)[0]
    alone = f", of {name} alone," if len(chapters) > 1 else ""
    given, takes, fits = (
        f"{seconds:.0f} s" if seconds < FINELY else duration(seconds)
        for seconds in (budget, smallest, 1.1 * smallest)
    )
    return (
        f"budget = {given}: the smallest plan{alone} takes about {takes} here; give {fits} or more"
    )


def with_fit(context: Context, fit: BudgetFit) -> Context:
    chapters = fit.chapters or context.chapters
    return replace(context, fit=fit, seeds=context.seeds[: fit.seeds], chapters=chapters)


def taken_away(
    fit: BudgetFit, budget: float, preset: str, chapters: Sequence[str], all_well: float
) -> str:
    """What a budget leaves of a preset and of its questions, in one line.

    all_well: seconds in which all questions would be asked well.
    """
    left = ", ".join(left_of(fit)) or "all"
    told = f"to fit into {duration(budget)}: {left} of the preset {preset}"
    if missing := not_asked(fit, chapters):
        told += f"; {missing}"
        told += ", so that the others are asked well" if asks_well(fit) else ""
    if not asks_well(fit):
        told += "; so little may tell nothing"
    if missing or not asks_well(fit):
        told += f"; {duration(all_well)} would do for all"
    return told


def room_for(seeds: int) -> str:
    """What is done with the time that a budget leaves over, in one line."""
    return (
        f"there is room for {count(seeds, 'more seed')}: they are added where it is not sure how "
        "many filters are enough"
    )


def left_of(fit: BudgetFit) -> list[str]:
    """What a budget leaves of epochs, seeds and images, in words; of what is whole nothing."""
    left = [f"{100 * fit.epochs:g} % of the epochs and trials"] if fit.epochs < 1 else []
    left += [count(fit.seeds, "seed")] if fit.seeds else []
    return left + ([f"{100 * fit.images:g} % of the training images"] if fit.images < 1 else [])


def not_asked(fit: BudgetFit, chapters: Sequence[str]) -> str:
    """The questions that a budget leaves out, in words; empty where there are none."""
    missing = [name for name in chapters if name not in (fit.chapters or chapters)]
    return f"not asked: {', '.join(name.replace('_', ' ') for name in missing)}" if missing else ""
