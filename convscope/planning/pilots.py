"""Learning rates from pilots: a short run for each network and rate."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from convscope.planning.context import Context
from convscope.planning.epochs import USUAL_WIDTH, training_images
from convscope.planning.requests import Answer, Request, Step
from convscope.recipe import ConvNet, Model, Recipe, label_of
from convscope.report import Table
from convscope.training import Run

# how often a grid of learning rates is extended where its best rate lies at an end
MOST_EXTENSIONS = 2

LOWEST_RATE, HIGHEST_RATE = 1e-5, 0.128

MANY_IMAGES = 20_000  # training images from which on a pilot sees a quarter of them once


@dataclass(frozen=True)
class Tuned:
    """Learning rates from pilots.

    rates: each model's rate with the lowest validation loss.
    pilots: the runs, failed ones too.
    fallback: the rate of models of which no pilot finished.
    """

    rates: Mapping[Model, float]
    pilots: tuple[Run, ...]
    fallback: float

    def rate(self, model: Model) -> float:
        return self.rates.get(model, self.fallback)


def pilots_of(context: Context, recipes: Iterable[Recipe], rates: Sequence[float]) -> list[Recipe]:
    """One short run for each recipe's model and each rate, judged on validation.

    It has one epoch on a quarter of the training images, or a quarter of the epochs on small sets.
    """
    available = training_images(context) or len(context.data.train)
    many = available >= MANY_IMAGES
    out = []
    for recipe in recipes:
        own = recipe.limit or available
        limit = min(available // 4, own) if many else own
        short = replace(
            recipe,
            epochs=1 if many else max(1, recipe.epochs // 4),
            limit=limit if limit < len(context.data.train) else None,
            evaluate=("val",),
            seed=context.seeds[0],
        )
        out += [replace(short, lr=rate) for rate in rates]
    return out


def tuned_rates(
    context: Context, recipes: Sequence[Recipe], rates: Sequence[float]
) -> Generator[Step, Answer, Tuned]:
    """The learning rate of every recipe's model, from pilots. Use with `yield from`.

    Where the best rate lies at an end of the grid, the grid is extended beyond it.
    """
    return (yield from rates_from(pilots_of(context, recipes, rates)))


def rates_from(pilots: Sequence[Recipe]) -> Generator[Step, Answer, Tuned]:
    """The learning rate of every pilot's model. Use with `yield from`.

    pilots: one for each model and rate.
    """
    lowest = min((pilot.lr for pilot in pilots), default=LOWEST_RATE)
    answer = yield [Request(pilots, "pilot")]
    runs = answer.of("pilot")
    for _ in range(MOST_EXTENSIONS):
        beyond = beyond_the_grid(runs)
        if not beyond:
            break
        answer = yield [Request(beyond, "pilot")]
        runs += answer.of("pilot")
    return Tuned(chosen_rates(runs), tuple(runs), lowest)


def pilot_of(series: Sequence[ConvNet]) -> ConvNet:
    """The network of a series that differs in width alone whose width is nearest the usual one."""
    return min(series, key=lambda model: (abs(math.log(model.width / USUAL_WIDTH)), model.width))


def transferred(rates: Mapping[Model, float], series: Sequence[ConvNet]) -> dict[Model, float]:
    """A rate for every network of a series that differs in width alone, from those that have one.

    In the standard parametrisation Adam's best rate falls as the root of the width (measured by
    bench/transfer.py): each network has the rate of the nearest one that is known, times the root
    of how many times narrower it is. Nothing where no network has one.
    """
    known = [model for model in series if model in rates]
    out: dict[Model, float] = {}
    for model in series if known else ():
        near = min(known, key=lambda other: abs(math.log(other.width / model.width)))
        scaled = rates[near] * math.sqrt(near.width / model.width)
        out[model] = rates[near] if near == model else float(f"{scaled:.2g}")
    return out


def beyond_the_grid(pilots: Sequence[Run]) -> list[Recipe]:
    """Pilots of the networks whose best rate so far is the lowest or highest one tried.

    Each is at half that rate, or at twice.
    """
    tried: dict[Model, list[float]] = {}
    recipes: dict[Model, Recipe] = {}
    for run in pilots:
        tried.setdefault(run.recipe.model, []).append(run.recipe.lr)
        recipes[run.recipe.model] = run.recipe
    more = []
    for model, best in chosen_rates(pilots).items():
        if best == min(tried[model]):
            rate = best / 2
        elif best == max(tried[model]):
            rate = 2 * best
        else:
            continue
        if LOWEST_RATE <= rate <= HIGHEST_RATE:
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
    """Every rate that was tried and the validation loss that it led to.

    labels: names of networks that their own description does not tell apart.
    """
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
    caption = "Validation loss after each pilot, a column for each learning rate. "
    if at_end:
        networks = "that network" if at_end == 1 else "these"
        caption += (
            f"{at_end} of {len(chosen)} chosen rates lie at an end of the grid, "
            f"so a rate beyond it might suit {networks} still better."
        )
    else:
        caption += "No chosen rate lies at an end of the grid."
    return Table("learning_rates", "Learning rates tried", columns, list(rows.values()), caption)
