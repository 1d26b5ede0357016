"""Which parts are nonlinear, and what each buys: in words, from numbers."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from convscope.chapters.nonlinearity.collapses import Collapsed
from convscope.chapters.nonlinearity.plan import KINDS, MARGIN, PRESETS, kinds_of
from convscope.planning import Context, shallower, smallest_of_capacity
from convscope.probes.affine import Part
from convscope.recipe import ConvNet, label_of
from convscope.statistics import Configuration, Difference
from convscope.training import Run
from convscope.words import texts_beside

TEXTS = texts_beside(__file__)


def no_answer(name: str, base: ConvNet, trained: bool) -> str:
    """Why nothing can be said; `trained`: whether the complete network was trained to the end."""
    return TEXTS.no_answer(name, label_of(base), linear=trained and not kinds_of(base))


def brief_of(drop: Difference) -> str:
    """The verdict as a clause."""
    return TEXTS.brief(drop)


def sentence_of(
    name: str,
    base: ConvNet,
    full: Configuration,
    drop: Difference,
    alone: dict[str, Difference],
    linears: Sequence[Configuration],
    softmax: Configuration | None,
    on_size: Sequence[str],
) -> str:
    """The verdict in sentences.

    Args:
        name: of the data, on one line.
        base: the network that is ablated.
        full: its arm.
        drop: its test accuracy minus that without any nonlinear part.
        alone: the same for each kind that is taken out alone.
        linears: all arms without nonlinear parts.
        softmax: softmax regression's arm, where it was trained.
        on_size: for each of `linears` whether it is equivalent to softmax regression.
    """
    kinds = kinds_of(base)
    told = [TEXTS.drop(name, label_of(base), kinds, full.test_accuracy, drop)]
    if alone and len(kinds) > 1:
        told.append(TEXTS.each_alone(alone))
    if softmax is not None and linears:
        seeds = min(arm.test_accuracy.n for arm in (*linears, softmax))
        told.append(TEXTS.linear_networks(accuracies_of(linears), softmax.test_accuracy))
        told.append(TEXTS.equivalence(on_size, MARGIN, seeds))
    if not drop.degrees:
        told.append(TEXTS.one_seed())
    return " ".join(told)


def accuracies_of(arms: Sequence[Configuration]) -> list[float]:
    return [arm.test_accuracy.mean for arm in arms]


def paragraphs_of(
    context: Context,
    base: ConvNet,
    full: Configuration,
    linear: Configuration,
    measured: Sequence[Part],
    done: dict[str, Collapsed],
    linears: Sequence[Configuration],
    on_size: Sequence[str],
    runs: Sequence[Run],
) -> list[str]:
    """How this was found.

    Args:
        context: of the study.
        base: the network that is ablated.
        full: its arm.
        linear: the arm without any nonlinear part.
        measured: the network's parts.
        done: the affine maps of linear networks, by run.
        linears: all arms without nonlinear parts.
        on_size: for each of `linears` whether it is equivalent to softmax regression; empty
            where that was not trained.
        runs: all runs of the arms, those that did not finish too.
    """
    recipe, data = full.runs[0].recipe, context.data
    nonlinear = Counter(KINDS.get(part.kind, part.kind) for part in measured if not part.affine)
    out = [
        TEXTS.network(
            label_of(base), base.hidden, origin_of(context, base), len(measured), nonlinear
        ),
        TEXTS.training(recipe, len(data.train), len(full.runs), full.parameters, linear.parameters),
        TEXTS.why(
            data.num_classes, math.prod(data.in_shape), accuracies_of(linears), on_size, MARGIN
        ),
    ]
    if done:
        agreements = [found.agreement for found in done.values() if found.agreement is not None]
        images = next(iter(done.values())).checked
        error = max(found.max_error for found in done.values())
        out.append(TEXTS.collapse(len(done), images, error, min(agreements, default=None)))
    failed = [run for run in runs if run.status != "finished"]
    if failed:
        out.append(TEXTS.left_out(len(failed), sorted({run.status for run in failed})))
    return out


def origin_of(context: Context, base: ConvNet) -> str:
    """Where the network comes from: "capacity", "preset", or "" where neither proposes it."""
    if base == smallest_of_capacity(context):
        return "capacity"
    fallback = shallower(PRESETS[context.preset].fallback, context.data.in_shape)
    return "preset" if base == fallback else ""
