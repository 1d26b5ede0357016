"""Learning rates from pilots: a short run for each network and rate."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from convscope.planning.context import Context
from convscope.planning.epochs import USUAL_WIDTH, training_images
from convscope.planning.requests import Answer, Request, Step
from convscope.recipe import ConvNet, Model, Recipe, label_of
from convscope.report import Table
from convscope.training import Run

# how often a grid of learning rates is extended where its best rate lies at an end
MOST_EXTENSIONS = 2

LOWEST_RATE, HIGHEST_RATE = 1e-5, 0.128

NEAR, MUCH_WORSE = 4.1, 1.1  # factors of the best rate, and of its loss, for the parabola

MANY_IMAGES = 20_000  # training images from which on a pilot sees a quarter of them once


@dataclass(frozen=True)
class Tuned:
    """Learning rates from pilots.

    rates: each model's, as its pilots suggest.
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
    for model, best in best_tried(pilots).items():
        if best == min(tried[model]):
            rate = best / 2
        elif best == max(tried[model]):
            rate = 2 * best
        else:
            continue
        if LOWEST_RATE <= rate <= HIGHEST_RATE:
            more.append(replace(recipes[model], lr=rate))
    return more


def losses_by_rate(pilots: Iterable[Run]) -> dict[Model, dict[float, float]]:
    """For each network the validation loss that each rate led to; failed pilots are left out."""
    out: dict[Model, dict[float, float]] = {}
    for run in pilots:
        if run.status == "finished":
            out.setdefault(run.recipe.model, {})[run.recipe.lr] = run.best["val_loss"]
    return out


def best_tried(pilots: Iterable[Run]) -> dict[Model, float]:
    """For each network the tried rate with the lowest validation loss; of equal ones the first."""
    return {
        model: min(losses, key=lambda rate: losses[rate])
        for model, losses in losses_by_rate(pilots).items()
    }


def chosen_rates(pilots: Iterable[Run]) -> dict[Model, float]:
    """For each network a learning rate from the losses of its pilots, by `vertex`."""
    return {model: vertex(losses) for model, losses in losses_by_rate(pilots).items()}


def vertex(losses: Mapping[float, float]) -> float:
    """The rate at the bottom of a parabola through losses against the logarithm of the rate.

    losses: for each rate that was tried. Two digits of the result count.

    A single pilot's loss scatters by about as much as neighbouring rates differ: the lowest one
    names a rate that is off by a factor of two as often as not, the parabola uses them all. Rates
    that are far from the best one, or much worse, would bend it and are left out. Where it has no
    bottom between the rates that it goes through, the best rate tried is chosen.
    """
    best = min(losses, key=lambda rate: losses[rate])
    near = [
        rate
        for rate in sorted(losses)
        if max(rate / best, best / rate) <= NEAR and losses[rate] <= MUCH_WORSE * losses[best]
    ]
    if len(near) < 3 or best in (min(losses), max(losses)):
        return best
    x = np.log(near)
    bend, slope, _ = np.polyfit(x - x.mean(), [losses[rate] for rate in near], 2)
    if bend <= 0:
        return best
    bottom = x.mean() - slope / (2 * bend)
    return float(f"{math.exp(bottom):.2g}") if x[0] < bottom < x[-1] else best


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
        1
        for model, rate in best_tried(pilots).items()
        if rate in (min(tried[model]), max(tried[model]))
    )
    caption = (
        "Validation loss after each pilot, a column for each learning rate. The chosen rate is at "
        "the bottom of a parabola through these losses. "
    )
    if at_end:
        networks = "that network" if at_end == 1 else "these"
        caption += (
            f"{at_end} of {len(chosen)} best rates lie at an end of the grid, "
            f"so a rate beyond it might suit {networks} still better."
        )
    else:
        caption += "No best rate lies at an end of the grid."
    return Table("learning_rates", "Learning rates tried", columns, list(rows.values()), caption)
