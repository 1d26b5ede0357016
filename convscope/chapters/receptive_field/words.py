"""One wide layer against a cascade: in words, from numbers."""

from __future__ import annotations

from collections.abc import Sequence

from convscope.chapters.receptive_field.comparisons import (
    Comparison,
    chosen_head,
    single,
    verdict_of,
)
from convscope.chapters.receptive_field.plan import HEADS
from convscope.data import Dataset
from convscope.planning import Context
from convscope.recipe import ConvNet, Model, label_of
from convscope.statistics import Configuration, compare
from convscope.words import buys_or_costs, count, one_seed_caveat, percent, points


def name_of(model: Model) -> str:
    if not isinstance(model, ConvNet):
        return label_of(model)
    if model.depth == 1 and model.pool == "none":
        return f"one {model.kernel}×{model.kernel} convolution, {model.width} filters → {HEADS[model.head]}"
    poolless = ", no pooling" if model.pool == "none" else ""
    hidden = f" {'+'.join(map(str, model.hidden))} →" if model.hidden else ""
    return f"cascade of {model.depth * model.block_depth}, width {model.width}{poolless} →{hidden} {HEADS[model.head]}"


def sentence_of(name: str, comparisons: Sequence[Comparison], choice: Configuration | None) -> str:
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
                f"{buys_or_costs(c.difference)}{head}"
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
        text += f"; of the single layers {choice.label} is best by validation ({choice.parameters:,} parameters, test accuracy {percent(choice.test_accuracy)})"
    return f"{text}{one_seed_caveat(comparisons[0].difference.degrees)}."


def kernels(c: Comparison) -> str:
    return f"from {c.b.convnet.kernel}×{c.b.convnet.kernel} to {c.a.convnet.kernel}×{c.a.convnet.kernel}"


def brief_of(comparisons: Sequence[Comparison]) -> str:
    by_head = {c.head: c for c in reversed(comparisons) if c.factor == "depth"}
    if not by_head:
        return f"receptive field: {verdict_of(comparisons)}"
    told = " and ".join(
        f"{buys_or_costs(c.difference)} with {HEADS[c.head]}" for c in by_head.values()
    )
    return f"a cascade {told} over the best single layer of its size"


def paragraphs_of(
    context: Context,
    arms: Sequence[Configuration],
    comparisons: Sequence[Comparison],
    choice: Configuration | None,
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
        f"Training. {count(recipe.epochs, 'epoch')} of {recipe.optimizer} with a one-cycle rate on {images} training images, batches of {recipe.batch}, a learning rate for each network by short pilots, "
        f"{count(min(a.test_accuracy.n for a in arms), 'seed')}.",
        "Reading it. Size compares two single layers with the smallest kernel; field compares the smallest and the largest kernel at matched parameters; depth compares the cascade with the best single layer of its "
        "size, whatever its kernel; pooling compares the cascade with and without it. These are differences between particular networks, not shares of one sum: they need not add up.",
    ]
    flat = [a for a in arms if single(a) and a.convnet.head == "flatten"]
    gap = [a for a in arms if single(a) and a.convnet.head == "gap"]
    if choice is not None and flat and gap:
        best_flat, best_gap = chosen_head(flat), chosen_head(gap)
        assert best_flat is not None and best_gap is not None
        difference = compare(best_flat, best_gap, arms)
        word = (
            "better"
            if difference.low > 0
            else "worse"
            if difference.high < 0
            else "neither better nor worse, as far as these seeds tell,"
        )
        out.append(
            f"FC or global average pooling. For one convolution the choice by validation is {choice.label}. The best network with FC ({best_flat.label}: {best_flat.parameters:,} parameters, {best_flat.flops:,} FLOPs, "
            f"{percent(best_flat.test_accuracy)}) is {word} than the best with GAP ({best_gap.label}: {best_gap.parameters:,} parameters, {best_gap.flops:,} FLOPs, {percent(best_gap.test_accuracy)}); "
            f"the difference is {points(difference)}. FC gives every place of a feature map weights of its own: {100 * places(best_flat, context.data):.0f} % of its parameters. GAP has one weight a filter and class, "
            f"whatever the place, and spends {best_gap.flops / best_gap.parameters:,.0f} FLOPs a parameter against {best_flat.flops / best_flat.parameters:,.0f}."
        )
    return out


def places(arm: Configuration, data: Dataset) -> float:
    """The share of a single layer's parameters that are not its convolution's: the classifier's."""
    model = arm.convnet
    return 1 - model.width * (model.kernel**2 * data.in_shape[0] + 1) / arm.parameters
