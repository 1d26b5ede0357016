"""How many filters, layers and parameters: what is trained."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from convscope import planning as plans
from convscope.errors import UserError
from convscope.planning import Context
from convscope.recipe import ConvNet, Recipe

TITLE = "Capacity"

QUESTION = "How many filters, layers and parameters do these images need; where do networks underfit, where do they overfit?"


@dataclass(frozen=True)
class Preset:
    """A sweep is a series of networks that differ in width alone."""

    sweeps: tuple[tuple[ConvNet, ...], ...]
    epochs: int
    rates: tuple[float, ...]  # learning rates tried in the pilots
    strong_seeds: int
    looked_at: int | None = None  # training images evaluated after each epoch; None: all


def widths(model: ConvNet, *sizes: int) -> tuple[ConvNet, ...]:
    return tuple(replace(model, width=width) for width in sizes)


def first(
    depth: int, hidden: tuple[int, ...] = (256,), pool: Literal["max", "avg"] = "max"
) -> ConvNet:
    """The report's first architecture: each convolution with ReLU and pooling, then fully connected layers."""
    return ConvNet(1, depth, hidden=hidden, pool=pool)


def second(depth: int, block_depth: int) -> ConvNet:
    """Its second one: blocks of convolutions with one pooling each, a skip where a block is deep, one fully connected layer."""
    return ConvNet(1, depth, block_depth=block_depth, skip=block_depth > 1)


PRESETS: dict[str, Preset] = {
    "quick": Preset(
        sweeps=(widths(first(1), 8), widths(first(2), 8), widths(first(3), 1, 2, 4, 8, 16)),
        epochs=6,
        rates=(1e-3, 2e-3, 4e-3),
        strong_seeds=1,
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
        strong_seeds=3,
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
        strong_seeds=5,
    ),
}


def sweeps_of(context: Context) -> list[list[ConvNet]]:
    """The preset's sweeps, of the networks that fit the images."""
    sweeps = [
        [m for m in sweep if plans.fits(m, context.data.in_shape)]
        for sweep in PRESETS[context.preset].sweeps
    ]
    sweeps = [sweep for sweep in sweeps if sweep]
    if not sweeps:
        raise UserError(
            f"images of {context.data.in_shape[1]}×{context.data.in_shape[2]} pixels leave no room for a convolution with pooling"
        )
    return sweeps


def sweep_of(context: Context) -> list[Recipe]:
    """One recipe a network: a constant learning rate, no augmentation, so that nothing hides overfitting. Rate and seed are filled in later.

    Over- and underfitting are told from training losses, so these are taken over all training images, or over a larger sample than other chapters'.
    """
    preset = PRESETS[context.preset]
    base = replace(
        plans.base_of(context, sample=preset.looked_at),
        epochs=plans.epochs_of(context, preset.epochs),
        schedule="constant",
    )
    return [replace(base, model=model) for sweep in sweeps_of(context) for model in sweep]


def tuned_of(context: Context) -> list[Recipe]:
    """Those that get pilots: the narrowest and the widest network of each sweep."""
    chosen = {model for sweep in sweeps_of(context) for model in plans.ends(sweep)}
    return [recipe for recipe in sweep_of(context) if recipe.model in chosen]


def strong_of(context: Context) -> list[Recipe]:
    return [
        replace(plans.strong_of(context), seed=seed)
        for seed in context.seeds[: PRESETS[context.preset].strong_seeds]
    ]


def forecast(context: Context) -> list[Recipe]:
    """The recipes that the chapter will ask for, for the estimate of its time; learning rates are not yet known and cost nothing."""
    rates, sweep = PRESETS[context.preset].rates, sweep_of(context)
    whole = [replace(recipe, lr=rates[0], seed=seed) for recipe in sweep for seed in context.seeds]
    return plans.pilots_of(context, tuned_of(context), rates) + strong_of(context) + whole
