"""One wide layer against a cascade: in words, from numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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
from convscope.statistics import Configuration, Difference, accuracy_difference
from convscope.words import texts_beside

TEXTS = texts_beside(__file__)


@dataclass(frozen=True)
class Step:
    """A comparison as the texts name it; `head` is empty where all networks have the same."""

    head: str
    parameters: tuple[int, int]
    kernels: tuple[int, int]
    difference: Difference


def name_of(model: Model) -> str:
    """The chapter's label of a network."""
    if not isinstance(model, ConvNet):
        return label_of(model)
    head = HEADS[model.head]
    if model.depth == 1 and model.pool == "none":
        return TEXTS.one_layer(model.kernel, model.width, head)
    layers = model.depth * model.block_depth
    return TEXTS.cascade(layers, model.width, model.pool != "none", model.hidden, head)


def no_answer(name: str) -> str:
    """Why nothing can be said."""
    return TEXTS.no_answer(name)


def sentence_of(name: str, comparisons: Sequence[Comparison], choice: Configuration | None) -> str:
    """The verdict in sentences: what each factor buys, and the single layer to choose."""
    told = {
        "size": TEXTS.size,
        "field": TEXTS.field,
        "depth": TEXTS.depth,
        "pooling": TEXTS.pooling,
    }
    several = len({c.head for c in comparisons}) > 1
    clauses = [
        clause(steps)
        for factor, clause in told.items()
        if (steps := steps_of(comparisons, factor, several))
    ]
    if choice is not None:
        clauses.append(TEXTS.choice(choice.label, choice.parameters, choice.test_accuracy))
    if not comparisons[0].difference.degrees:
        clauses.append(TEXTS.one_seed())
    return TEXTS.sentence(name, clauses)


def steps_of(comparisons: Sequence[Comparison], factor: str, headed: bool = True) -> list[Step]:
    """The comparisons of a factor, with each head that of the smallest networks."""
    smallest = {c.head: c for c in reversed(comparisons) if c.factor == factor}
    return [
        Step(HEADS[c.head] if headed else "", sizes_of(c), kernels_of(c), c.difference)
        for c in smallest.values()
    ]


def sizes_of(c: Comparison) -> tuple[int, int]:
    """Learnable parameters before and after."""
    return c.b.parameters, c.a.parameters


def kernels_of(c: Comparison) -> tuple[int, int]:
    """Kernel sizes before and after."""
    return c.b.convnet.kernel, c.a.convnet.kernel


def brief_of(comparisons: Sequence[Comparison]) -> str:
    """The verdict as a clause."""
    if steps := steps_of(comparisons, "depth"):
        return TEXTS.brief(steps)
    return TEXTS.brief_without_cascade(verdict_of(comparisons))


def paragraphs_of(
    context: Context,
    arms: Sequence[Configuration],
    comparisons: Sequence[Comparison],
    choice: Configuration | None,
) -> list[str]:
    """How this was found."""
    seeds = [arm.test_accuracy.n for arm in arms]
    images = len(context.data.train)
    out = [
        TEXTS.networks(),
        TEXTS.training(arms[0].runs[0].recipe, images, min(seeds), max(seeds)),
        TEXTS.reading(),
    ]
    singles = [arm for arm in arms if single(arm)]
    fc, gap = (
        chosen_head(arm for arm in singles if arm.convnet.head == head)
        for head in ("flatten", "gap")
    )
    if choice is not None and fc is not None and gap is not None:
        out.append(
            TEXTS.heads(
                choice.label,
                fc,
                fc.test_accuracy,
                places(fc, context.data),
                gap,
                gap.test_accuracy,
                accuracy_difference(fc, gap, arms),
            )
        )
    return out


def places(arm: Configuration, data: Dataset) -> float:
    """The share of a single layer's parameters that are not its convolution's: the classifier's."""
    model = arm.convnet
    return 1 - model.width * (model.kernel**2 * data.in_shape[0] + 1) / arm.parameters
