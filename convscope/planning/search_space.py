"""What the search may propose: ranges of settings, and a trial's parameters as a recipe and back.

Optuna is imported only when a search begins.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from convscope.errors import UserError
from convscope.models import size_of
from convscope.planning.context import Context
from convscope.planning.epochs import leaves_room
from convscope.planning.reference import reference_recipe
from convscope.recipe import ConvNet, Recipe, hidden_of, label_of

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution


WIDTH_STEP = 8  # widths between cost as much: a processor computes with vectors of channels


@dataclass(frozen=True)
class Ranges:
    """What is searched: inclusive ranges and choices, and the largest network that is trained.

    width: the lowest and the highest.
    depth, block_depth, kernel, crop: the highest.
    flops: of a 32×32 image's forward pass; larger images are allowed more by their pixels.
    parameters: the most learnable ones.
    memory: about the bytes of a batch's feature maps and their gradients in float32.
    """

    width: tuple[int, int]
    depth: int
    block_depth: int
    kernel: int
    crop: int
    flops: float
    parameters: int
    memory: float
    activations: tuple[str, ...] = ("relu", "leaky_relu", "gelu", "silu", "tanh")
    pools: tuple[str, ...] = ("max", "avg", "stride", "none")
    norms: tuple[str, ...] = ("none", "batch", "group")
    growth: tuple[float, float] = (1.0, 2.0)
    lr: tuple[float, float] = (2e-2, 5e-1)
    weight_decay: tuple[float, float] = (1e-4, 1e-1)


RANGES = {
    # group normalisation takes several times as long on a CPU as its FLOPs let expect
    "quick": Ranges(
        (8, 32), 4, 3, 5, 3, flops=12e6, parameters=1_000_000, memory=1e9, norms=("none", "batch")
    ),
    "standard": Ranges((8, 64), 4, 3, 7, 4, flops=40e6, parameters=10_000_000, memory=2e9),
    "full": Ranges((8, 192), 5, 4, 7, 4, flops=1.5e9, parameters=50_000_000, memory=8e9),
}


@dataclass(frozen=True)
class Space:
    """The settings that are searched: what the images leave room for, and always the reference's.

    ranges: of the preset.
    reference: the recipe that gives all settings that are not searched.
    in_shape: channels, height and width of the images.
    num_classes: of the images.
    """

    ranges: Ranges
    reference: Recipe
    in_shape: tuple[int, int, int]
    num_classes: int

    def distributions(self) -> dict[str, BaseDistribution]:
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        r, model, side = self.ranges, self.model, min(self.in_shape[1:])
        kernel = max(model.kernel, min(r.kernel, side if side % 2 else side - 1))
        pools = [pool for pool in r.pools if side > 1 or pool == "none"]
        widths = min(r.width[0], model.width), max(r.width[1], model.width)
        step = WIDTH_STEP if all(width % WIDTH_STEP == 0 for width in (*widths, model.width)) else 1
        return {
            "width": IntDistribution(*widths, step=step, log=step == 1),
            "depth": IntDistribution(1, max(model.depth, min(r.depth, side.bit_length() - 1))),
            "block_depth": IntDistribution(1, max(model.block_depth, r.block_depth)),
            "growth": FloatDistribution(*r.growth, step=0.5),
            "kernel": IntDistribution(min(3, kernel), kernel, step=2),
            "activation": CategoricalDistribution(r.activations),
            "pool": CategoricalDistribution(pools),
            "norm": CategoricalDistribution(r.norms),
            "skip": CategoricalDistribution((False, True)),
            "head": CategoricalDistribution(("flatten", "gap")),
            "flip": CategoricalDistribution((False, True)),
            "crop": IntDistribution(0, max(self.reference.crop, min(r.crop, side // 8))),
            "lr": FloatDistribution(*r.lr, log=True),
            "weight_decay": FloatDistribution(*r.weight_decay, log=True),
        }

    @property
    def model(self) -> ConvNet:
        assert isinstance(self.reference.model, ConvNet)
        return self.reference.model

    def recipe(self, params: Mapping[str, Any]) -> Recipe:
        """The reference recipe with these settings.

        Settings without effect take their default, so that a network has one recipe only.
        """
        p = dict(params)
        model = replace(
            self.model,
            width=p["width"],
            depth=p["depth"],
            block_depth=p["block_depth"],
            kernel=p["kernel"],
            activation=p["activation"],
            pool=p["pool"],
            norm=p["norm"],
            head=p["head"],
            pool_sizes=(),
            growth=p["growth"] if p["depth"] > 1 else 2.0,
            skip=p["skip"] and p["block_depth"] > 1,
        )
        rates = {key: float(f"{p[key]:.3g}") for key in ("lr", "weight_decay")}
        return replace(self.reference, model=model, flip=p["flip"], crop=p["crop"], **rates)

    def params(self, recipe: Recipe) -> dict[str, Any]:
        """The settings of a recipe, as a trial has them."""
        names = (
            "width",
            "depth",
            "block_depth",
            "growth",
            "kernel",
            "activation",
            "pool",
            "norm",
            "skip",
            "head",
        )
        trained = ("flip", "crop", "lr", "weight_decay")
        return {k: getattr(recipe.model, k) for k in names} | {
            k: getattr(recipe, k) for k in trained
        }

    def too_large(self, recipe: Recipe) -> str | None:
        """Why this network is not trained; None where it is small enough."""
        r = self.ranges
        try:
            size = size_of(recipe.model, self.in_shape, self.num_classes)
        except UserError as error:
            return str(error)
        flops = r.flops * max(1.0, math.prod(self.in_shape[1:]) / 1024)
        memory = 2 * 4 * recipe.batch * sum(math.prod(layer.shape) for layer in size.layers)
        if size.flops > flops:
            found, most = size.flops / 1e6, flops / 1e6
            return f"{found:,.1f} million FLOPs per image; at most {most:,.1f} million are searched"
        if size.parameters > r.parameters:
            return f"{size.parameters:,} parameters; at most {r.parameters:,} are searched"
        if memory > r.memory:
            found, most = memory / 1e9, r.memory / 1e9
            return f"{found:.1f} GB of feature maps per batch; at most {most:g} GB are searched"
        return None

    def axes(self) -> dict[str, Callable[[Any], float]]:
        """For each setting that varies a function from its value to a place between 0 and 1.

        0 is the lowest or first value that is searched, 1 the highest or last one.
        """
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        def place(distribution: BaseDistribution) -> Callable[[Any], float]:
            if isinstance(distribution, CategoricalDistribution):
                return lambda value: (
                    distribution.choices.index(value) / (len(distribution.choices) - 1)
                )
            assert isinstance(distribution, FloatDistribution | IntDistribution)
            low, high = distribution.low, distribution.high
            if distribution.log:
                return lambda value: math.log(value / low) / math.log(high / low)
            return lambda value: (value - low) / (high - low)

        return {
            name: place(held) for name, held in self.distributions().items() if not held.single()
        }

    def grid(self) -> list[dict[str, Any]]:
        """A coarse grid: sizes, pooling, normalisation, head and rate vary; the rest is held."""
        held, known = self.distributions(), self.params(self.reference)
        kernel = known["kernel"]
        values: dict[str, Sequence[Any]] = {
            "width": [max(1, known["width"] // 2), known["width"]],
            "depth": [known["depth"] - 1, known["depth"]],
            "block_depth": [known["block_depth"] - 1, known["block_depth"]],
            "kernel": [kernel, kernel + 2],
            "pool": ["max", "avg"],
            "norm": ["none", "batch"],
            "head": ["flatten", "gap"],
            "lr": [known["lr"] / 2, known["lr"]],
        }
        inside = {
            name: [v for v in tried if contains(held[name], v)] for name, tried in values.items()
        }
        combinations = itertools.product(*inside.values())
        recipes = dict.fromkeys(
            self.recipe({**known, **dict(zip(inside, values, strict=True))})
            for values in combinations
        )
        return [self.params(recipe) for recipe in recipes]


def contains(distribution: BaseDistribution, value: Any) -> bool:
    """Whether a value lies in a distribution."""
    from optuna.trial import TrialState, create_trial

    try:
        create_trial(
            state=TrialState.RUNNING, params={"x": value}, distributions={"x": distribution}
        )
    except ValueError:
        return False
    return True


def space_of(context: Context) -> Space:
    """Raises UserError where the images leave no room for a network with pooling."""
    reference = reference_recipe(context)
    assert isinstance(reference.model, ConvNet)
    channels, height, width = context.data.in_shape
    if not leaves_room(reference.model, (channels, height, width)):
        raise UserError(
            f"images of {height}×{width} pixels leave no room for a convolution with pooling"
        )
    return Space(
        RANGES[context.preset], reference, (channels, height, width), context.data.num_classes
    )


def describe_configuration(recipe: Recipe) -> str:
    """A configuration in words: the network, then augmentation.

    As "width 16, depth 3×2, batch norm, flips, shifts of 2".
    """
    model = recipe.model
    hidden = f", hidden {hidden_of(model)}" if isinstance(model, ConvNet) and model.hidden else ""
    words = [f"{label_of(model)}{hidden}"]
    words += ["flips"] if recipe.flip else []
    words += [f"shifts of {recipe.crop}"] if recipe.crop else []
    return ", ".join(words)
