"""What does the cascade of convolution and pooling buy over one wide layer: size, field or depth?

One convolution → FC and one convolution → global average pooling → FC, at the sizes of the course and at those of deep networks, kernels from 3 to 15; the deep
cascade with and without pooling. Every difference is taken at equal parameters but one: that of size.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from convscope import planning as plans
from convscope.data import Dataset
from convscope.errors import UserError, one_line
from convscope.models import build, parameters_of
from convscope.planning import Arm, Context
from convscope.planning import arms as experiment
from convscope.probes.fields import EffectiveField, effective_field, receptive_field
from convscope.recipe import ConvNet, Model, Recipe, label_of
from convscope.report import Chart, Finding, Gallery, Table, charts, pictures
from convscope.statistics import Difference
from convscope.training import Run, network, resident

TITLE = "Receptive field"
QUESTION = "What does the cascade of convolution and pooling buy over one wide layer: size, field or depth?"
NEAR = 0.25  # networks whose parameters differ by less, as a share, count as matched
HEADS = {"flatten": "FC", "gap": "GAP → FC"}
COURSE = {
    "flatten": 6,
    "gap": 16,
}  # filters of the course's shallow networks: 61,618 and 618 parameters on 3×32×32
SAMPLES = 64  # images over which effective fields are averaged


@dataclass(frozen=True)
class Preset:
    epochs: int
    rates: tuple[float, ...]
    kernels: tuple[int, ...]
    deep_gap: ConvNet
    images: int | None  # the most training images; None: all


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

    deep_gap = plans.shallower(preset.deep_gap, data.in_shape)
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
    smallest = plans.smallest_of_capacity(context)
    if smallest is not None:  # the study's own deep network, and one wide layer as large as it
        models += [smallest, matched(shallow["flatten"], parameters(smallest), data)]
    return list(dict.fromkeys(models))


def recipes_of(context: Context) -> list[Recipe]:
    preset = PRESETS[context.preset]
    base = replace(
        plans.base_of(context, preset.images),
        epochs=plans.epochs_of(context, preset.epochs),
        schedule="onecycle",
    )
    return [replace(base, model=model) for model in models_of(context)]


def forecast(context: Context) -> list[Recipe]:
    preset, recipes = PRESETS[context.preset], recipes_of(context)
    pilots = plans.pilots_of(context, recipes, preset.rates)
    return pilots + [
        replace(recipe, lr=preset.rates[0], seed=seed)
        for recipe in recipes
        for seed in context.seeds
    ]


def chapter(context: Context) -> Generator[list[Recipe], list[Run], Finding]:
    while "capacity" in context.chapters and "capacity" not in context.findings:
        yield []
    preset, recipes = PRESETS[context.preset], recipes_of(context)
    tuned = yield from plans.tuned(context, recipes, preset.rates)
    wanted = [
        replace(r, lr=tuned.rate(r.model), seed=seed) for r in recipes for seed in context.seeds
    ]
    runs = yield from plans.whole(context, wanted, tuned.early)
    return finding(context, tuned.pilots, runs)


# the finding


@dataclass(frozen=True)
class Field:
    """Of the features that the head sees: theoretical size (None: the whole input), effective side and its picture."""

    theoretical: int | None
    effective: EffectiveField | None

    @property
    def side(self) -> float | None:
        return None if self.effective is None else self.effective.side


def field_of(context: Context, arm: Arm) -> Field:
    """The field of the last convolutional block of an arm's best seed, with its trained weights."""
    assert isinstance(arm.model, ConvNet)
    in_shape = context.data.in_shape
    rows = receptive_field(build(arm.model, in_shape, context.data.num_classes), in_shape)
    row = [row for row in rows if row.name.startswith("blocks")][-1]
    known = context.computed("effective field", arm.run, lambda: effective(arm, context.data))
    field = (
        None
        if known is None
        else EffectiveField(**{**known, "image": torch.tensor(known["image"], dtype=torch.float64)})
    )
    return Field(None if row.whole else max(row.sizes), field)


def effective(arm: Arm, data: Dataset) -> dict[str, Any] | None:
    """An effective field as plain values; None where the weights can't be read, or all gates are closed."""
    try:
        inputs = resident(arm.run.recipe, data).inputs("test", slice(0, SAMPLES)).cpu()
        field = effective_field(
            network(arm.run, data=data), data.in_shape, layer="blocks", inputs=inputs
        )
    except UserError:
        return None
    image = [[float(f"{value:.4g}") for value in line] for line in field.image.tolist()]
    return {
        "layer": field.layer,
        "image": image,
        "area": field.area,
        "side": field.side,
        "samples": field.samples,
    }


@dataclass(frozen=True)
class Comparison:
    """One step of the argument: what changes from b to a, and what it does to test accuracy."""

    factor: str  # size, field, depth, pooling
    head: str
    a: Arm
    b: Arm
    difference: Difference

    def row(self) -> dict[str, Any]:
        d = self.difference
        return {
            "factor": self.factor,
            "head": HEADS[self.head],
            "from": self.b.label,
            "to": self.a.label,
            "parameters_from": self.b.parameters,
            "parameters_to": self.a.parameters,
            "difference": d.mean,
            "low": d.low,
            "high": d.high,
        }


def spec(arm: Arm) -> ConvNet:
    assert isinstance(arm.model, ConvNet)
    return arm.model


def single(arm: Arm) -> bool:
    """One convolution, no pooling: what a cascade is compared with."""
    return spec(arm).depth * spec(arm).block_depth == 1 and spec(arm).pool == "none"


def near(a: Arm, b: Arm) -> bool:
    return abs(a.parameters - b.parameters) <= NEAR * max(a.parameters, b.parameters)


def comparisons_of(arms: Sequence[Arm]) -> list[Comparison]:
    """Size, field and depth with each head, and pooling: told from the arms."""
    out = []

    def add(factor: str, head: str, a: Arm | None, b: Arm | None) -> None:
        if a is not None and b is not None and a is not b:
            out.append(Comparison(factor, head, a, b, experiment.compare(a, b, arms)))

    for head in ("flatten", "gap"):
        shallow = [a for a in arms if spec(a).head == head and single(a)]
        deep = [
            a for a in arms if spec(a).head == head and spec(a).depth > 1 and spec(a).pool != "none"
        ]
        if not shallow:
            continue
        kernel = min(spec(a).kernel for a in shallow)
        narrow = sorted(
            (a for a in shallow if spec(a).kernel == kernel), key=lambda a: a.parameters
        )
        if not near(narrow[0], narrow[-1]):
            add("size", head, narrow[-1], narrow[0])
        for cascade in sorted(deep, key=lambda a: a.parameters):
            equals = [a for a in shallow if near(a, cascade)]
            # from the smallest kernel to the largest one; of several layers with the same, the one nearest to the cascade's size
            at_kernel = sorted(
                equals, key=lambda a: (spec(a).kernel, abs(a.parameters - cascade.parameters))
            )
            wide = next(
                (a for a in at_kernel if spec(a).kernel == spec(at_kernel[-1]).kernel), None
            )
            if (
                wide is not None
                and spec(wide).kernel > spec(at_kernel[0]).kernel
                and near(wide, at_kernel[0])
            ):
                add("field", head, wide, at_kernel[0])
            # the best single layer of that size, chosen by validation
            add("depth", head, cascade, min(equals, key=lambda a: a.val_loss.mean, default=None))
    for pooled in arms:
        flat = next((a for a in arms if spec(a) == replace(spec(pooled), pool="none")), None)
        if flat is not None and spec(pooled).depth > 1 and flat is not pooled:
            add("pooling", spec(pooled).head, pooled, flat)
    return out


def finding(context: Context, pilots: Sequence[Run], runs: Sequence[Run]) -> Finding:
    name = one_line(context.data.name)
    found = experiment.arms_of(context, runs, name_of)
    arms = [arm for arm in found.values() if isinstance(arm.model, ConvNet)]
    comparisons = comparisons_of(arms)
    if not comparisons:
        sentence = f"On {name} too few of the networks were trained to the end to compare one wide layer with a cascade."
        return Finding(
            "receptive_field",
            TITLE,
            QUESTION,
            "cannot tell",
            sentence,
            {},
            [plans.rates_table(pilots)] if pilots else [],
        )
    fields = {arm.model: field_of(context, arm) for arm in arms}
    choice = chosen_head([a for a in arms if single(a)])
    numbers = {
        "comparisons": [c.row() for c in comparisons],
        "choice": None
        if choice is None
        else {"head": HEADS[spec(choice).head], "network": choice.label, **choice.numbers()},
        "arms": [
            {
                **arm.numbers(),
                "kernel": spec(arm).kernel,
                "head": spec(arm).head,
                "depth": spec(arm).depth,
                "theoretical_field": fields[arm.model].theoretical,
                "effective_field": fields[arm.model].side,
            }
            for arm in arms
        ],
        "seeds": min(a.accuracy.n for a in arms),
    }
    return Finding(
        "receptive_field",
        TITLE,
        QUESTION,
        verdict_of(comparisons),
        sentence_of(name, comparisons, choice),
        numbers,
        tables=[
            comparisons_table(comparisons),
            arms_table(arms, fields),
            plans.rates_table(pilots, {a.model: a.label for a in arms}),
        ],
        charts=[effects_chart(comparisons), *field_charts(arms, fields, comparisons)],
        paragraphs=paragraphs_of(context, arms, comparisons, choice),
        galleries=field_gallery(context, arms, fields),
        brief=brief_of(comparisons),
    )


def name_of(model: Model) -> str:
    if not isinstance(model, ConvNet):
        return label_of(model)
    if model.depth == 1 and model.pool == "none":
        return f"one {model.kernel}×{model.kernel} convolution, {model.width} filters → {HEADS[model.head]}"
    poolless = ", no pooling" if model.pool == "none" else ""
    hidden = f" {'+'.join(map(str, model.hidden))} →" if model.hidden else ""
    return f"cascade of {model.depth * model.block_depth}, width {model.width}{poolless} →{hidden} {HEADS[model.head]}"


def chosen_head(shallow: Iterable[Arm]) -> Arm | None:
    """The one-convolution network of lowest validation loss: its head is the one to choose."""
    return min(shallow, key=lambda a: a.val_loss.mean, default=None)


def strongest(comparisons: Sequence[Comparison], factor: str) -> Comparison | None:
    return max(
        (c for c in comparisons if c.factor == factor),
        key=lambda c: c.difference.mean,
        default=None,
    )


def verdict_of(comparisons: Sequence[Comparison]) -> str:
    """Which of size, field and depth buys most, if the intervals tell them apart in their strongest comparison; with one seed an arm nobody can tell."""
    factors = ("size", "field", "depth")
    best = [c for c in (strongest(comparisons, factor) for factor in factors) if c is not None]
    best.sort(key=lambda c: -c.difference.mean)
    if not best or not best[0].difference.degrees:
        return "cannot tell"
    if all(c.difference.low <= 0 for c in comparisons if c.factor in factors):
        return "none of them buys accuracy for certain"
    rivals = [
        c.factor for c in best if c.difference.high >= best[0].difference.low
    ]  # the first is its own
    return f"{' or '.join(rivals)} buys most"


def sentence_of(name: str, comparisons: Sequence[Comparison], choice: Arm | None) -> str:
    parts = []
    for factor, what in (
        ("size", "growing one convolution (from {a:,} to {b:,} parameters)"),
        ("field", "widening its kernel at equal parameters{kernel}"),
        ("depth", "a cascade in place of the best single layer of its size"),
        ("pooling", "pooling between the layers of the cascade"),
    ):
        members = [c for c in comparisons if c.factor == factor]
        if not members:
            continue
        shown = list({c.head: c for c in reversed(members)}.values())  # with each head the smallest
        spans = [kernels(c) for c in shown]
        alike = len(set(spans)) == 1
        told = []
        for c, span in zip(shown, spans, strict=True):
            head = f" with {HEADS[c.head]}" if len({m.head for m in comparisons}) > 1 else ""
            told.append(
                f"{experiment.buys(c.difference)}{head}"
                + (f" ({span})" if factor == "field" and not alike else "")
            )
        words = what.format(
            a=shown[0].b.parameters,
            b=shown[0].a.parameters,
            kernel=f" ({spans[0]})" if alike else "",
        )
        if factor == "size" and len(shown) > 1:
            words = "growing one convolution to the size of a cascade"
        parts.append(f"{words} {' and '.join(told)}")
    text = f"On {name} " + "; ".join(parts)
    if choice is not None:
        text += f"; of the single layers {choice.label} is best by validation ({choice.parameters:,} parameters, test accuracy {experiment.percent(choice.accuracy)})"
    return f"{text}{experiment.caveat(comparisons[0].difference)}."


def kernels(c: Comparison) -> str:
    return f"from {spec(c.b).kernel}×{spec(c.b).kernel} to {spec(c.a).kernel}×{spec(c.a).kernel}"


def brief_of(comparisons: Sequence[Comparison]) -> str:
    by_head = {c.head: c for c in reversed(comparisons) if c.factor == "depth"}
    if not by_head:
        return f"receptive field: {verdict_of(comparisons)}"
    told = " and ".join(
        f"{experiment.buys(c.difference)} with {HEADS[c.head]}" for c in by_head.values()
    )
    return f"a cascade {told} over the best single layer of its size"


def comparisons_table(comparisons: Sequence[Comparison]) -> Table:
    columns = (
        ("factor", "what changes", "text"),
        ("head", "head", "text"),
        ("from", "from", "text"),
        ("to", "to", "text"),
        ("parameters_from", "parameters", "int"),
        ("parameters_to", "parameters then", "int"),
        ("difference", "accuracy gained", "percent"),
        ("low", "95 % from", "percent"),
        ("high", "to", "percent"),
    )
    caption = f"Differences of mean test accuracy, paired by test image. Field, depth and pooling change at matched parameters (within {100 * NEAR:g} %, as the columns show); the single layer that a cascade is compared with is the one of lowest validation loss among those of its size."
    return Table(
        "comparisons",
        "What size, field, depth and pooling buy",
        columns,
        [c.row() for c in comparisons],
        caption,
    )


def arms_table(arms: Sequence[Arm], fields: dict[Model, Field]) -> Table:
    def seen(arm: Arm) -> dict[str, Any]:
        field = fields[arm.model]
        side = None if field.side is None else round(field.side, 2)
        return {
            "theoretical": "whole input" if field.theoretical is None else str(field.theoretical),
            "effective": side,
        }

    more = (("theoretical", "theoretical field", "text"), ("effective", "effective field", "float"))
    caption = "Fields are those of the features that the head sees, in pixels a side: the theoretical one by arithmetic (not clipped to the image), the effective one the square root of the area above 4.55 % of the gradient's peak."
    return experiment.table("networks", "The networks and their fields", arms, more, seen, caption)


def effects_chart(comparisons: Sequence[Comparison]) -> Chart:
    rows = []
    for c in comparisons:
        kernel = f" {spec(c.b).kernel}→{spec(c.a).kernel}" if c.factor == "field" else ""
        size = (
            f", {c.a.parameters:,} parameters"
            if sum(1 for o in comparisons if (o.factor, o.head) == (c.factor, c.head)) > 1
            else ""
        )
        rows.append({**c.row(), "arm": f"{c.factor}{kernel}, {HEADS[c.head]}{size}"})
    told = "; ".join(f"{row['arm']}: {100 * row['difference']:.1f}" for row in rows)
    return Chart(
        "effects",
        "Test accuracy gained",
        charts.effects(rows, "arm", "factor", ["size", "field", "depth", "pooling"]),
        f"Points of test accuracy gained with 95 % intervals: {told}.",
        "Right of the line: the change helps. Bars are 95 % intervals.",
    )


def field_charts(
    arms: Sequence[Arm], fields: dict[Model, Field], comparisons: Sequence[Comparison]
) -> list[Chart]:
    """Accuracy against theoretical and effective field, of networks of matched parameters."""
    groups: list[tuple[str, list[Arm]]] = []
    for head in ("flatten", "gap"):
        cascade = next((c.a for c in comparisons if c.factor == "depth" and c.head == head), None)
        if cascade is not None:
            members = [a for a in arms if spec(a).head == head and near(a, cascade)]
            groups.append((f"{HEADS[head]}, about {cascade.parameters:,} parameters", members))
    rows = []
    for title, members in groups:
        for arm in members:
            field = fields[arm.model]
            kind = (
                "one convolution"
                if single(arm)
                else "cascade, no pooling"
                if spec(arm).pool == "none"
                else "cascade"
            )
            both = (("theoretical field", field.theoretical), ("effective field", field.side))
            rows += [
                {**arm.point(), "panel": title, "kind": kind, "measure": measure, "field": value}
                for measure, value in both
                if value is not None
            ]
    if not rows:
        return []
    best = max(rows, key=lambda row: row["accuracy"])
    return [
        Chart(
            "accuracy_field",
            "Test accuracy against receptive field at matched parameters",
            charts.accuracy_against_field(
                rows,
                [title for title, _ in groups],
                ["one convolution", "cascade", "cascade, no pooling"],
            ),
            f"Test accuracy with 95 % intervals against the theoretical and the effective receptive field, networks of matched parameters. The highest is {best['network']} with {100 * best['accuracy']:.1f} %.",
            "Fields in pixels a side. A single layer's field grows with its kernel; its filters shrink, so that the number of parameters stays.",
        )
    ]


def field_gallery(
    context: Context, arms: Sequence[Arm], fields: dict[Model, Field]
) -> list[Gallery]:
    image = context.data.test.images[0]
    items = []
    for arm in arms:
        field = fields[arm.model]
        if field.effective is not None:
            size = "whole input" if field.theoretical is None else f"{field.theoretical}"
            items.append(
                (
                    pictures.field(image, field.effective.image, 128),
                    f"{arm.label}: theoretical {size}, effective {field.effective.side:.1f}",
                )
            )
    if not items:
        return []
    return [
        Gallery(
            "fields",
            "Effective receptive fields on a test image",
            tuple(items),
            f"The first test image, {len(items)} times; in orange the pixels that act on the feature in the middle of the map.",
            f"Mean absolute gradient of the middle feature with respect to each pixel, over {min(SAMPLES, len(context.data.test))} test images, with trained weights; its square root is shown.",
            128,
        )
    ]


def paragraphs_of(
    context: Context, arms: Sequence[Arm], comparisons: Sequence[Comparison], choice: Arm | None
) -> list[str]:
    recipe = arms[0].runs[0].recipe
    images = (
        f"{recipe.limit:,} of the {len(context.data.train):,}"
        if recipe.limit
        else f"all {len(context.data.train):,}"
    )
    out = [
        "The networks. One convolution with ReLU, then either flatten and a fully connected layer (FC) or global average pooling and a fully connected layer (GAP → FC), at the sizes of the course "
        "and at sizes matched to a cascade's parameters; with a wider kernel a layer of the same size has fewer filters. A cascade is a series of 3×3 convolutions with ReLU and 2×2 max pooling. Without pooling it is "
        "trained with GAP, where its parameters stay the same.",
        f"Training. {experiment.counted(recipe.epochs, 'epoch')} of {recipe.optimizer} with a one-cycle rate on {images} training images, batches of {recipe.batch}, a learning rate for each network by short pilots, "
        f"{experiment.counted(min(a.accuracy.n for a in arms), 'seed')}.",
        "Reading it. Size compares two single layers with the smallest kernel; field compares the smallest and the largest kernel at matched parameters; depth compares the cascade with the best single layer of its "
        "size, whatever its kernel; pooling compares the cascade with and without it. These are differences between particular networks, not shares of one sum: they need not add up.",
    ]
    flat = [a for a in arms if single(a) and spec(a).head == "flatten"]
    gap = [a for a in arms if single(a) and spec(a).head == "gap"]
    if choice is not None and flat and gap:
        best_flat, best_gap = chosen_head(flat), chosen_head(gap)
        assert best_flat is not None and best_gap is not None
        difference = experiment.compare(best_flat, best_gap, arms)
        word = (
            "better"
            if difference.low > 0
            else "worse"
            if difference.high < 0
            else "neither better nor worse, as far as these seeds tell,"
        )
        out.append(
            f"FC or global average pooling. For one convolution the choice by validation is {choice.label}. The best network with FC ({best_flat.label}: {best_flat.parameters:,} parameters, {best_flat.flops:,} FLOPs, "
            f"{experiment.percent(best_flat.accuracy)}) is {word} than the best with GAP ({best_gap.label}: {best_gap.parameters:,} parameters, {best_gap.flops:,} FLOPs, {experiment.percent(best_gap.accuracy)}); "
            f"the difference is {experiment.points(difference)}. FC gives every place of a feature map weights of its own: {100 * places(best_flat, context.data):.0f} % of its parameters. GAP has one weight a filter and class, "
            f"whatever the place, and spends {best_gap.flops / best_gap.parameters:,.0f} FLOPs a parameter against {best_flat.flops / best_flat.parameters:,.0f}."
        )
    return out


def places(arm: Arm, data: Dataset) -> float:
    """The share of a single layer's parameters that are not its convolution's: the classifier's."""
    model = spec(arm)
    return 1 - model.width * (model.kernel**2 * data.in_shape[0] + 1) / arm.parameters
