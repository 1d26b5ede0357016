"""What would tell more than this study: the whole preset, a larger one, the strong recipe."""

from __future__ import annotations

import shlex
from dataclasses import replace
from typing import Any

from convscope.errors import UserError
from convscope.models import size_of
from convscope.planning import BudgetFit, Context, duration
from convscope.recipes import named
from convscope.studies.command_words import option, without
from convscope.studies.folder import StudyFolder
from convscope.studies.plan import costs_in, fixed, forecast, left_of, workers_of
from convscope.studies.study_request import PRESETS, SEEDS
from convscope.words import listed


def next_study(context: Context, folder: StudyFolder, command: str) -> dict[str, Any] | None:
    """{preset, command, time} of the next larger preset; None where this one is the largest.

    context: of this study; folder: its own, which knows what runs cost here; command: that began
        it. time: in words, as that study would estimate it; "" where nothing was measured.
    """
    place = PRESETS.index(context.preset) + 1
    if place == len(PRESETS):
        return None
    preset = PRESETS[place]
    seconds = seconds_of(preset, context, folder)
    return {
        "preset": preset,
        "command": with_preset(command, preset),
        "time": duration(seconds) if seconds else "",
    }


def seconds_of(preset: str, context: Context, folder: StudyFolder) -> float | None:
    """What another preset takes on this machine, with all questions that the user asked.

    Of the kinds of run that this study timed, it is as measured; of others, by their FLOPs.
    """
    chapters = folder.fitted.chapters if folder.fitted is not None else context.chapters
    first, number = context.seeds[0] if context.seeds else 0, SEEDS[preset]
    if preset == context.preset and folder.fitted is not None:
        number = folder.fitted.seeds
    seeds = tuple(range(first, first + number))
    whole = replace(context, chapters=chapters, fit=BudgetFit(), folder=None)
    other = replace(whole, preset=preset, seeds=seeds)
    try:
        plan = forecast(other)
        costs = costs_in(folder, context.data, [*forecast(whole), *plan])
        if costs is None:
            return None
        return fixed(other, other.fit) + sum(map(costs.run, plan)) / workers_of(context, folder)
    except UserError:  # a network of the user's own that is not trusted, or does not fit
        return None


def hints_of(context: Context, folder: StudyFolder, command: str) -> dict[str, Any]:
    """What the page alone says of further steps, with about how long each takes here.

    whole: {command, time} of this preset without the command's time budget, in the same folder,
        and what that left, in words; None where nothing was taken away.
    strong: the time of the strong recipe on these images, "" where it is not known; None where they
        are too small for it.
    """
    whole, words = None, shlex.split(command)
    if not context.fit.whole and option(words, "--budget"):
        seconds = seconds_of(context.preset, context, folder)
        kept = shlex.join(without(words, ("--budget",)))
        whole = {"command": kept, "time": duration(seconds) if seconds else ""}
        whole["left"] = listed(left_of(context.fit)) or "fewer questions"
    return {"whole": whole, "strong": strong_time(context, folder)}


def strong_time(context: Context, folder: StudyFolder) -> str | None:
    """By the FLOPs of its network, at what this study's runs cost in all its workers."""
    base, images = context.base, len(context.data.train) + len(context.data.val)
    kept = {name: getattr(base, name) for name in ("data", "data_hash", "device", "threads")}
    recipe = replace(named("strong", images), **kept)
    try:
        size_of(recipe.model, context.data.in_shape, context.data.num_classes)
        costs = costs_in(folder, context.data, forecast(replace(context, folder=None)))
    except UserError:
        return None
    return duration(costs.run(recipe) / workers_of(context, folder)) if costs else ""


def with_preset(command: str, preset: str) -> str:
    """The study's command with another preset, in a folder of its own and without a budget."""
    dropped = ("--preset", "--out", "--budget", "--seeds")
    return shlex.join([*without(shlex.split(command), dropped), "--preset", preset])
