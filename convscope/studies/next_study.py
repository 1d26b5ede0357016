"""The study that would tell more than this one: the next larger preset, and about how long."""

from __future__ import annotations

import shlex
from dataclasses import replace
from typing import Any

from convscope.errors import UserError
from convscope.planning import BudgetFit, Context, duration
from convscope.studies.command_words import without
from convscope.studies.folder import StudyFolder
from convscope.studies.plan import costs_in, fixed, forecast
from convscope.studies.study_request import PRESETS, SEEDS


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
    first = context.seeds[0] if context.seeds else 0
    seeds = tuple(range(first, first + SEEDS[preset]))
    whole = replace(context, chapters=chapters, fit=BudgetFit(), folder=None)
    other = replace(whole, preset=preset, seeds=seeds)
    try:
        plan = forecast(other)
        costs = costs_in(folder, context.data, [*forecast(whole), *plan])
        if costs is None:
            return None
        return fixed(other, other.fit) + sum(map(costs.run, plan)) / max(1, context.workers)
    except UserError:  # a network of the user's own that is not trusted, or does not fit
        return None


def with_preset(command: str, preset: str) -> str:
    """The study's command with another preset, in a folder of its own and without a budget."""
    dropped = ("--preset", "--out", "--budget", "--seeds")
    return shlex.join([*without(shlex.split(command), dropped), "--preset", preset])
