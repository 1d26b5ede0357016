"""One wide layer against a cascade: what is trained."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from convscope.chapters.receptive_field.arms import Arms, arms_of
from convscope.planning import (
    Context,
    arm_recipe,
    final_arms,
    pilots_of,
    preset_of,
    reference_recipe,
    shallower,
    smallest_of_capacity,
)
from convscope.recipe import ConvNet, Model, Recipe
from convscope.training import Run

TITLE = "Receptive field"

QUESTION = (
    "Does one convolution with a large receptive field do better than a cascade of "
    "convolutions and pooling, and why?"
)

NEEDS: tuple[str, ...] = ("capacity", "best")

MARGIN = 0.02  # of accuracy: networks are equivalent within ± 2 points

# where neither the search nor the capacity sweep has found a network
FALLBACK = ConvNet(16, 3)

# what the network of question 1 is: the search's, the capacity sweep's or the chapter's own
Source = Literal["best", "capacity", "own"]


@dataclass(frozen=True)
class Preset:
    """What a preset trains.

    epochs: of each run.
    rates: learning rates that pilots try.
    dilations: of the single layers that differ in nothing else.
    cascade: the cascade with pooling and global average pooling.
    images: the most training images; None: all.
    seeds: at least so many, in a study of several.
    """

    epochs: int
    rates: tuple[float, ...]
    dilations: tuple[int, ...]
    cascade: ConvNet
    images: int | None
    seeds: int = 1


PRESETS = {
    "quick": Preset(3, (2e-3, 8e-3, 3.2e-2), (1, 2, 3, 7), ConvNet(4, 3, head="gap"), 10_000, 3),
    "standard": Preset(4, (1e-3, 4e-3, 1.6e-2), (1, 2, 3, 7), ConvNet(8, 3, head="gap"), 20_000, 3),
    "full": Preset(30, (1e-3, 2e-3, 4e-3, 8e-3), (1, 2, 3, 5, 7), ConvNet(16, 3, head="gap"), None),
}


def preset_in(context: Context) -> Preset:
    """What the study's preset trains, with what a user has set in its place."""
    return preset_of(context, "receptive_field", PRESETS)


def planned_arms(context: Context) -> Arms:
    """The single layers and cascades of the study's preset."""
    preset = preset_in(context)
    cascade = shallower(preset.cascade, context.data.in_shape)
    return arms_of(cascade, preset.dilations, context.data.in_shape, context.data.num_classes)


def network_of_question_1(context: Context) -> tuple[ConvNet, Source]:
    """The network that single layers are compared with, and where it comes from.

    It is the best one that a search found and that later chapters can afford, else the smallest as
    good as the capacity sweep's best, else the chapter's own.
    """
    if context.best is not None:
        found = context.best.affordable or context.best.winner
        model = found.model
        if isinstance(model, ConvNet):
            return model, "best"
    smallest = smallest_of_capacity(context)
    if smallest is not None:
        return smallest, "capacity"
    return shallower(FALLBACK, context.data.in_shape), "own"


def recipes_of(context: Context, models: Iterable[ConvNet]) -> list[Recipe]:
    """One recipe for each network; learning rate and seed are filled in later."""
    preset = preset_in(context)
    base = arm_recipe(context, preset.epochs, preset.images)
    return [replace(base, model=model) for model in models]


def shared_rate(pilots: Sequence[Run], models: Sequence[Model]) -> float | None:
    """The rate that suits several networks together, so that they are trained alike.

    Of the rates that all of them tried it is the one of lowest mean validation loss. None where
    there is none.
    """
    losses: dict[float, dict[Model, float]] = {}
    for run in pilots:
        if run.status == "finished" and run.recipe.model in models:
            losses.setdefault(run.recipe.lr, {})[run.recipe.model] = run.best["val_loss"]
    common = {rate: sum(by.values()) for rate, by in losses.items() if len(by) == len(set(models))}
    return min(common, key=lambda rate: common[rate], default=None)


def forecast(context: Context) -> list[Recipe]:
    """A network like the reference's stands for that of question 1."""
    preset, arms = preset_in(context), planned_arms(context)
    reference = reference_recipe(context).model
    assert isinstance(reference, ConvNet)
    tuned = recipes_of(context, dict.fromkeys([*arms.tuned, reference]))
    recipes = recipes_of(context, dict.fromkeys([*arms.models, reference]))
    pilots = pilots_of(context, tuned, preset.rates)
    return pilots + final_arms(context, recipes, lambda _: preset.rates[0], preset.seeds)
