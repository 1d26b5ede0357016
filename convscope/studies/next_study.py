"""The study that would tell more than this one: the next larger preset, and about how long."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from convscope.errors import UserError
from convscope.models import size_of
from convscope.planning import BudgetFit, Context, duration
from convscope.recipe import Recipe
from convscope.studies.plan import planned
from convscope.studies.study_request import PRESETS, SEEDS

KEY = "the next study"


def next_study(context: Context, command: str, seconds: float) -> dict[str, Any] | None:
    """{preset, command, time} of the next larger preset; None where this one is the largest.

    context: of this study; command: that started it; seconds: that it took.
    time: in words, by the two plans' FLOPs, "" where they are not known; kept with the study.
    """
    place = PRESETS.index(context.preset) + 1
    if place == len(PRESETS):
        return None
    preset = PRESETS[place]
    times = context.measure(KEY, lambda: times_the_work(context, preset))
    return {
        "preset": preset,
        "command": with_preset(command, preset),
        "time": duration(times * seconds) if times and seconds else "",
    }


def times_the_work(context: Context, preset: str) -> float | None:
    """How many times the FLOPs of this study's plan that of another preset takes."""
    first = context.seeds[0] if context.seeds else 0
    seeds = tuple(range(first, first + SEEDS[preset]))
    other = replace(context, preset=preset, seeds=seeds, fit=BudgetFit(), folder=None)
    try:
        own, more = (work_of(one, context) for one in (context, other))
    except UserError:  # a network of the user's own that is not trusted, or does not fit
        return None
    return more / own if own else None


def work_of(one: Context, context: Context) -> float:
    """FLOPs of the forward passes of all planned training."""
    return sum(flops_of(planned(one).values(), context))


def flops_of(plan: Iterable[list[Recipe]], context: Context) -> Iterable[float]:
    data, known = context.data, {}
    for recipe in (recipe for recipes in plan for recipe in recipes):
        if recipe.model not in known:
            size = size_of(recipe.model, data.in_shape, data.num_classes)
            known[recipe.model] = float(size.flops)
        images = min(recipe.limit or len(data.train), len(data.train))
        yield known[recipe.model] * recipe.epochs * images


def with_preset(command: str, preset: str) -> str:
    """The study's command with another preset, in a folder of its own and without a budget."""
    words = shlex.split(command)
    kept, skip = [], False
    for word in words:
        if skip or word.startswith(("--preset=", "--out=", "--budget=", "--seeds=")):
            skip = False
        elif word in ("--preset", "--out", "--budget", "--seeds"):
            skip = True
        else:
            kept.append(shlex.quote(word))
    return " ".join([*kept, "--preset", preset])
