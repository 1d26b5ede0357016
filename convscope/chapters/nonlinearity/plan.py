"""Which parts are nonlinear, and what each buys: what is trained."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from convscope.planning import (
    Context,
    arm_recipe,
    final_arms,
    pilots_of,
    preset_of,
    shallower,
    smallest_of_capacity,
)
from convscope.recipe import ConvNet, Model, Recipe, SoftmaxRegression

TITLE = "Nonlinearity"

QUESTION = "Which parts are nonlinear, and what does each of them buy?"

NEEDS: tuple[str, ...] = ("capacity", "best")

MARGIN = 0.03  # of accuracy: two arms that differ by less than ± 3 points are equivalent

ACTIVATION, POOLING, NORMALISATION = "activation", "max pooling", "normalisation"


@dataclass(frozen=True)
class Preset:
    """What a preset trains.

    epochs: of each run.
    rates: learning rates that pilots try.
    enlarged: factors of the linear networks' width.
    fallback: the network that is ablated where the capacity chapter has found none.
    winner_too: whether the search's winner is ablated, too, where another network is.
    checked: test images on which a collapsed network is compared with its map; None: all.
    seeds: at least so many, in a study of several.
    images: the most training images; None: all.
    """

    epochs: int
    rates: tuple[float, ...]
    enlarged: tuple[int, ...]
    fallback: ConvNet
    winner_too: bool
    checked: int | None = None
    seeds: int = 1
    images: int | None = None


PRESETS = {
    "quick": Preset(
        3, (2e-3, 8e-3), (2,), ConvNet(16, 3, hidden=(256,)), False, 2000, 4, images=36_000
    ),
    "standard": Preset(5, (1e-3, 4e-3), (2,), ConvNet(24, 3, hidden=(256,)), False, seeds=4),
    "full": Preset(
        30, (2.5e-4, 5e-4, 1e-3, 2e-3, 4e-3), (2, 4, 8), ConvNet(64, 3, hidden=(256,)), True
    ),
}


def preset_in(context: Context) -> Preset:
    """What the study's preset trains, with what a user has set in its place."""
    return preset_of(context, "nonlinearity", PRESETS)


# what is replaced by what


def kinds_of(model: ConvNet) -> tuple[str, ...]:
    """The kinds of part that a recipe can replace; whether they are nonlinear is measured."""
    kinds = [ACTIVATION] if model.activation != "identity" else []
    kinds += [POOLING] if model.pool == "max" and max(model.pools) > 1 else []
    return (*kinds, *([NORMALISATION] if model.norm in ("batch", "group") else []))


def without(model: ConvNet, kinds: Sequence[str]) -> ConvNet:
    """The network with these kinds of part replaced by linear ones of the same shape.

    These are the identity, average pooling, and a scale and a bias for each channel.
    """
    if ACTIVATION in kinds:
        model = replace(model, activation="identity")
    if POOLING in kinds:
        model = replace(model, pool="avg")
    return replace(model, norm="affine") if NORMALISATION in kinds else model


def removed_from(base: ConvNet, model: ConvNet) -> tuple[str, ...]:
    """Which kinds an arm lacks."""
    return tuple(kind for kind in kinds_of(base) if kind not in kinds_of(model))


KINDS = {
    "Act": ACTIVATION,
    "MaxPool": POOLING,
    "BatchNorm2d": NORMALISATION,
    "GroupNorm": NORMALISATION,
}


# the plan


Source = Literal["best", "capacity", "preset"]


def base_of(context: Context) -> tuple[ConvNet, Source]:
    """The network that is ablated, and where it comes from.

    It is the best one that the search found and that other chapters can afford, else the smallest
    that is as good as the capacity sweep's best, else the preset's.
    """
    if context.best is not None:
        model = (context.best.affordable or context.best.winner).model
        if isinstance(model, ConvNet) and kinds_of(model):
            return model, "best"
    model = smallest_of_capacity(context)
    if model is not None:
        return model, "capacity"
    return shallower(preset_in(context).fallback, context.data.in_shape), "preset"


def bases_of(context: Context) -> list[ConvNet]:
    """The networks that are ablated, that of the verdict first."""
    bases = [base_of(context)[0]]
    if preset_in(context).winner_too and context.best is not None:
        model = context.best.winner.model
        bases += [model] if isinstance(model, ConvNet) and model not in bases else []
    return bases


def arms_of(base: ConvNet, enlarged: Sequence[int]) -> list[Model]:
    kinds = kinds_of(base)
    factorial = [
        without(base, chosen)
        for n in range(len(kinds) + 1)
        for chosen in itertools.combinations(kinds, n)
    ]
    linear = without(base, kinds)
    return [
        *factorial,
        *(replace(linear, width=factor * linear.width) for factor in enlarged),
        SoftmaxRegression(),
    ]


def narrowest(model: ConvNet, in_shape: tuple[int, int, int]) -> int:
    """The fewest values that a layer between images and classifier has: it bounds the rank of W.

    in_shape: channels, height and width of an image.
    """
    height, width = (side - (model.stem == "whiten") for side in in_shape[1:])
    sizes = list(model.hidden)
    for channels, pool in zip(model.channels, model.pools, strict=True):
        height, width = height // pool, width // pool
        sizes.append(channels * height * width)
    return min([*sizes, model.channels[-1]] if model.head == "gap" else sizes)


def recipes_of(context: Context, bases: Sequence[ConvNet]) -> list[Recipe]:
    """One recipe an arm; learning rate and seed are filled in later."""
    preset = preset_in(context)
    models = list(
        dict.fromkeys(model for base in bases for model in arms_of(base, preset.enlarged))
    )
    base = arm_recipe(context, preset.epochs, preset.images)
    return [replace(base, model=model) for model in models]


def forecast(context: Context) -> list[Recipe]:
    preset = preset_in(context)
    recipes = recipes_of(context, [shallower(preset.fallback, context.data.in_shape)])
    pilots = pilots_of(context, recipes, preset.rates)
    return pilots + final_arms(context, recipes, lambda _: preset.rates[0], preset.seeds)
