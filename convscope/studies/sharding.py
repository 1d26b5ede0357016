"""A study in shards: a plan, shares of its runs in processes that share nothing, and the whole."""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from convscope.chapters import CHAPTERS
from convscope.data import Options
from convscope.errors import UserError, one_line
from convscope.files import dump, set_aside
from convscope.machine import cores
from convscope.planning import Context, Request, Wait, parse_budget
from convscope.report import Finding
from convscope.studies.driver import Driver, UnderWay
from convscope.studies.folder import StudyFolder
from convscope.studies.main_path import measure, open_study
from convscope.studies.main_path import plan as make_plan
from convscope.studies.shares import Share
from convscope.studies.study_json import plan_json
from convscope.studies.study_request import StudyRequest, check, checked_place, checked_workers
from convscope.studies.watcher import Watcher
from convscope.training import Run, check_device, run_path, why_no_kernels
from convscope.words import count, listed


def plan_study(asked: StudyRequest, watcher: Watcher) -> str:
    """Check, open, measure and plan a study, and train nothing; returns what comes next.

    Its folder then has a study.json, from which shards in other places train the same study.
    """
    began = time.perf_counter() if asked.began is None else asked.began
    asked = replace(asked, device=check_device(asked.device))
    check(asked)
    with ExitStack() as stack:
        engine, folder, loaded, asked = open_study(asked, stack, watcher)
        context, costs, _ = measure(asked, folder, engine, loaded, watcher)
        make_plan(asked, folder, context, costs, watcher, began)
    plan = one_line(folder.root / "study.json")
    return f"plan: {plan}; train it with: convscope study --plan {plan} --shard 1/8 --out s1"


def plan_folder(plan: Path) -> StudyFolder:
    """The folder of a plan, or of a study. Raises UserError where it holds none.

    plan: its study.json, or the folder itself.
    """
    root = plan if plan.is_dir() else plan.parent
    if not (root / "study.json").is_file() or (not plan.is_dir() and plan.name != "study.json"):
        raise UserError(f"plan {one_line(plan)}: no study.json there; --plan-only writes one")
    folder = StudyFolder.open(root)
    if folder.plan is None or folder.about is None or folder.choice is None or not folder.asked:
        raise UserError(
            f"plan {one_line(plan)}: it is not complete; the command with --plan-only writes it"
        )
    return folder


def plan_id(folder: StudyFolder) -> str:
    """A hash of all that decides which runs a study has."""
    assert folder.plan is not None and folder.about is not None
    tree = {**plan_json(folder.plan), "preset": folder.about.preset}
    tree["base"] = {**tree["base"], "data": ""}  # the same images may lie elsewhere
    return hashlib.sha256(dump([tree, list(folder.about.chapters)])).hexdigest()[:12]


def request_of_plan(folder: StudyFolder, out: Path, command: str | None = None) -> StudyRequest:
    """The request that a plan was made for, to be carried out in another folder."""
    plan, about, asked, kept = folder.plan, folder.about, folder.asked, folder.fitted
    assert plan is not None and about is not None and asked is not None
    return StudyRequest(
        data=plan.base.data,
        chapters=about.chapters,
        preset=about.preset,
        seeds=kept.seeds if kept is not None else len(plan.seeds),
        first_seed=plan.seeds[0],
        out=out,
        device=asked.device,
        workers=asked.workers,
        val=plan.base.val,
        **vars(Options.of(plan.base)),
        budget=kept.budget if kept is not None else None,
        search=plan.search,
        track=None,
        command=command or about.command,
        fallback=about.fallback,
        grids=plan.grids,
        data_hash=plan.base.data_hash,
    )


# --- a shard


@dataclass(frozen=True)
class ShardDone:
    """What a shard has trained, and which chapters it leaves to the merged study, with why."""

    path: Path
    share: Share
    runs: tuple[Run, ...]
    left: dict[str, str]

    @property
    def failed(self) -> list[Run]:
        return [run for run in self.runs if run.status == "failed"]

    def __str__(self) -> str:
        told = [f"shard {self.share}: {count(len(self.runs), 'run')} in {one_line(self.path)}"]
        return "\n".join([*told, *(f"left: {name}: {why}" for name, why in self.left.items())])


def conduct_shard(
    plan: Path, share: Share, flags: Mapping[str, Any], watcher: Watcher
) -> ShardDone:
    """Train a shard's share of a plan's runs.

    plan: the study.json of a plan; runs beside it that are finished are taken over.
    flags: out, and perhaps data, workers and silence.
    Raises UserError where this machine cannot compute as the plan says, or the images differ.
    """
    began = time.perf_counter()
    source = plan_folder(plan)
    out = checked_place(flags["out"])
    if out.absolute() == source.root.absolute():
        raise UserError(f"out {one_line(out)}: is the plan's folder; name one of the shard's own")
    checked_workers(flags.get("workers"))
    asked = request_of_plan(source, out)
    if flags.get("data") is not None:
        asked = replace(asked, data=flags["data"])
    if flags.get("silence") is not None:
        asked = replace(asked, silence=parse_budget(flags["silence"], "silence"))
    check_machine(source)
    with ExitStack() as stack:
        engine, folder, loaded, asked = open_study(asked, stack, watcher)
        take_plan(folder, source)
        take_runs(source.runs, folder.runs)
        context, costs, _ = measure(asked, folder, engine, loaded, watcher)
        context = make_plan(asked, folder, context, costs, watcher, began)
        threads, on_cpu = context.base.threads, context.base.device == "cpu"
        fitting = max(1, cores() // threads) if on_cpu else 1
        engine.resize(flags.get("workers") or fitting)
        driver = ShardDriver(engine, folder.runs, costs, watcher)
        driver.share, driver.silence = share, asked.silence
        driver.collect(context)
        folder.save()
        return ShardDone(folder.root, share, tuple(driver.trained), driver.left)


def check_machine(source: StudyFolder) -> None:
    """UserError where this machine cannot compute as the plan says: it says why."""
    assert source.choice is not None
    choice = source.choice
    shown = f"plan {one_line(source.root)}"
    try:
        check_device(choice.device)
    except UserError as error:
        raise UserError(f"{shown}: it was made for {choice}: {error}") from None
    if reason := why_no_kernels(choice.precision, choice.kernels):
        raise UserError(
            f"{shown}: kernels = {choice.kernels}: {one_line(reason)}; "
            "plan with --kernels library for machines that differ"
        )


def take_plan(folder: StudyFolder, source: StudyFolder) -> None:
    """Write what a plan has measured into another folder; UserError for one of another plan."""
    if folder.plan is not None and folder.about is not None and plan_id(folder) != plan_id(source):
        raise UserError(
            f"out {one_line(folder.root)}: holds runs of another plan ({plan_id(folder)}) than "
            f"{one_line(source.root)} ({plan_id(source)}); name another folder"
        )
    for name in ("asked", "choice", "fitted", "plan", "about"):
        setattr(folder, name, getattr(source, name))
    folder.costs = {**source.costs, **folder.costs}
    folder.measured = {**source.measured, **folder.measured}
    folder.save()


def take_runs(source: Path, target: Path) -> int:
    """Take over the finished runs of another folder, as links where that can be; how many."""
    taken = 0
    for result in sorted(source.glob("*/result.json")):
        run, place = result.parent, target / result.parent.name
        if run.name.startswith(".") or "." in run.name or (place / "result.json").exists():
            continue
        if place.exists():
            set_aside(place, f"a finished run was taken over from {run}")
        part = target / f".taking-{run.name}-{os.getpid()}"
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        for file in run.iterdir():
            if file.is_file() and file.name != ".lock" and not file.name.endswith(".part"):
                take_file(file, part / file.name)
        part.rename(place)
        taken += 1
    return taken


def take_file(file: Path, place: Path) -> None:
    """A copy, or a second name: files of finished runs are replaced, never changed in place."""
    try:
        os.link(file, place)
    except OSError:
        shutil.copyfile(file, place)


class ShardDriver(Driver):
    """Drives chapters as far as a shard can: it trains its share of what each asks for.

    Pilots are trained by every shard, because all that follows depends on them; every shard comes
    to the same results. A chapter that needs runs of other shards is left to the merged study.
    """

    share: Share
    partial: dict[str, int]  # by chapter, runs of its step that other shards train
    left: dict[str, str]

    def _begin(self, context: Context, known: Sequence[str]) -> None:
        super()._begin(context, known)
        self.partial, self.left = {}, {}

    @property
    def trained(self) -> list[Run]:
        assert self.sweep is not None
        return [run for run in self.sweep.runs.values() if run is not None]

    def _drive(self, context: Context) -> dict[str, Finding]:
        findings: dict[str, Finding] = {}
        waiting: list[UnderWay] = []
        for rank, name in enumerate(context.chapters):
            if not CHAPTERS[name].forecast(context):
                self.left[name] = "it trains nothing that is known before"
                continue
            waiting.append(UnderWay.of(name, rank, context))
        while waiting:
            whole = [one for one in waiting if one.name not in self.partial]
            moved = self._move(whole, context, findings)
            waiting = [one for one in waiting if one.name not in findings]
            if not moved and not (self.sweep is not None and self.sweep.wait()):
                break
        for one in waiting:
            self.left[one.name] = self._why_left(one, context)
        return findings

    def _why_left(self, one: UnderWay, context: Context) -> str:
        if one.name in self.partial:
            return f"it goes on from {count(self.partial[one.name], 'run')} of other shards"
        needs = [name for name in CHAPTERS[one.name].NEEDS if name in context.chapters]
        if isinstance(one.step, Wait) and one.step.quiet:
            return "it measures with a clock, when nothing is trained"
        return f"it builds on {listed(needs)}" if needs else "runs of it could not be recorded"

    def _ask(self, one: UnderWay) -> None:
        step = one.step
        if isinstance(step, Wait) or self.sweep is None:
            super()._ask(one)
            return
        assert self.costs is not None
        others = 0
        kept: list[Request] = []
        shared = [r for request in step if request.role != "pilot" for r in request.recipes]
        mine = self.share.part_of(shared, self.costs.run)
        for request in step:
            wanted = [
                recipe
                for recipe in request.recipes
                if request.role == "pilot" or recipe.id in mine or self._is_there(recipe)
            ]
            others += len(set(request.recipes)) - len(set(wanted))
            kept.append(replace(request, recipes=wanted))
        if others:
            self.partial[one.name] = others
        cost = skipped = 0.0
        for request in kept:
            new, known = self.sweep.ask(request, one.rank)
            cost, skipped = cost + new, skipped + known
        self.asked[one.name].append({})
        self.watcher.asked(one.name, kept, cost, skipped)

    def _is_there(self, recipe: Any) -> bool:
        return (run_path(recipe, self.root) / "result.json").exists()


# --- the whole


def joined(
    shards: Sequence[Path], out: Path, watcher: Watcher, command: str | None = None
) -> StudyRequest:
    """Join the runs of shards in one study's folder; the request that completes it.

    shards: their folders, of one plan.
    out: the folder of the whole study.
    command: for the report.
    Raises UserError where they are not of one plan.
    """
    sources = [plan_folder(shard) for shard in shards]
    check_one_plan(sources)
    root = checked_place(out)
    if any(source.root.absolute() == root.absolute() for source in sources):
        raise UserError(f"out {one_line(root)}: is a shard's folder; name one for the whole")
    asked = sources[0].asked
    assert asked is not None
    with StudyFolder.lock(root):
        folder = StudyFolder.create(root, asked, watcher.say)
        take_plan(folder, sources[0])
        for source in sources:
            folder.measured = {**source.measured, **folder.measured}
            taken = take_runs(source.runs, folder.runs)
            watcher.say(f"{one_line(source.root)}: {count(taken, 'run')} taken over")
        folder.save()
    return request_of_plan(folder, root, command)


def check_one_plan(sources: Iterable[StudyFolder]) -> None:
    """UserError that names the folder which is of another plan than the first."""
    first, *others = sources
    for other in others:
        if plan_id(other) != plan_id(first):
            raise UserError(
                f"shards: {one_line(other.root)} is of another plan ({plan_id(other)}) than "
                f"{one_line(first.root)} ({plan_id(first)}); merge shards of one plan"
            )
