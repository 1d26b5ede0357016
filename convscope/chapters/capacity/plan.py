"""How many filters, layers and parameters: what is trained."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from convscope.errors import UserError
from convscope.planning import (
    Context,
    base_recipe,
    epochs_of,
    leaves_room,
    narrowest_and_widest,
    pilots_of,
    reference_recipe,
)
from convscope.recipe import ConvNet, Recipe

TITLE = "Capacity"

QUESTION = (
    "How many filters, layers and parameters do these images need; "
    "where do networks underfit, where do they overfit?"
)

NEEDS: tuple[str, ...] = ()


@dataclass(frozen=True)
class Preset:
    """What a preset trains.

    sweeps: each a series of networks that differ in width alone.
    epochs: of a run of the sweep.
    rates: learning rates that pilots try.
    reference_seeds: how often the reference recipe is trained.
    looked_at: training images evaluated after each epoch; None: all.
    """

    sweeps: tuple[tuple[ConvNet, ...], ...]
    epochs: int
    rates: tuple[float, ...]
    reference_seeds: int
    looked_at: int | None = None


def widths(model: ConvNet, *sizes: int) -> tuple[ConvNet, ...]:
    return tuple(replace(model, width=width) for width in sizes)


def first(
    depth: int, hidden: tuple[int, ...] = (256,), pool: Literal["max", "avg"] = "max"
) -> ConvNet:
    """The report's first architecture: convolutions, each with ReLU and pooling, then FC layers."""
    return ConvNet(1, depth, hidden=hidden, pool=pool)


def second(depth: int, block_depth: int) -> ConvNet:
    """Its second one: blocks of convolutions with one pooling each, then one FC layer.

    A block of several convolutions has a skip.
    """
    return ConvNet(1, depth, block_depth=block_depth, skip=block_depth > 1)


PRESETS: dict[str, Preset] = {
    "quick": Preset(
        sweeps=(widths(first(1), 8), widths(first(2), 8), widths(first(3), 1, 2, 4, 8, 16)),
        epochs=6,
        rates=(1e-3, 2e-3, 4e-3),
        reference_seeds=1,
        looked_at=15_000,
    ),
    "standard": Preset(
        sweeps=(
            widths(first(1), 2, 8, 24),
            widths(first(2), 2, 8, 16),
            widths(first(3), 2, 4, 8, 16, 24),
            widths(first(3, pool="avg"), 4, 8, 16),
            widths(second(1, 3), 2, 4, 8),
            widths(second(3, 3), 2, 4, 8),
        ),
        epochs=6,
        rates=(1e-3, 2e-3, 4e-3),
        reference_seeds=3,
    ),
    "full": Preset(
        sweeps=(
            *(
                widths(first(depth, hidden, pool), 2, 4, 8, 16, 32, 64, 128)
                for depth in (1, 2, 3, 4)
                for hidden in ((256,), (256, 64))
                for pool in ("max", "avg")
            ),
            *(
                widths(second(depth, blocks), 2, 4, 8, 16, 32, 64, 128)
                for depth in (1, 2, 3)
                for blocks in (1, 2, 3)
            ),
        ),
        epochs=30,
        rates=(2.5e-4, 5e-4, 1e-3, 2e-3, 4e-3),
        reference_seeds=5,
    ),
}


def sweeps_of(context: Context) -> list[list[ConvNet]]:
    """The preset's sweeps, of the networks that fit the images."""
    sweeps = [
        [m for m in sweep if leaves_room(m, context.data.in_shape)]
        for sweep in PRESETS[context.preset].sweeps
    ]
    sweeps = [sweep for sweep in sweeps if sweep]
    if not sweeps:
        _, height, width = context.data.in_shape
        raise UserError(
            f"images of {height}×{width} pixels leave no room for a convolution with pooling"
        )
    return sweeps


def sweep_of(context: Context) -> list[Recipe]:
    """One recipe for each network; rate and seed are filled in later.

    The learning rate is constant and there is no augmentation, so that nothing hides overfitting.
    Over- and underfitting are told from training losses, so these are taken over all training
    images, or over a larger sample than those of other chapters.
    """
    preset = PRESETS[context.preset]
    base = replace(
        base_recipe(context, sample=preset.looked_at),
        epochs=epochs_of(context, preset.epochs),
        schedule="constant",
    )
    return [replace(base, model=model) for sweep in sweeps_of(context) for model in sweep]


def tuned_of(context: Context) -> list[Recipe]:
    """Those that get pilots: the narrowest and the widest network of each sweep."""
    chosen = {model for sweep in sweeps_of(context) for model in narrowest_and_widest(sweep)}
    return [recipe for recipe in sweep_of(context) if recipe.model in chosen]


def references_of(context: Context) -> list[Recipe]:
    """The reference recipe, with as many seeds as the preset gives it."""
    return [
        replace(reference_recipe(context), seed=seed)
        for seed in context.seeds[: PRESETS[context.preset].reference_seeds]
    ]


def forecast(context: Context) -> list[Recipe]:
    """The recipes that the chapter will ask for, to estimate its time; rates are not known yet."""
    rates, sweep = PRESETS[context.preset].rates, sweep_of(context)
    whole = [replace(recipe, lr=rates[0], seed=seed) for recipe in sweep for seed in context.seeds]
    return pilots_of(context, tuned_of(context), rates) + references_of(context) + whole
