"""One wide layer against a cascade: what is trained."""

from __future__ import annotations

from dataclasses import dataclass, replace

from convscope.data import Dataset
from convscope.models import parameters_of
from convscope.planning import (
    Context,
    base_recipe,
    epochs_of,
    pilots_of,
    shallower,
    smallest_of_capacity,
)
from convscope.recipe import ConvNet, Recipe

TITLE = "Receptive field"

QUESTION = (
    "What does the cascade of convolution and pooling buy over one wide layer: "
    "size, field or depth?"
)

NEEDS: tuple[str, ...] = ("capacity",)

NEAR = 0.25  # networks whose parameters differ by less, as a share, count as matched

HEADS = {"flatten": "FC", "gap": "GAP → FC"}

# filters of the course's shallow networks: 61,618 and 618 parameters on 3×32×32
COURSE = {"flatten": 6, "gap": 16}

SAMPLES = 64  # images over which effective fields are averaged


@dataclass(frozen=True)
class Preset:
    """What a preset trains.

    epochs: of each run.
    rates: learning rates that pilots try.
    kernels: sizes of the wide layers' kernels.
    deep_gap: the cascade with global average pooling.
    images: the most training images; None: all.
    """

    epochs: int
    rates: tuple[float, ...]
    kernels: tuple[int, ...]
    deep_gap: ConvNet
    images: int | None


PRESETS = {
    "quick": Preset(3, (2e-3, 8e-3, 3.2e-2), (3, 7, 15), ConvNet(6, 3, head="gap"), 10_000),
    "standard": Preset(4, (1e-3, 4e-3, 1.6e-2), (3, 5, 9, 15), ConvNet(8, 3, head="gap"), 20_000),
    "full": Preset(
        30, (1e-3, 2e-3, 4e-3, 8e-3), (3, 5, 7, 9, 11, 13, 15), ConvNet(16, 3, head="gap"), None
    ),
}


# the plan


def matched(model: ConvNet, target: int, data: Dataset) -> ConvNet:
    """The width at which the network's parameters come nearest to the target."""

    def parameters(width: int) -> int:
        return parameters_of(replace(model, width=width), data.in_shape, data.num_classes)

    low, high = 1, 2
    while parameters(high) < target and high < 1 << 15:
        high *= 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if parameters(middle) < target else (low, middle)
    return replace(model, width=min((low, high), key=lambda width: abs(parameters(width) - target)))


def models_of(context: Context) -> list[ConvNet]:
    """The arms; how they are matched is told from them again in the finding."""
    preset, data = PRESETS[context.preset], context.data
    side = min(data.in_shape[1:])
    kernels = [k for k in preset.kernels if k <= side] or [1]
    shallow = {
        head: ConvNet(COURSE[head], 1, pool="none", head=head, kernel=kernels[0])
        for head in ("flatten", "gap")
    }

    def parameters(model: ConvNet) -> int:
        return parameters_of(model, data.in_shape, data.num_classes)

    deep_gap = shallower(preset.deep_gap, data.in_shape)
    plain = replace(deep_gap, head="flatten")
    deep = {"gap": deep_gap, "flatten": matched(plain, parameters(shallow["flatten"]), data)}
    models = list(shallow.values())
    for head in ("flatten", "gap"):
        models += [
            deep[head],
            *(
                matched(replace(shallow[head], kernel=k), parameters(deep[head]), data)
                for k in kernels
            ),
        ]
    models.append(replace(deep_gap, pool="none"))
    smallest = smallest_of_capacity(context)
    if smallest is not None:  # the study's own deep network, and one wide layer as large as it
        models += [smallest, matched(shallow["flatten"], parameters(smallest), data)]
    return list(dict.fromkeys(models))


def recipes_of(context: Context) -> list[Recipe]:
    preset = PRESETS[context.preset]
    base = replace(
        base_recipe(context, preset.images),
        epochs=epochs_of(context, preset.epochs),
        schedule="onecycle",
    )
    return [replace(base, model=model) for model in models_of(context)]


def forecast(context: Context) -> list[Recipe]:
    preset, recipes = PRESETS[context.preset], recipes_of(context)
    pilots = pilots_of(context, recipes, preset.rates)
    return pilots + [
        replace(recipe, lr=preset.rates[0], seed=seed)
        for recipe in recipes
        for seed in context.seeds
    ]
