"""What chapters that compare arms share: how an arm is trained, at which rate, on which seeds."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from convscope.planning.context import Context
from convscope.planning.epochs import base_recipe, epochs_of
from convscope.recipe import Model, Recipe

SELDOM = 5  # epochs between two evaluations of an arm: it is judged by its last ones, at rate 0


def arm_recipe(context: Context, epochs: int, images: int | None = None) -> Recipe:
    """The study's base recipe with a one-cycle schedule; model, rate and seed are set later.

    Evaluating an arm on few training images after every epoch takes two fifths of its time and
    tells nothing: before the rate has come down to 0 none is at its best.

    epochs: as a preset says, see `epochs_of`.
    images: the most training images; None: all.
    """
    base, epochs = base_recipe(context, images), epochs_of(context, epochs)
    return replace(base, epochs=epochs, schedule="onecycle", evaluate_every=min(epochs, SELDOM))


def arm_seeds(context: Context, wanted: int) -> tuple[int, ...]:
    """The study's seeds, and further ones where it has several but fewer than `wanted`.

    From two seeds the variance between seeds is known so badly that the word of a verdict hung on
    it: intervals were ± 0.8 points in one study and ± 8.5 in the next.
    """
    return context.at_least(wanted if len(context.seeds) > 1 else 1)


def final_arms(
    context: Context, recipes: Iterable[Recipe], rate: Callable[[Model], float], wanted: int
) -> list[Recipe]:
    """The runs that verdicts rest on: each arm with each seed of `arm_seeds`.

    recipes: of the arms.
    rate: the learning rate of a model.
    wanted: how many seeds.
    """
    seeds = arm_seeds(context, wanted)
    return [replace(one, lr=rate(one.model), seed=seed) for one in recipes for seed in seeds]
