"""What the chapter trains: presets, the search's budget and rungs, the runs to the end."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

from convscope.chapters.best.flips import flip_pilot
from convscope.planning import (
    MANY_IMAGES,
    Context,
    Proposer,
    epochs_of,
    limits_of,
    reference_recipe,
    widest,
)
from convscope.recipe import ConvNet, Recipe

NEEDS: tuple[str, ...] = ("capacity",)

# proposals at a time; not the number of processes, so that every machine makes the same proposals
BATCH = 4

FRESH = 10**9  # added to the seeds for those that choose nothing; a study has lower ones

# points of test error by which the winner of 6 trials was worse than that of 18 or 24, by
# bench/search_regret.py: on shapes (800 images, 16×16 pixels) and on CIFAR-10 (1,000, 8×8)
REGRETS = (15.1, 2.1, -1.9, 0.0, -3.0, 4.7)


@dataclass(frozen=True)
class Preset:
    """What a preset trains.

    trials: configurations that the search tries.
    rungs: epochs of a trial's runs.
    finals: configurations that are trained to the end beside the reference recipe.
    part: the share of the training images that the rungs see, where there are many.
    choosing: the seeds of the runs to the end that choose winner and smallest, at most.
    affordable: how much of the reference recipe's training cost (FLOPs of all epochs) a network
        may take that other chapters train dozens of times.
    """

    trials: int
    rungs: tuple[int, ...]
    finals: int
    part: float = 1.0
    choosing: int = 1
    affordable: float = 0.35


PRESETS = {
    "quick": Preset(trials=6, rungs=(1, 2), finals=1, part=0.25),
    "standard": Preset(trials=20, rungs=(1, 2), finals=1, part=0.25),
    "full": Preset(trials=200, rungs=(3, 9, 27), finals=5, choosing=2, affordable=1.0),
}


def rungs_of(context: Context) -> list[int]:
    """Epochs of the rungs; fewer rungs where a time budget makes them alike."""
    return sorted({epochs_of(context, epochs) for epochs in PRESETS[context.preset].rungs})


def limit_of(context: Context) -> int | None:
    """How many training images the rungs see; None: as many as the reference recipe.

    It is a part of them where there are many, so that more can be tried in the same time.
    """
    images = reference_recipe(context).limit or len(context.data.train)
    part = PRESETS[context.preset].part
    return round(part * images) if part < 1 and images >= MANY_IMAGES else None


def budget_of(context: Context) -> tuple[int | None, float | None]:
    """(trials, seconds): what was asked for, or the preset's trials fitted to the study's time."""
    asked = context.search
    if asked.trials is None and asked.minutes is None:
        return max(1, math.floor(PRESETS[context.preset].trials * context.fit.epochs)), None
    return asked.trials, None if asked.minutes is None else 60 * asked.minutes


def forecast(context: Context) -> list[Recipe]:
    """As many runs as the chapter will ask for, as far as is known before the proposals are.

    The reference recipe stands for these: their FLOPs are 0.83 of its own in the mean (`quick`,
    1,000 random proposals). A network of half its width stands for the smallest.
    """
    reference = reference_recipe(context)
    assert isinstance(reference.model, ConvNet)
    half = replace(reference.model, width=max(1, round(0.5 * reference.model.width)))
    trials = budget_of(context)[0] or PRESETS[context.preset].trials
    limit = limit_of(context) or reference.limit
    out = [flip_pilot(context)]
    out += [replace(reference, seed=seed) for seed in choosing_seeds(context)]
    # Hyperband's brackets together promote about 0.6 of the trials
    for i, epochs in enumerate(rungs_of(context)):
        short = replace(reference, epochs=epochs, evaluate=("val",), limit=limit)
        out += [replace(short, seed=1_000_000 + j) for j in range(math.ceil(trials * 0.6**i))]
    finals = min(PRESETS[context.preset].finals, trials - 1) * len(choosing_seeds(context))
    out += [replace(reference, seed=2_000_000 + j) for j in range(finals)]
    quoted = [reference, replace(reference, model=half)]
    limits = limits_of(context)
    if limits is not None and context.fit.whole:  # what a device of twice the size would buy
        wider = widest(context, reference.model, limits.twice(), 2 * reference.model.width)
        quoted += [] if wider is None else [replace(reference, model=wider)]
    return out + fresh_of(context, quoted)


def choosing_seeds(context: Context) -> tuple[int, ...]:
    """The seeds of the runs to the end that choose winner and smallest."""
    return context.seeds[: PRESETS[context.preset].choosing]


def finals_of(context: Context, search: Proposer) -> list[Recipe]:
    """The reference recipe and the best others, to the end.

    They are chosen by validation loss at the highest rung that they reached.
    """
    reference = search.space.reference
    others = [tried.recipe for tried in search.ranked() if tried.recipe != reference]
    chosen = [reference, *others[: PRESETS[context.preset].finals]]
    return [replace(recipe, seed=seed) for recipe in chosen for seed in choosing_seeds(context)]


def fresh_of(context: Context, chosen: Iterable[Recipe]) -> list[Recipe]:
    """Each of these recipes with seeds that chose nothing, as many as the study has seeds."""
    return [
        replace(recipe, seed=FRESH + seed)
        for recipe in dict.fromkeys(replace(recipe, seed=0) for recipe in chosen)
        for seed in context.seeds
    ]
