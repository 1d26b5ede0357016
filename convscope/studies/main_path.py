"""A study: plans the chapters' recipes, has them trained, collects the findings, and writes the report.

A study lives in one folder: study.json (what was asked, and what was measured and resolved once), runs/ID/…, report.html, results.json,
results.csv, charts/. Nothing in it is ever trained twice: the same command goes on where it stopped.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path

from convscope import data as datasets
from convscope.engines import LocalEngine
from convscope.errors import UserError, did_you_mean, one_line
from convscope.machine import description as devices
from convscope.machine import resolve
from convscope.planning import Context, Search, duration, parse_budget
from convscope.planning import check as check_search
from convscope.recipe import Recipe, to_json
from convscope.report import Drawings
from convscope.studies.driver import Driver
from convscope.studies.folder import (
    prepare_folder,
    read_study,
    study_folder,
    study_lock,
    write_study,
)
from convscope.studies.measuring import measured_costs, resolved
from convscope.studies.plan import BATCH, PRESETS, SEEDS, chosen_chapters, fitted, forecast, planned
from convscope.studies.trackers import check_tracker, tracked
from convscope.studies.watcher import Watcher
from convscope.studies.writing import Study, save
from convscope.training import build_kernels_ahead, check_device

FALLBACK = (
    "cifar10",
    "shapes",
)  # without a DATA argument: the first, and where no source of it can be reached, the second

# by each worker as it starts; torch imports the second at the first step of an optimiser
IMPORTED = ("convscope.training.job", "convscope.machine.costs", "torch._dynamo")


def study(
    data: str | Path | None = None,
    chapters: Sequence[str] | None = None,
    preset: str = "quick",
    *,
    seeds: int | None = None,
    out: str | Path | None = None,
    device: str = "auto",
    workers: int | None = None,
    val: float = 0.1,
    size: int | None = None,
    budget: str | float | None = None,
    search: Search | None = None,
    track: str | None = None,
    watcher: Watcher | None = None,
    command: str | None = None,
) -> Study:
    """Train what the chapters ask for and write report.html, results.json, results.csv and charts/ to the study's folder.

    data: a known name, a folder of images or an .npz file; None takes cifar10, or the built-in `shapes` where cifar10 can't be had. The folder is
    runs/DATA-PRESET unless `out` names another. Running again goes on where it stopped. `budget` ("10m", "1h30m", "90s" or seconds) makes the preset fit into a
    time: fewer epochs and trials, then fewer seeds, then fewer training images. `search` is how the chapter `best` looks. `track` names a tracker ("wandb") that
    mirrors every run. Raises UserError for input that can't work, KeyboardInterrupt after the report of what is there has been written.
    """
    started = time.perf_counter()
    watcher = watcher or Watcher()
    names = chosen_chapters(chapters)
    if preset not in PRESETS:
        raise UserError(f"preset {one_line(preset)!r}{did_you_mean(preset, PRESETS)}")
    if seeds is not None and not 1 <= seeds <= 1000:
        raise UserError(f"seeds = {seeds}: from 1 to 1000")
    if workers is not None and not 1 <= workers <= 4 * devices.cores():
        raise UserError(
            f"workers = {workers:,}: from 1 to {4 * devices.cores()}, four for each of this machine's {devices.cores()} cores"
        )
    if not 0.01 <= val <= 0.9:
        raise UserError(f"val = {val}: from 0.01 to 0.9; a study chooses by validation")
    seconds = None if budget is None else parse_budget(budget)
    search = search or Search()
    check_search(search)
    if track is not None:
        check_tracker(track)
    device = check_device(device)
    ahead = build_kernels_ahead() if device == "cpu" else None
    with ExitStack() as stack:
        # workers start and import what they need while the data are fetched and read
        engine = stack.enter_context(
            LocalEngine(workers or (devices.cores() if device == "cpu" else 1), IMPORTED)
        )
        loaded, fallback = load(data, val, size, watcher)
        if len(loaded.val) == 0 or len(loaded.test) == 0:
            empty = "validation" if len(loaded.val) == 0 else "test"
            raise UserError(
                f"data {one_line(loaded.name)!r}: no {empty} image is left of {len(loaded.train):,}; add images, or hold out more with --val"
            )
        root = study_folder(loaded, preset, out)
        stack.enter_context(study_lock(root))
        prepare_folder(root)
        if ahead is not None:
            ahead.join()
        choice = resolved(root, engine, device, workers, watcher)
        source = str(data) if data is not None else loaded.name
        base = Recipe(
            data=source,
            data_hash=loaded.hash,
            val=val,
            size=size,
            batch=min(BATCH, max(1, len(loaded.train) // 8)),
        )
        context = Context(
            loaded,
            preset,
            tuple(range(seeds or SEEDS[preset])),
            resolve(base, choice),
            tuple(names),
            folder=root,
            workers=choice.workers,
            search=search,
            measured=dict(read_study(root).get("measured", {})),
        )
        watcher.say(
            f"{loaded.name}: {len(loaded.train):,} training, {len(loaded.val):,} validation, {len(loaded.test):,} test images"
        )
        for note in loaded.notes:
            watcher.say(note)
        costs = measured_costs(root, engine, loaded, forecast(context), watcher)
        if seconds is not None:
            context = fitted(root, context, costs, seconds, choice.workers, watcher)
        plan = planned(context)
        about = {
            "data": loaded.name,
            "data_hash": loaded.hash,
            "source": loaded.source,
            "licence": loaded.licence,
            "notes": list(loaded.notes),
            "fallback": fallback,
            "preset": preset,
            "chapters": list(names),
            "seeds": list(context.seeds),
            "val": val,
            "split_seed": base.split_seed,
            "images": {
                "train": len(loaded.train),
                "val": len(loaded.val),
                "test": len(loaded.test),
            },
            "in_shape": list(loaded.in_shape),
            "classes": list(loaded.classes),
            "command": command or f"convscope study {shlex.quote(source)} --preset {preset}",
            "machine": devices.as_dict(devices.this_machine()),
            "choice": devices.as_dict(choice),
        }
        expected = {
            name: sum(costs.run(recipe) for recipe in recipes) for name, recipes in plan.items()
        }
        watcher.say(
            f"{sum(map(len, plan.values()))} runs, about {duration(sum(expected.values()) / choice.workers)} of training by this machine's measured speed; results in {root}"
        )
        watcher.plan(expected, choice.workers)
        kept = {
            "base": to_json(context.base),
            "seeds": list(context.seeds),
            "fit": asdict(context.fit),
            "search": asdict(search),
        }
        write_study(
            root, {**read_study(root), "context": kept, "about": {**about, "complete": False}}
        )
        if track is not None:
            watcher = stack.enter_context(
                tracked(track, watcher, root, loaded.in_shape, loaded.num_classes)
            )
        drawings = stack.enter_context(Drawings())
        driver = Driver(engine, root / "runs", costs, watcher, found=drawings.add)
        try:
            findings = driver.collect(context)
        except KeyboardInterrupt:
            engine.resize(0)
            watcher.say("interrupted: writing the report of what is there")
            driver.only_finished = True
            findings = driver.collect(replace(context, live=False))
            save(
                root,
                about,
                findings,
                driver,
                time.perf_counter() - started,
                False,
                context,
                drawings,
            )
            raise
        return save(
            root, about, findings, driver, time.perf_counter() - started, True, context, drawings
        )


def load(
    name: str | Path | None, val: float, size: int | None, watcher: Watcher
) -> tuple[datasets.Dataset, str]:
    """(data, why it is not what one would expect, or an empty text)"""
    if name is not None:
        return datasets.load(str(name), val=val, size=size, progress=watcher.step), ""
    try:
        return datasets.load(FALLBACK[0], val=val, progress=watcher.step), ""
    except datasets.DataUnavailable as error:
        watcher.say(f"{error}; going on with the built-in data set {FALLBACK[1]!r}")
        return datasets.load(FALLBACK[1], val=val, progress=watcher.step), str(error)
