"""What a study measures once and keeps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from convscope import machine as devices
from convscope.data import dataset as datasets
from convscope.engines import LocalEngine
from convscope.machine import Costs, choose, kind_of, resolve, timed
from convscope.recipe import Recipe
from convscope.studies.folder import mend_study, read_study, write_study
from convscope.studies.watcher import Watcher


def resolved(
    root: Path, engine: LocalEngine, device: str, workers: int | None, watcher: Watcher
) -> devices.Choice:
    """What was resolved when the study began, or a measurement now: resuming never measures again, so that recipes keep their ids."""
    asked = {"device": device, "workers": workers}
    mend_study(root, asked, watcher)
    known = read_study(root)
    choice = known_choice(known) if known.get("asked") == asked else None
    if choice is None:
        watcher.say("measuring this machine …")
        choice = choose(engine, device, workers)
        write_study(root, {"asked": asked, "choice": devices.as_dict(choice), "costs": {}})
    engine.resize(choice.workers)
    rates = ", ".join(f"{what} {rate:,.0f}" for what, rate in choice.measured.items())
    watcher.say(f"chosen: {choice} (images a second: {rates})")
    return choice


def known_choice(known: dict[str, Any]) -> devices.Choice | None:
    """The choice in study.json; None where there is none that a recipe could take."""
    try:
        choice = devices.Choice(**known["choice"])
        resolve(Recipe(), choice)
        whole = (
            isinstance(choice.workers, int)
            and choice.workers >= 1
            and all(isinstance(rate, int | float) for rate in choice.measured.values())
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        return None
    return choice if whole else None


def measured_costs(
    root: Path,
    engine: LocalEngine,
    data: datasets.Dataset,
    recipes: Sequence[Recipe],
    watcher: Watcher,
) -> Costs:
    """Seconds an image of each kind of run, measured once and kept in study.json."""
    known = read_study(root)
    costs = known.get("costs")
    kept: dict[str, tuple[float, float]] = {}
    for key, pair in costs.items() if isinstance(costs, dict) else ():
        if (
            isinstance(pair, list)
            and len(pair) == 2
            and all(isinstance(value, float) for value in pair)
        ):
            kept[key] = (pair[0], pair[1])
    kinds = list(dict.fromkeys(kind_of(recipe) for recipe in recipes))
    missing = [kind for kind in kinds if kind.id not in kept]
    if missing:
        watcher.say(f"timing {len(missing)} kinds of run …")
        kept |= timed(engine, missing)
        write_study(root, {**known, "costs": {key: list(pair) for key, pair in kept.items()}})
    return Costs(data, kept, kinds)
