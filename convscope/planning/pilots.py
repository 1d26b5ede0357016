"""Learning rates from pilots: a short run for each network and rate."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from convscope.planning.context import Context
from convscope.planning.epochs import images_of
from convscope.recipe import ConvNet, Model, Recipe, label_of
from convscope.report import Table
from convscope.training import Run

MOST_EXTENSIONS = (
    2  # how often a grid of learning rates is extended where its best rate lies at an end
)

LOWEST_RATE, HIGHEST_RATE = 1e-5, 0.128


# learning rates: a short run for each network and rate


@dataclass(frozen=True)
class Tuned:
    """The learning rate of each model with the lowest validation loss of its pilots (`fallback` where none finished), and the pilots.

    `early`: runs of the next request that came in answer to an extension of the grid (see `whole`).
    """

    rates: Mapping[Model, float]
    pilots: tuple[Run, ...]
    fallback: float
    early: tuple[Run, ...] = ()

    def rate(self, model: Model) -> float:
        return self.rates.get(model, self.fallback)


def pilots_of(context: Context, recipes: Iterable[Recipe], rates: Sequence[float]) -> list[Recipe]:
    """One short run for each recipe's model and each rate, judged on validation: one epoch on a quarter of the training images, or a quarter of the epochs on small sets."""
    available = images_of(context) or len(context.data.train)
    out = []
    for recipe in recipes:
        own = recipe.limit or available
        limit = min(available // 4, own) if available >= 20_000 else own
        short = replace(
            recipe,
            epochs=1 if available >= 20_000 else max(1, recipe.epochs // 4),
            limit=limit if limit < len(context.data.train) else None,
            evaluate=("val",),
            seed=context.seeds[0],
        )
        out += [replace(short, lr=rate) for rate in rates]
    return out


def tuned(
    context: Context, recipes: Sequence[Recipe], rates: Sequence[float]
) -> Generator[list[Recipe], list[Run], Tuned]:
    """Pilots of every recipe's model; where the best rate lies at an end of the grid, the grid is extended beyond it. Use with `yield from`."""
    runs = yield pilots_of(context, recipes, rates)
    early: list[Run] = []
    for _ in range(MOST_EXTENSIONS):
        beyond = beyond_the_grid(runs)
        if not beyond or early:
            break
        answer = yield beyond
        runs = [*runs, *(run for run in answer if is_pilot(run))]
        early = [run for run in answer if not is_pilot(run)]
    return Tuned(chosen_rates(runs), tuple(runs), min(rates), tuple(early))


def ends(series: Sequence[ConvNet]) -> list[ConvNet]:
    """The narrowest and the widest of networks that differ in width alone."""
    ordered = sorted(series, key=lambda model: model.width)
    return [*ordered[:1], *ordered[1:][-1:]]


def transferred(rates: Mapping[Model, float], series: Sequence[ConvNet]) -> dict[Model, float]:
    """A rate for every network of a series that differs in width alone, from those that have one: a straight line between neighbours in log rate over
    log width, the nearest one's beyond them; nothing where none has one. bench/transfer.py compares it with pilots at every width."""
    known = sorted(
        (math.log(model.width), math.log(rates[model])) for model in series if model in rates
    )
    if not known:
        return {}
    out: dict[Model, float] = {}
    for model in series:
        x = math.log(model.width)
        below = max((point for point in known if point[0] <= x), default=known[0])
        above = min((point for point in known if point[0] >= x), default=known[-1])
        part = (x - below[0]) / (above[0] - below[0]) if above[0] > below[0] else 0.0
        out[model] = (
            rates[model]
            if model in rates
            else float(f"{math.exp(below[1] + part * (above[1] - below[1])):.2g}")
        )
    return out


def whole(
    context: Context, recipes: list[Recipe], early: Sequence[Run] = ()
) -> Generator[list[Recipe], list[Run], list[Run]]:
    """The runs of these recipes. Use with `yield from`, and give it the `early` of what was tuned.

    In a report that is written again requests are answered in their recorded order. Where pilots were lost, an extension of the grid that was asked for then may
    not be asked for now: then it is answered here, and skipped. Or one is asked for now that was not then: then these runs came early, and are not asked for again.
    """
    if early:
        return list(early)
    runs = yield recipes
    for _ in range(0 if context.live else MOST_EXTENSIONS):
        if any(not is_pilot(run) for run in runs):
            break
        runs = yield recipes
    return [run for run in runs if not is_pilot(run)]


def is_pilot(run: Run) -> bool:
    return "test" not in run.recipe.evaluate


def beyond_the_grid(pilots: Sequence[Run]) -> list[Recipe]:
    """For each network whose best rate so far is the lowest or highest one tried, the pilot at half or twice that rate."""
    tried: dict[Model, list[float]] = {}
    recipes: dict[Model, Recipe] = {}
    for run in pilots:
        tried.setdefault(run.recipe.model, []).append(run.recipe.lr)
        recipes[run.recipe.model] = run.recipe
    more = []
    for model, best in chosen_rates(pilots).items():
        rate = (
            best / 2
            if best == min(tried[model])
            else 2 * best
            if best == max(tried[model])
            else None
        )
        if rate is not None and LOWEST_RATE <= rate <= HIGHEST_RATE:
            more.append(replace(recipes[model], lr=rate))
    return more


def chosen_rates(pilots: Iterable[Run]) -> dict[Model, float]:
    """For each network the learning rate with the lowest validation loss of its pilots."""
    best: dict[Model, tuple[float, float]] = {}
    for run in pilots:
        if run.status != "finished":
            continue
        model, loss = run.recipe.model, run.best["val_loss"]
        if model not in best or loss < best[model][0]:
            best[model] = (loss, run.recipe.lr)
    return {model: rate for model, (_, rate) in best.items()}


def rates_table(pilots: Sequence[Run], labels: Mapping[Model, str] | None = None) -> Table:
    """Every rate that was tried and the loss it led to; `labels` names the networks where their own description does not tell them apart."""
    rates = sorted({run.recipe.lr for run in pilots})
    tried: dict[Model, list[float]] = {}
    columns = (
        ("network", "network", "text"),
        *((f"{rate:g}", f"{rate:g}", "loss") for rate in rates),
        ("chosen", "chosen", "float"),
    )
    rows: dict[Model, dict[str, Any]] = {}
    chosen = chosen_rates(pilots)
    for run in pilots:
        model = run.recipe.model
        row = rows.setdefault(
            model,
            {"network": (labels or {}).get(model) or label_of(model), "chosen": chosen.get(model)},
        )
        tried.setdefault(model, []).append(run.recipe.lr)
        row[f"{run.recipe.lr:g}"] = run.best["val_loss"] if run.status == "finished" else None
    at_end = sum(
        1 for model, rate in chosen.items() if rate in (min(tried[model]), max(tried[model]))
    )
    caption = (
        "Validation loss after each pilot, a column a learning rate. "
        f"{at_end} of {len(chosen)} chosen rates lie at an end of the grid, so a rate beyond it might suit {'that network' if at_end == 1 else 'these'} still better."
        if at_end
        else "Validation loss after each pilot, a column a learning rate. No chosen rate lies at an end of the grid."
    )
    return Table("learning_rates", "Learning rates tried", columns, list(rows.values()), caption)
