"""Which parts are nonlinear, and what each buys: what is trained."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

from convscope.planning import (
    Context,
    base_recipe,
    epochs_of,
    pilots_of,
    shallower,
    smallest_of_capacity,
)
from convscope.recipe import ConvNet, Model, Recipe, SoftmaxRegression

TITLE = "Nonlinearity"

QUESTION = "Which parts are nonlinear, and what does each of them buy?"

NEEDS: tuple[str, ...] = ("capacity", "best")

MARGIN = 0.03  # of accuracy: linear networks are equivalent to softmax regression within ± 3 points

ACTIVATION, POOLING, NORMALISATION = "activation", "max pooling", "normalisation"


@dataclass(frozen=True)
class Preset:
    """What a preset trains.

    epochs: of each run.
    rates: learning rates that pilots try.
    enlarged: factors of the linear networks' width.
    fallback: the network that is ablated where the capacity chapter has found none.
    winner_too: whether the search's winner is ablated, too.
    checked: test images on which a collapsed network is compared with its map; None: all.
    """

    epochs: int
    rates: tuple[float, ...]
    enlarged: tuple[int, ...]
    fallback: ConvNet
    winner_too: bool
    checked: int | None = None


PRESETS = {
    "quick": Preset(3, (2e-3, 8e-3), (2,), ConvNet(16, 3, hidden=(256,)), False, 2000),
    "standard": Preset(5, (1e-3, 4e-3), (2,), ConvNet(24, 3, hidden=(256,)), False),
    "full": Preset(
        30, (2.5e-4, 5e-4, 1e-3, 2e-3, 4e-3), (2, 4, 8), ConvNet(64, 3, hidden=(256,)), True
    ),
}


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


def base_of(context: Context) -> ConvNet:
    """The network that is ablated: the smallest as good as the capacity sweep's best, if known."""
    model = smallest_of_capacity(context)
    return model or shallower(PRESETS[context.preset].fallback, context.data.in_shape)


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


def recipes_of(context: Context, bases: Sequence[ConvNet]) -> list[Recipe]:
    """One recipe an arm; learning rate and seed are filled in later."""
    preset = PRESETS[context.preset]
    models = list(
        dict.fromkeys(model for base in bases for model in arms_of(base, preset.enlarged))
    )
    base = replace(
        base_recipe(context), epochs=epochs_of(context, preset.epochs), schedule="onecycle"
    )
    return [replace(base, model=model) for model in models]


def forecast(context: Context) -> list[Recipe]:
    preset = PRESETS[context.preset]
    recipes = recipes_of(context, [shallower(preset.fallback, context.data.in_shape)])
    pilots = pilots_of(context, recipes, preset.rates)
    return pilots + [
        replace(recipe, lr=preset.rates[0], seed=seed)
        for recipe in recipes
        for seed in context.seeds
    ]
