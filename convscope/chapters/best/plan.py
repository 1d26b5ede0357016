"""What the chapter trains: presets, the search's budget and rungs, the runs to the end."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from convscope.planning import Context, Proposer, epochs_of, reference_recipe
from convscope.recipe import ConvNet, Recipe

NEEDS: tuple[str, ...] = ("capacity",)

# proposals at a time; not the number of processes, so that every machine makes the same proposals
BATCH = 4


@dataclass(frozen=True)
class Preset:
    """What a preset trains.

    trials: configurations that the search tries.
    rungs: epochs of a trial's runs.
    finals: configurations that are trained to the end beside the reference recipe.
    """

    trials: int
    rungs: tuple[int, ...]
    finals: int


PRESETS = {
    "quick": Preset(trials=5, rungs=(1, 2), finals=1),
    "standard": Preset(trials=12, rungs=(1, 2), finals=1),
    "full": Preset(trials=200, rungs=(3, 9, 27), finals=5),
}


def rungs_of(context: Context) -> list[int]:
    """Epochs of the rungs; fewer rungs where a time budget makes them alike."""
    return sorted({epochs_of(context, epochs) for epochs in PRESETS[context.preset].rungs})


def budget_of(context: Context) -> tuple[int | None, float | None]:
    """(trials, seconds): what was asked for, or the preset's trials fitted to the study's time."""
    asked = context.search
    if asked.trials is None and asked.minutes is None:
        return max(1, math.floor(PRESETS[context.preset].trials * context.fit.epochs)), None
    return asked.trials, None if asked.minutes is None else 60 * asked.minutes


def forecast(context: Context) -> list[Recipe]:
    """As many runs as the chapter will ask for, as far as is known before the proposals are.

    A network of half the reference's width stands for these.
    """
    reference = reference_recipe(context)
    assert isinstance(reference.model, ConvNet)
    usual = replace(
        reference, model=replace(reference.model, width=max(1, round(0.5 * reference.model.width)))
    )
    trials = budget_of(context)[0] or PRESETS[context.preset].trials
    out = [replace(reference, seed=seed) for seed in context.seeds]
    # Hyperband's brackets together promote about 0.6 of the trials
    for i, epochs in enumerate(rungs_of(context)):
        short = replace(usual, epochs=epochs, evaluate=("val",))
        out += [replace(short, seed=1_000_000 + j) for j in range(math.ceil(trials * 0.6**i))]
    finals = min(PRESETS[context.preset].finals, trials - 1)
    return out + [replace(usual, seed=2_000_000 + j) for j in range(finals * len(context.seeds))]


def finals_of(context: Context, search: Proposer) -> list[Recipe]:
    """The reference recipe and the best others, to the end, over all seeds.

    They are chosen by validation loss at the highest rung that they reached.
    """
    reference = reference_recipe(context)
    others = [tried.recipe for tried in search.ranked() if tried.recipe != reference]
    chosen = [reference, *others[: PRESETS[context.preset].finals]]
    return [replace(recipe, seed=seed) for recipe in chosen for seed in context.seeds]
