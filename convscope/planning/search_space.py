"""What the search may propose: ranges of settings, and a trial's parameters as a recipe and back.

Optuna is imported only when a search begins.
"""

from __future__ import annotations

import bisect
import functools
import itertools
import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from convscope.deployment import needs_of
from convscope.errors import UserError
from convscope.planning.context import Context
from convscope.planning.device_limits import DeviceLimits, limits_of
from convscope.planning.epochs import leaves_room
from convscope.planning.reference import preset_model, reference_recipe
from convscope.planning.search_costs import NetworkCost, cost_of
from convscope.recipe import ConvNet, Recipe, hidden_of, label_of

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution


WIDTH_STEP = 8  # widths between cost as much: a processor computes with vectors of channels

CONTINUOUS = ("lr", "weight_decay")  # the settings that no cost depends on

FIRST_HEADROOM = 1.5  # of studies of earlier versions, which do not say it

SHARE_DRAWS = 1000  # settings from which the share that fits the limits is estimated


@dataclass(frozen=True)
class Ranges:
    """What is searched: inclusive ranges and choices, and the largest network that is trained.

    width: the lowest and the highest.
    depth, block_depth, kernel, crop: the highest.
    parameters: the most learnable ones, or `headroom` times the reference recipe's, where that is
        more.
    memory: likewise, about the bytes of a batch's feature maps and their gradients in float32.
    headroom: how many times the reference recipe's FLOPs a network may take, and at least how many
        times its parameters and memory.
    """

    width: tuple[int, int]
    depth: int
    block_depth: int
    kernel: int
    crop: int
    parameters: int
    memory: float
    activations: tuple[str, ...] = ("relu", "leaky_relu", "gelu", "silu", "tanh")
    pools: tuple[str, ...] = ("max", "avg", "stride", "none")
    norms: tuple[str, ...] = ("none", "batch", "group")
    growth: tuple[float, float] = (1.0, 2.0)
    lr: tuple[float, float] = (2e-2, 5e-1)
    weight_decay: tuple[float, float] = (1e-4, 1e-1)
    headroom: float = 1.5


RANGES = {
    # group normalisation takes several times as long on a CPU as its FLOPs let expect
    "quick": Ranges(
        *((8, 32), 4, 3, 5, 3),
        parameters=1_000_000,
        memory=1e9,
        norms=("none", "batch"),
        headroom=1.25,  # the winner is trained three times, and `quick` is to end in twelve minutes
    ),
    "standard": Ranges((8, 96), 4, 3, 7, 4, parameters=10_000_000, memory=2e9),
    "full": Ranges((8, 192), 5, 4, 7, 4, parameters=50_000_000, memory=8e9),
}


@dataclass(frozen=True)
class Space:
    """The settings that are searched: what the images leave room for, and always the reference's.

    ranges: of the preset.
    reference: the recipe that gives all settings that are not searched.
    in_shape: channels, height and width of the images.
    num_classes: of the images.
    flips: whether training images may be mirrored.
    device: what networks have to fit; None: no device is given.
    whole: the reference recipe's network before it was made to fit, from which the limits of time
        and memory in training follow; None: it is the reference recipe's.
    """

    ranges: Ranges
    reference: Recipe
    in_shape: tuple[int, int, int]
    num_classes: int
    flips: bool = True
    device: DeviceLimits | None = None
    whole: ConvNet | None = None

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
            "flip": CategoricalDistribution((False, True) if self.flips else (False,)),
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

    def limits(self) -> NetworkCost:
        """The most that a network may cost; the reference recipe always fits."""
        whole = self.whole or self.model
        own, r = cost_of(whole, self.in_shape, self.num_classes), self.ranges
        return NetworkCost(
            round(r.headroom * own.flops),
            max(r.parameters, round(r.headroom * own.parameters)),
            max(round(r.memory / self.reference.batch), round(r.headroom * own.memory)),
        )

    def fits(self, params: Mapping[str, Any]) -> bool:
        """Whether a network has room in the images and lies within the limits."""
        model = self.recipe(params).model
        assert isinstance(model, ConvNet)
        if not leaves_room(model, self.in_shape):
            return False
        if self.device is not None and not self.device.hold(
            needs_of(model, self.in_shape, self.num_classes, self.device.bits)
        ):
            return False
        own, most = cost_of(model, self.in_shape, self.num_classes), self.limits()
        return (
            own.flops <= most.flops
            and own.parameters <= most.parameters
            and own.memory <= most.memory
        )

    def inside(self, params: dict[str, Any]) -> dict[str, Any] | None:
        """The settings, narrowed as far as the limits ask for.

        None where not even the narrowest such network fits.
        """
        widths = [width for width in self.values()["width"] if width <= params["width"]]
        fitting = bisect.bisect_left(
            widths, True, key=lambda width: not self.fits({**params, "width": width})
        )
        return {**params, "width": widths[fitting - 1]} if fitting else None

    def smallest(self, params: dict[str, Any]) -> dict[str, Any]:
        """The settings with the cheapest network of all: no dearer than the reference recipe's."""
        values = self.values()
        return {
            **params,
            **{name: values[name][0] for name in ("width", "depth", "block_depth", "kernel")},
            "pool": self.model.pool,
            "norm": self.model.norm,
            "head": "gap",
        }

    def values(self) -> dict[str, list[Any]]:
        """The values of each setting that has a finite number of them, in their order."""
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        out: dict[str, list[Any]] = {}
        for name, held in self.distributions().items():
            if isinstance(held, CategoricalDistribution):
                out[name] = list(held.choices)
            elif isinstance(held, IntDistribution):
                out[name] = list(range(held.low, held.high + 1, held.step))
            elif isinstance(held, FloatDistribution) and held.step is not None:
                steps = round((held.high - held.low) / held.step)
                out[name] = [held.low + i * held.step for i in range(steps + 1)]
        return out

    def settings(self) -> int:
        """How many combinations of settings there are, beside learning rate and weight decay."""
        return math.prod(map(len, self.values().values()))

    @functools.cached_property
    def share(self) -> float:
        """The share of these combinations that lie within the limits, estimated by drawing some."""
        draw, values = random.Random(0), self.values()
        held = {name: getattr(self.reference, name) for name in CONTINUOUS}
        fitting = (
            self.fits({**held, **{name: draw.choice(some) for name, some in values.items()}})
            for _ in range(SHARE_DRAWS)
        )
        return sum(fitting) / SHARE_DRAWS

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
        """A coarse grid: sizes, pooling, normalisation, head and rate vary; the rest is held.

        What does not lie within the limits is left out.
        """
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
        points = [self.params(recipe) for recipe in recipes]
        return [point for point in points if self.fits(point)]


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


def space_of(context: Context, flips: bool = True) -> Space:
    """The settings that a study searches.

    flips: whether training images may be mirrored; if not, the reference recipe does not either.
    Raises UserError where the images leave no room for a network with pooling.
    """
    reference = reference_recipe(context)
    reference = replace(reference, flip=reference.flip and flips)
    assert isinstance(reference.model, ConvNet)
    ranges = RANGES[context.preset]
    headroom = context.measure("the search's headroom", lambda: ranges.headroom)
    channels, height, width = context.data.in_shape
    if not leaves_room(reference.model, (channels, height, width)):
        raise UserError(
            f"images of {height}×{width} pixels leave no room for a convolution with pooling"
        )
    return Space(
        replace(ranges, headroom=headroom or FIRST_HEADROOM),
        reference,
        (channels, height, width),
        context.data.num_classes,
        flips,
        limits_of(context),
        preset_model(context),
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
