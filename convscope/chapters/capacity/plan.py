"""How many filters, layers and parameters: what is trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from convscope.errors import UserError
from convscope.planning import (
    Context,
    asked_of,
    base_recipe,
    epochs_to_turn,
    fits_device,
    leaves_room,
    nested_subsets,
    pilot_of,
    preset_of,
    reference_recipe,
    shallower,
    within_limits,
)
from convscope.recipe import ConvNet, Model, Recipe

TITLE = "Capacity"

QUESTION = (
    "How many filters, layers and parameters do these images need; "
    "where do networks underfit, where do they overfit?"
)

NEEDS: tuple[str, ...] = ()

MARGIN = 0.02  # nats of validation loss that do not matter

PILOT_SHARE = 2 / 3  # of the epochs of the run whose rate a pilot chooses


@dataclass(frozen=True)
class Subset:
    """What is trained on a part of the training images: networks, and the most seeds of each."""

    models: tuple[ConvNet, ...] = ()
    seeds: int | None = None


@dataclass(frozen=True)
class Preset:
    """What a preset trains.

    sweeps: each a series of networks that differ in width alone, on all images.
    epochs: of a network of 16 filters in its first block on 45,000 images (`epochs_to_turn`).
    rates: learning rates that pilots try.
    reference_seeds: how often the reference recipe is trained, where the chapter `best` does.
    looked_at: training images evaluated at each evaluation; None: all.
    small, middle: networks of one of the sweeps, on the two smaller subsets of the images.
    """

    sweeps: tuple[tuple[ConvNet, ...], ...]
    epochs: int
    rates: tuple[float, ...]
    reference_seeds: int
    looked_at: int | None = None
    small: Subset = Subset()
    middle: Subset = Subset()


def widths(model: ConvNet, *sizes: int) -> tuple[ConvNet, ...]:
    return tuple(replace(model, width=width) for width in sizes)


def first(depth: int, hidden: tuple[int, ...] = (), pool: Literal["max", "avg"] = "max") -> ConvNet:
    """The report's first architecture: convolutions, each with ReLU and pooling, then FC layers.

    hidden: the units of FC layers before the classifier, which is one itself.
    """
    return ConvNet(1, depth, hidden=hidden, pool=pool)


def second(depth: int, block_depth: int) -> ConvNet:
    """Its second one: blocks of convolutions with one pooling each, then one FC layer.

    A block of several convolutions has a skip.
    """
    return ConvNet(1, depth, block_depth=block_depth, skip=block_depth > 1)


PRESETS: dict[str, Preset] = {
    "quick": Preset(
        sweeps=(widths(first(3), 2, 8, 16, 32),),
        epochs=6,
        rates=(1e-3, 2e-3, 4e-3),
        reference_seeds=1,
        looked_at=5_000,
        small=Subset(widths(first(3), 2, 8, 16, 32)),
        middle=Subset(widths(first(3), 8, 16, 32), seeds=1),
    ),
    "standard": Preset(
        sweeps=(
            widths(first(3), 2, 4, 8, 16, 32, 64),
            *(widths(first(depth), 4, 8, 16) for depth in (1, 2, 4)),
            widths(first(3, pool="avg"), 4, 8, 16),
            widths(first(3, (256,)), 4, 8, 16),
            widths(first(3, (256, 64)), 4, 8, 16),
            *(widths(second(*sizes), 4, 8, 16) for sizes in ((1, 3), (2, 2), (3, 2), (3, 3))),
        ),
        epochs=8,
        rates=(1e-3, 2e-3, 4e-3),
        reference_seeds=3,
        looked_at=15_000,
        small=Subset(widths(first(3), 2, 4, 8, 16, 32, 64)),
        middle=Subset(widths(first(3), 2, 4, 8, 16, 32, 64), seeds=2),
    ),
    "full": Preset(
        sweeps=(
            *(
                widths(first(depth, hidden, pool), 2, 4, 8, 16, 32, 64, 128)
                for depth in (1, 2, 3, 4)
                for hidden in ((), (256,), (256, 64))
                for pool in ("max", "avg")
            ),
            *(
                widths(second(depth, blocks), 2, 4, 8, 16, 32, 64, 128)
                for depth in (1, 2, 3)
                for blocks in (2, 3)
            ),
        ),
        epochs=20,
        rates=(2.5e-4, 5e-4, 1e-3, 2e-3, 4e-3),
        reference_seeds=5,
        small=Subset(widths(first(3), 2, 4, 8, 16, 32, 64, 128)),
        middle=Subset(widths(first(3), 2, 4, 8, 16, 32, 64, 128)),
    ),
}


def preset_in(context: Context) -> Preset:
    """The study's preset, with the networks and epochs that a user has set in its place.

    Each depth is a series of all widths; on fewer images the first series is trained.
    """
    preset, asked = preset_of(context, "capacity", PRESETS), asked_of(context, "capacity")
    if not {"widths", "depths", "images"} & set(asked):
        return preset
    usual = preset.sweeps[0]
    sizes = asked.get("widths") or [model.width for model in usual]
    depths = asked.get("depths")
    alike = [shaped(usual[0], depth) for depth in depths] if depths else [usual[0]]
    sweeps = tuple(widths(model, *sizes) for model in alike)
    small = Subset(sweeps[0])
    return replace(
        preset, sweeps=sweeps, small=small, middle=replace(small, seeds=preset.middle.seeds)
    )


def shaped(model: ConvNet, depth: int) -> ConvNet:
    return replace(model, depth=depth, pool_sizes=(), dilations=())


def seeds_in(context: Context) -> tuple[int, ...]:
    """The study's seeds, or as many as a user has set for this chapter."""
    asked = asked_of(context, "capacity").get("seeds")
    return context.seeds if asked is None else context.at_least(asked)[:asked]


def added_seeds(context: Context, time: int) -> tuple[int, ...]:
    """Seeds that no network has had: as many as all have, for each of `context.fit.more` times."""
    own = seeds_in(context)
    return context.at_least((time + 2) * len(own))[(time + 1) * len(own) :]


# --- which networks, on how many images


@dataclass(frozen=True)
class Series:
    """Networks that differ in width alone, on a number of images, with at most so many seeds."""

    models: tuple[ConvNet, ...]
    images: int
    seeds: int | None


def series_of(context: Context) -> list[Series]:
    """The preset's series, of the networks that fit the images; the smallest subset comes first."""
    preset, numbers = preset_in(context), nested_subsets(context)
    parts = [preset.small, preset.middle] if len(numbers) == 3 else []
    if "images" in asked_of(context, "capacity"):
        parts = [preset.small] * (len(numbers) - 1)
    found = [
        Series(fitting(context, part.models), images, part.seeds)
        for part, images in zip(parts, numbers, strict=False)
    ]
    found += [Series(models, numbers[-1], None) for models in sweeps_of(context)]
    return list(dict.fromkeys(series for series in found if series.models))


def fitting(context: Context, models: tuple[ConvNet, ...]) -> tuple[ConvNet, ...]:
    """Those that the images leave room for, and that fit the device where one is given.

    Where the images leave none in any sweep, the networks have fewer blocks. Where none fits the
    device, the narrowest of each sweep is made to fit.
    """
    shape = context.data.in_shape
    every = [model for sweep in preset_in(context).sweeps for model in sweep]
    if not any(leaves_room(model, shape) for model in every):
        models = tuple(shallower(model, shape) for model in models)
    models = tuple(model for model in models if leaves_room(model, shape))
    held = tuple(model for model in models if fits_device(context, model))
    if held or not models or any(fits_device(context, m) for m in every if leaves_room(m, shape)):
        return held
    return (within_limits(context, min(models, key=lambda model: model.width)),)


def sweeps_of(context: Context) -> list[tuple[ConvNet, ...]]:
    """The preset's sweeps, of the networks that fit the images."""
    sweeps = [fitting(context, sweep) for sweep in preset_in(context).sweeps]
    if not any(sweeps):
        _, height, width = context.data.in_shape
        raise UserError(
            f"images of {height}×{width} pixels leave no room for a convolution with pooling"
        )
    return [models for models in sweeps if models]


def families_of(context: Context) -> list[list[ConvNet]]:
    """All networks that differ in width alone, whatever their images; a pilot serves a family."""
    families: dict[ConvNet, dict[ConvNet, None]] = {}
    for series in series_of(context):
        for model in series.models:
            families.setdefault(replace(model, width=1), {})[model] = None
    return [list(members) for members in families.values()]


def recipe_of(context: Context, model: ConvNet, images: int) -> Recipe:
    """A network on so many images; its rate and seed are filled in later.

    The learning rate is constant and there is no augmentation, so that nothing hides overfitting.
    """
    preset = preset_in(context)
    base = base_recipe(context, images, preset.looked_at)
    evaluated = min(images, base.train_sample or images)
    evaluated += len(context.data.val) + len(context.data.test)
    return replace(
        base,
        model=model,
        epochs=epochs_to_turn(context, preset.epochs, images, model.width),
        schedule="constant",
        # so that a run on few images does not pay for many that are evaluated
        evaluate_every=2 if evaluated > 2 * images else 1,
    )


def sweep_of(context: Context, rates: Mapping[Model, float], otherwise: float) -> list[Recipe]:
    """All runs of the sweep. otherwise: the rate of networks of which no pilot finished."""
    return list(
        dict.fromkeys(
            replace(
                recipe_of(context, model, series.images),
                lr=rates.get(model, otherwise),
                seed=seed,
            )
            for series in series_of(context)
            for model in series.models
            for seed in seeds_in(context)[: series.seeds]
        )
    )


def added_of(
    context: Context, time: int, rates: Mapping[Model, float], otherwise: float
) -> list[Recipe]:
    """The main series on all images once more, with other seeds."""
    series = main_of(context)
    return [
        replace(recipe_of(context, model, series.images), lr=rates.get(model, otherwise), seed=seed)
        for model in series.models
        for seed in added_seeds(context, time)
    ]


def main_of(context: Context) -> Series:
    """The series that the chapter's verdict is about, on all images."""
    groups: dict[ConvNet, list[Series]] = {}
    for one in series_of(context):
        groups.setdefault(replace(one.models[0], width=1), []).append(one)
    alike = max(
        groups.values(),
        key=lambda found: (len({s.images for s in found}), sum(len(s.models) for s in found)),
    )
    return max(alike, key=lambda series: series.images)


# --- what comes before and beside it


def sweep_pilots(context: Context) -> list[Recipe]:
    """Short runs on the smallest subset, of one network of each sweep, one for each rate."""
    preset, images = preset_in(context), nested_subsets(context)[0]
    out = []
    for model in map(pilot_of, families_of(context)):
        recipe = recipe_of(context, model, images)
        short = replace(
            recipe,
            epochs=max(1, round(PILOT_SHARE * recipe.epochs)),
            evaluate=("val",),
            train_sample=None,
            seed=context.seeds[0],
        )
        out += [replace(short, lr=rate) for rate in preset.rates]
    return out


def references_of(context: Context) -> list[Recipe]:
    """The reference recipe, where the chapter `best` trains it too, so that it costs nothing."""
    if "best" not in context.chapters:
        return []
    return [
        replace(reference_recipe(context), seed=seed)
        for seed in context.seeds[: preset_in(context).reference_seeds]
    ]


def forecast(context: Context) -> list[Recipe]:
    """The recipes that the chapter will ask for, to estimate its time; rates are not known yet."""
    rate = preset_in(context).rates[0]
    more = [one for time in range(context.fit.more) for one in added_of(context, time, {}, rate)]
    return [*sweep_pilots(context), *references_of(context), *sweep_of(context, {}, rate), *more]
