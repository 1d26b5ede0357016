"""What a study measures once and keeps in study.json."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

from convscope.data import Dataset
from convscope.engines import Engine
from convscope.machine import (
    Choice,
    Costs,
    choose,
    cost_kind,
    keep,
    known_figures,
    recalled,
    timed,
)
from convscope.recipe import Recipe
from convscope.studies.engines import workers_for
from convscope.studies.folder import StudyFolder
from convscope.studies.study_json import Asked, choice_from
from convscope.studies.watcher import Watcher
from convscope.training import Run

MOST = 8.0  # seconds of timing, before a study trains

COST = "seconds"  # the name of a kind's seconds among a machine's figures begins so


def resolved(
    folder: StudyFolder,
    engine: Engine,
    asked: Asked,
    watcher: Watcher,
    given: Choice | None = None,
) -> Choice:
    """What was resolved when the study began, or else a measurement now.

    Resuming never measures again, so that recipes keep their ids.
    given: what is to be taken instead, where the request holds it.
    """
    choice = folder.choice if folder.asked == asked else None
    if given is not None and (choice is None or replace(choice, measured={}) != given):
        choice = given
        folder.begin(asked, choice)
    if choice is None:
        choice = measured_choice(engine, asked, watcher)
        folder.begin(asked, choice)
    engine.resize(workers_for(engine, choice, asked.workers), choice.threads)
    if given is not None:
        watcher.say(f"given: {choice}")
        return choice
    rates = ", ".join(f"{what} {rate:,.0f}" for what, rate in choice.measured.items())
    watcher.say(f"chosen: {choice} (images per second: {rates})")
    return choice


def measured_choice(engine: Engine, asked: Asked, watcher: Watcher) -> Choice:
    """How the engine's workers compute fastest; of this machine that is known for a while."""
    if engine.elsewhere:
        watcher.say("measuring a worker of the cluster …")
        return choose(engine, asked.device, asked.workers)
    return recalled(
        f"choice {asked.device} {asked.workers}",
        lambda: choose(engine, asked.device, asked.workers),
        choice_from,
        lambda: watcher.say("measuring this machine …"),
    )


def measured_costs(
    folder: StudyFolder,
    engine: Engine,
    data: Dataset,
    recipes: Sequence[Recipe],
    watcher: Watcher,
) -> Costs:
    """The seconds per image of each kind of run, measured once and kept in study.json."""
    kinds = list(dict.fromkeys(cost_kind(recipe) for recipe in recipes))
    missing = [kind for kind in kinds if kind.id not in folder.costs]
    kept = {} if engine.elsewhere else kept_costs(missing)
    missing = [kind for kind in missing if kind.id not in kept]
    if kept:
        kept = at_today_s_pace(engine, dearest_first(list(kinds), recipes, data), kept)
    if missing:
        watcher.say(f"timing {len(missing)} kinds of run …")
        found = timed_within(engine, dearest_first(missing, recipes, data), MOST)
        if not engine.elsewhere:
            keep({f"{COST} {key}": list(pair) for key, pair in found.items()})
        kept |= found
    if kept:
        folder.costs = {**folder.costs, **kept}
        folder.save()
    return Costs(data, folder.costs, kinds)


def dearest_first(
    kinds: Sequence[Recipe], recipes: Sequence[Recipe], data: Dataset
) -> list[Recipe]:
    """The kinds that the study will spend most time on first, by FLOPs; the smallest is second.

    Smaller ones, which are not reached, are told by it.
    """
    guess = Costs.at_most(data, kinds, 1.0)
    share = dict.fromkeys(guess.flops, 0.0)
    for recipe in recipes:
        if (key := cost_kind(recipe).id) in share:
            share[key] += guess.run(recipe)
    first, *rest = sorted(kinds, key=lambda kind: -share[kind.id])
    rest.sort(key=lambda kind: guess.flops[kind.id] != min(guess.flops.values()))
    return [first, *rest]


def timed_within(
    engine: Engine, kinds: Sequence[Recipe], seconds: float
) -> dict[str, tuple[float, float]]:
    """As `timed`; kinds that are not reached in so many seconds are left out.

    What they cost is known by their FLOPs then, from the nearest kind that was timed.
    """
    found: dict[str, tuple[float, float]] = {}
    end, together = time.perf_counter() + seconds, 2 * max(1, len(engine.workers))
    for start in range(0, len(kinds), together):
        if found and time.perf_counter() > end:
            break
        found |= timed(engine, kinds[start : start + together])
    return found


def learn(costs: Costs, runs: Sequence[Run]) -> None:
    """Keep what kinds of run have cost in these runs, which is truer than a short measurement."""
    paces: dict[str, list[float]] = {}
    for run in runs:
        expected, key = costs.run(run.recipe), cost_kind(run.recipe).id
        if run.status == "finished" and key in costs.seconds and min(expected, run.seconds) > 0:
            paces.setdefault(key, []).append(run.seconds / expected)
    learned = {key: statistics.median(found) for key, found in paces.items()}
    keep(
        {
            f"{COST} {key}": [pace * seconds for seconds in costs.seconds[key]]
            for key, pace in learned.items()
        }
    )


def at_today_s_pace(
    engine: Engine, kinds: Sequence[Recipe], kept: Mapping[str, tuple[float, float]]
) -> dict[str, tuple[float, float]]:
    """Kept seconds as they are now, by a few kinds that are timed again.

    What was learned while the machine did other work, too, was up to twice too long.

    kinds: the dearest first. kept: by id of a kind.
    """
    again = [kind for kind in kinds if kind.id in kept][: max(1, len(engine.workers))]
    found = timed(engine, again)
    pace = statistics.median(sum(pair) / sum(kept[key]) for key, pair in found.items())
    return {key: (pace * a, pace * b) for key, (a, b) in kept.items()} | found


def kept_costs(kinds: Sequence[Recipe]) -> dict[str, tuple[float, float]]:
    """Of these kinds of run the seconds that are kept of this machine, by id."""
    figures = known_figures() if kinds else {}
    found: dict[str, tuple[float, float]] = {}
    for kind in kinds:
        match figures.get(f"{COST} {kind.id}"):
            case [float(train), float(evaluate)] if train > 0 and evaluate > 0:
                found[kind.id] = train, evaluate
    return found
