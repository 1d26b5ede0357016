"""The study that would tell more than this one: the next larger preset, and about how long."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from convscope.errors import UserError
from convscope.models import size_of
from convscope.planning import BudgetFit, Context, duration
from convscope.recipe import Model, Recipe
from convscope.studies.plan import forecast
from convscope.studies.study_request import PRESETS, SEEDS
from convscope.training import Run

KEY = "the next study"


def next_study(
    context: Context, runs: Sequence[Run], command: str, seconds: float
) -> dict[str, Any] | None:
    """{preset, command, time} of the next larger preset; None where this one is the largest.

    context: of this study; runs: its own; command: that started it; seconds: that it took.
    time: in words, by the FLOPs of the runs and of the other plan; "" where they are not known.
        It is found once and kept with the study.
    """
    place = PRESETS.index(context.preset) + 1
    if place == len(PRESETS):
        return None
    preset = PRESETS[place]
    times = context.measure(KEY, lambda: times_the_work(context, runs, preset))
    return {
        "preset": preset,
        "command": with_preset(command, preset),
        "time": duration(times * seconds) if times and seconds else "",
    }


def times_the_work(context: Context, runs: Sequence[Run], preset: str) -> float | None:
    """How many times the FLOPs of this study's training that of another preset's plan takes."""
    first = context.seeds[0] if context.seeds else 0
    seeds = tuple(range(first, first + SEEDS[preset]))
    other = replace(context, preset=preset, seeds=seeds, fit=BudgetFit(), folder=None)
    known = {run.recipe.model: float(run.size["flops"]) for run in runs}
    own = work_of([run.recipe for run in runs], context, known)
    try:
        return work_of(forecast(other), context, known) / own if own else None
    except UserError:  # a network of the user's own that is not trusted, or does not fit
        return None


def work_of(recipes: Iterable[Recipe], context: Context, known: dict[Model, float]) -> float:
    """FLOPs of the forward passes of training.

    known: those of one image, by network; others are added.
    """
    data, work = context.data, 0.0
    for recipe in recipes:
        if recipe.model not in known:
            size = size_of(recipe.model, data.in_shape, data.num_classes)
            known[recipe.model] = float(size.flops)
        images = min(recipe.limit or len(data.train), len(data.train))
        work += known[recipe.model] * recipe.epochs * images
    return work


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
