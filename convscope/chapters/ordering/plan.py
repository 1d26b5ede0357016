"""Flatten order: what is trained."""

from __future__ import annotations

from dataclasses import dataclass, replace

from convscope.planning import Context, arm_recipe, pilots_of, preset_of, shallower
from convscope.recipe import ConvNet, Model, Recipe

TITLE = "Flatten order"

QUESTION = "Does the order of the flattened activations matter?"

NEEDS: tuple[str, ...] = ()

MARGIN = 0.03  # of accuracy

EXACT = 1e-8  # relative, over a whole training trajectory in float64

STEPS, BATCH = 50, 32

FIXED = ("natural", "reversed", "random", "channel-last")

EACH, PIXELS = "per-sample", "pixels"

NAMES = {
    "natural": "natural order",
    "reversed": "reversed",
    "random": "random, the same for all images",
    "channel-last": "channel last",
    EACH: "another random order for every image",
    PIXELS: "pixels permuted before the convolutions",
}


@dataclass(frozen=True)
class Preset:
    """What a preset trains.

    model: the network.
    epochs: of each run.
    rates: learning rates that pilots try.
    seeds: at least so many.
    images: the most training images; None: all.
    """

    model: ConvNet
    epochs: int
    rates: tuple[float, ...]
    seeds: int
    images: int | None


PRESETS = {
    "quick": Preset(ConvNet(8, 3), 3, (2e-3, 8e-3), 3, 15_000),
    "standard": Preset(ConvNet(8, 3), 4, (2e-3, 8e-3), 4, None),
    "full": Preset(ConvNet(32, 3), 30, (1e-3, 2e-3, 4e-3), 8, None),
}


def arm_of(model: Model) -> str | None:
    """Which arm a network is."""
    if not isinstance(model, ConvNet) or model.head != "flatten":
        return None
    return PIXELS if model.pixels == "random" else model.order


def recipes_of(context: Context) -> dict[str, Recipe]:
    preset = preset_of(context, "ordering", PRESETS)
    channels, height, width = context.data.in_shape
    # at least 2×2 numbers for each channel, where the images leave room: with one number for each,
    # channel last is the natural order
    model = shallower(preset.model, (channels, height // 2, width // 2))
    models = {name: replace(model, order=name) for name in (*FIXED, EACH)} | {
        PIXELS: replace(model, pixels="random")
    }
    base = arm_recipe(context, preset.epochs, preset.images)
    return {name: replace(base, model=model) for name, model in models.items()}


def seeds_of(context: Context) -> tuple[int, ...]:
    """The study's seeds, and further ones: a comparison of arms that differ in nothing needs many.

    Where a time budget has taken seeds away there are no further ones.
    """
    return context.at_least(preset_of(context, "ordering", PRESETS).seeds)


def with_rates(context: Context, rates: dict[str, float]) -> list[Recipe]:
    return [
        replace(r, lr=rates[name], seed=seed)
        for name, r in recipes_of(context).items()
        for seed in seeds_of(context)
    ]


def tuned_arms(context: Context) -> list[Recipe]:
    """The arms that get pilots.

    The fixed orders are one network but for the names of its weights, so they share its rate.
    """
    recipes = recipes_of(context)
    return [recipes["natural"], recipes[EACH], recipes[PIXELS]]


def forecast(context: Context) -> list[Recipe]:
    rates = preset_of(context, "ordering", PRESETS).rates
    return pilots_of(context, tuned_arms(context), rates) + with_rates(
        context, dict.fromkeys(NAMES, rates[0])
    )
