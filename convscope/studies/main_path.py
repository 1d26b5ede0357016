"""A study: checks what is asked, opens its folder, measures, plans, has runs trained, reports.

A study lives in one folder: study.json (what was asked, and what was measured and resolved once),
runs/ID/…, report.html, results.json, results.csv, charts/. Nothing in it is ever trained twice: the
same command goes on where it stopped.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from convscope import data as datasets
from convscope.data import Dataset, Options
from convscope.engines import Engine
from convscope.errors import UserError, one_line
from convscope.files import write_bytes
from convscope.machine import Costs, cores, resolve, this_machine
from convscope.planning import (
    CHAPTER_OVERHEAD,
    Context,
    Search,
    checked_grids,
    duration,
    parse_budget,
    reference_recipe,
)
from convscope.recipe import Recipe
from convscope.report import Drawings, Finding
from convscope.studies.driver import Driver, OutOfTime
from convscope.studies.engines import opened
from convscope.studies.folder import StudyFolder, study_path
from convscope.studies.measuring import learn, measured_costs, resolved
from convscope.studies.near_images import Looking, notes_of
from convscope.studies.plan import (
    AFTER,
    BATCH,
    fitted,
    forecast,
    not_asked,
    planned,
    refuse_at_once,
)
from convscope.studies.study_command import command_of
from convscope.studies.study_file import study_toml
from convscope.studies.study_json import About, Asked, Fitted, Plan
from convscope.studies.study_request import (
    SEEDS,
    StudyRequest,
    check,
    check_splits,
    chosen_chapters,
)
from convscope.studies.trackers import joined_names, tracked
from convscope.studies.watcher import Watcher
from convscope.studies.writing import Study, save
from convscope.training import build_kernels_ahead, check_device

# without a DATA argument: the first, and where no source of it can be reached, the second
FALLBACK = ("cifar10", "shapes")

SLACK = 0.05  # of a time budget, by which training may run over it


def study(
    data: str | Path | None = None,
    chapters: Sequence[str] | None = None,
    preset: str = "quick",
    *,
    seeds: int | None = None,
    first_seed: int = 0,
    out: str | Path | None = None,
    device: str = "auto",
    workers: int | None = None,
    val: float = 0.1,
    size: int | None = None,
    columns: str | None = None,
    group_by: str | None = None,
    resize: str = "crop",
    classes: str = "folders",
    budget: str | float | None = None,
    search: Search | None = None,
    track: str | Sequence[str] | None = None,
    silence: str | float | None = None,
    grids: Mapping[str, Mapping[str, Any]] | None = None,
    engine: str = "local",
    address: str | None = None,
    watcher: Watcher | None = None,
    command: str | None = None,
) -> Study:
    """Answer the chapters' questions on images and report; again, it goes on where it stopped.

    data: a known name or own images, as for `load`; None: cifar10, or `shapes` in its place.
    chapters, preset: their names, None: all; quick, standard or full.
    seeds, first_seed: so many numbers in a row, for each configuration; None: as the preset says.
    out: the study's folder; None: runs/DATA-PRESET.
    device, workers: cpu, cuda, … or auto; processes that train, None: as many as are fastest here.
    val: the share of training images that is held out for validation.
    size, columns, group_by, resize, classes: how own images are read, as for `load`.
    budget: a time that the preset is made to fit ("10m", "90s", seconds): fewer epochs, trials, …
    search, track: how the chapter `best` searches; trackers ("wandb,mlflow") that mirror every run.
    silence: a time ("10m") after which a run that reports nothing is ended; None: 50 of its epochs.
    grids: by chapter what changes its preset, as {"capacity": {"widths": [4, 8]}}.
    engine, address: local or ray; of a Ray cluster, None: RAY_ADDRESS's, else of this machine.
    watcher, command: sees the study go by; what the report quotes, None: what the arguments say.

    Raises UserError for what cannot work, KeyboardInterrupt after reporting what is there.
    """
    plain: dict[str, Any] = {"preset": preset, "first_seed": first_seed, "out": out, "val": val}
    plain |= {"device": device, "workers": workers, "track": joined_names(track)}
    plain |= {"engine": engine, "address": address, "command": command}
    asked = StudyRequest(
        data=None if data is None else str(data),
        chapters=tuple(chosen_chapters(chapters)),
        seeds=SEEDS.get(preset, 0) if seeds is None else seeds,
        **vars(Options(size, columns, group_by, resize, classes)),
        budget=None if budget is None else parse_budget(budget),
        search=search or Search(),
        silence=None if silence is None else parse_budget(silence, "silence"),
        grids=checked_grids(grids or {}),
        **plain,
    )
    return conduct(asked, watcher or Watcher())


def conduct(asked: StudyRequest, watcher: Watcher) -> Study:
    """Check, open, measure, plan, drive, save.

    Raises UserError, and KeyboardInterrupt after the report of what is there has been written.
    """
    started = time.perf_counter()
    began = started if asked.began is None else asked.began
    asked = replace(asked, device=check_device(asked.device))
    check(asked)
    joined_names(asked.track)
    with ExitStack() as stack:
        engine, folder, loaded, asked = open_study(asked, stack, watcher)
        context, costs, looking = measure(asked, folder, engine, loaded, watcher)
        context = plan(asked, folder, context, costs, watcher, began)
        if asked.track is not None:
            mirrored = tracked(
                asked.track, watcher, folder.root, loaded.in_shape, loaded.num_classes
            )
            watcher = stack.enter_context(mirrored)
        drawings = stack.enter_context(Drawings())
        drawings.start()  # the page's script is put together while runs train, not at the end
        driver = Driver(engine, folder.runs, costs, watcher, found=drawings.add)
        driver.silence, driver.late = asked.silence, time_keeper(asked, began)
        driver.before_quiet = looking.join
        looking.begin()
        findings, broken_off = drive(driver, context)
        for line in looking.end(wait=broken_off is None):
            watcher.say(line)
        assert folder.about is not None
        folder.about = replace(folder.about, notes=all_notes(asked, context))
        seconds, complete = time.perf_counter() - started, broken_off is None
        done = save(folder, findings, driver, context, drawings, seconds=seconds, complete=complete)
        if not engine.elsewhere:
            learn(costs, done.runs)
        watcher.reported(done.path, done.sentence, done)
        if isinstance(broken_off, KeyboardInterrupt):
            raise broken_off
        return done


def open_study(
    asked: StudyRequest, stack: ExitStack, watcher: Watcher
) -> tuple[Engine, StudyFolder, Dataset, StudyRequest]:
    """Workers, the study's folder, locked, and its images; the request with its `fallback`."""
    on_cpu = asked.device == "cpu"
    ahead = build_kernels_ahead() if on_cpu else None
    # workers start and import what they need while the data are fetched and read
    engine = opened(asked.engine, asked.address, asked.workers, asked.device)
    stack.enter_context(engine)
    loaded, fallback = load(asked, watcher)
    check_splits(loaded.name, len(loaded.train), len(loaded.val), len(loaded.test))
    if asked.data_hash not in ("", loaded.hash):
        raise UserError(
            f"data {one_line(loaded.name)!r} changed since the study was planned: "
            f"{asked.data_hash[:12]} then, {loaded.hash[:12]} now"
        )
    unmeasured = context_of(asked, loaded, asked.workers or cores())
    if asked.budget is not None and on_cpu:
        refuse_at_once(unmeasured, asked.budget, unmeasured.workers)
    reference_recipe(unmeasured)  # UserError where no network fits the device
    root = study_path(loaded, asked.preset, asked.out)
    stack.enter_context(StudyFolder.lock(root))
    folder = StudyFolder.create(root, Asked(asked.device, asked.workers), watcher.say)
    if ahead is not None:
        ahead.join()
    return engine, folder, loaded, replace(asked, fallback=fallback)


def load(asked: StudyRequest, watcher: Watcher) -> tuple[Dataset, str]:
    """The images, and why they are not those that one would expect, or an empty text."""

    def images(name: str) -> Dataset:
        return datasets.load(name, val=asked.val, **vars(Options.of(asked)), progress=watcher.step)

    if asked.data is not None:
        return images(asked.data), ""
    try:
        return images(FALLBACK[0]), ""
    except datasets.DataUnavailable as error:
        watcher.say(f"{error}; going on with the built-in data set {FALLBACK[1]!r}")
        return images(FALLBACK[1]), str(error)


def measure(
    asked: StudyRequest,
    folder: StudyFolder,
    engine: Engine,
    loaded: Dataset,
    watcher: Watcher,
) -> tuple[Context, Costs, Looking]:
    """How this machine computes fastest, and the seconds of each kind of run: measured once."""
    choice = resolved(folder, engine, Asked(asked.device, asked.workers), watcher, asked.choice)
    context = context_of(asked, loaded, choice.workers)
    context = replace(
        context,
        base=resolve(context.base, choice),
        folder=folder.root,
        measured=folder.measured,
    )
    watcher.say(
        f"{loaded.name}: {len(loaded.train):,} training, {len(loaded.val):,} validation, "
        f"{len(loaded.test):,} test images"
    )
    looking = Looking(context)  # which may know of near-duplicates
    for line in dict.fromkeys((*loaded.said, *notes_of(context))):
        watcher.say(line)
    costs = measured_costs(folder, engine, loaded, forecast(context), watcher)
    return context, costs, looking


def context_of(asked: StudyRequest, loaded: Dataset, workers: int) -> Context:
    """What chapters plan with, before it is known how this machine computes fastest."""
    base = Recipe(
        data=asked.data if asked.data is not None else loaded.name,
        data_hash=loaded.hash,
        val=asked.val,
        **vars(Options.of(asked)),
        batch=min(BATCH, max(1, len(loaded.train) // 8)),
    )
    seeds = tuple(range(asked.first_seed, asked.first_seed + asked.seeds))
    return Context(
        loaded,
        asked.preset,
        seeds,
        base,
        asked.chapters,
        workers=workers,
        search=asked.search,
        grids=asked.grids,
    )


def plan(
    asked: StudyRequest,
    folder: StudyFolder,
    context: Context,
    costs: Costs,
    watcher: Watcher,
    began: float,
) -> Context:
    """Fit the preset into the budget, say what will be trained, and keep it in study.json."""
    workers, spent = context.workers, time.perf_counter() - began
    if asked.budget is not None:
        if asked.fit is not None and folder.fitted is None:
            kept = asked.budget, asked.preset, asked.chapters, len(context.seeds), asked.fit
            folder.fitted = Fitted(*kept)
        context = fitted(folder, context, costs, asked.budget, workers, watcher, spent)
    runs = planned(context)
    expected = {name: sum(map(costs.run, recipes)) for name, recipes in runs.items()}
    training = sum(expected.values()) / workers
    after = AFTER + CHAPTER_OVERHEAD * len(context.chapters)
    watcher.say(
        f"{sum(map(len, runs.values()))} runs, about {duration(training + after)} by this "
        f"machine's measured speed, {duration(training)} of it training; "
        f"results in {folder.root}"
    )
    watcher.plan(expected, workers, after)
    folder.plan = Plan(context.base, context.seeds, context.fit, context.search, context.grids)
    folder.about = about_of(asked, folder, context)
    folder.save()
    write_bytes(folder.root / "study.toml", study_toml(asked, folder))
    return context


def all_notes(asked: StudyRequest, context: Context) -> tuple[str, ...]:
    """What is to be said of the images, and of questions that a budget leaves out."""
    notes = tuple(dict.fromkeys((*context.data.said, *notes_of(context))))
    missing = not_asked(context.fit, asked.chapters)
    if not missing or asked.budget is None:
        return notes
    return (*notes, f"to fit into {duration(asked.budget)}, some questions are {missing}")


def about_of(asked: StudyRequest, folder: StudyFolder, context: Context) -> About:
    """What the report says of the study, which is not complete yet."""
    loaded, base = context.data, context.base
    assert folder.choice is not None
    return About(
        data=loaded.name,
        data_hash=loaded.hash,
        source=loaded.source,
        licence=loaded.licence,
        notes=all_notes(asked, context),
        fallback=asked.fallback,
        preset=asked.preset,
        chapters=context.chapters,
        seeds=context.seeds,
        val=base.val,
        split_seed=base.split_seed,
        images={
            "train": len(loaded.train),
            "val": len(loaded.val),
            "test": len(loaded.test),
        },
        in_shape=loaded.in_shape,
        classes=tuple(loaded.classes),
        command=asked.command or command_of(asked, base.data),
        machine=this_machine(),
        choice=folder.choice,
        complete=False,
        seconds=folder.seconds,
    )


def drive(driver: Driver, context: Context) -> tuple[dict[str, Finding], BaseException | None]:
    """The findings, and what broke the training off: then some are of the runs that are there.

    That is an interruption, after which all are found again, or the end of the time budget.
    """
    known: list[str] = []
    try:
        return driver.collect(context), None
    except KeyboardInterrupt as interrupt:
        reason: BaseException = interrupt
        driver.watcher.say("interrupted: writing the report of what is there")
        driver.absence = "not trained before the study was interrupted"
    except OutOfTime as end:
        reason, known = end, list(driver.findings)
        told = (
            "the time budget ends before all has been trained: writing the report of what is there"
        )
        driver.watcher.say(told)
        driver.absence = "not trained before the time budget ended"
    assert driver.engine is not None
    if driver.sweep is not None:
        driver.sweep.settle()
    driver.engine.resize(0)
    driver.only_finished = True
    return driver.collect(replace(context, live=False), known), reason


def time_keeper(asked: StudyRequest, began: float) -> Callable[[int], bool]:
    """Whether training has to end now, if so many chapters have no finding yet.

    asked: with its time budget; without one, it never has to.
    began: what time.perf_counter said at the beginning.
    """
    budget = asked.budget
    if budget is None:
        return lambda left: False
    end = began + (1 + SLACK) * budget - AFTER
    return lambda left: time.perf_counter() > end - CHAPTER_OVERHEAD * left
