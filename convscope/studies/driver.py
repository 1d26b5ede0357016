"""Drives chapters: each asks for runs and is sent them, until it returns its finding."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from convscope.chapters import CHAPTERS
from convscope.engines import Engine
from convscope.errors import UserError, one_line
from convscope.machine import Costs
from convscope.models import UntrustedError
from convscope.planning import Answer, Chapter, Context, Give, Request, Role, Wait
from convscope.recipe import Recipe
from convscope.report import Damage, Finding
from convscope.studies.records import RecordedRequests, ids_of
from convscope.studies.run_queue import Sweep
from convscope.studies.study_json import RunIds
from convscope.studies.watcher import Watcher
from convscope.training import (
    Run,
    check_recipe_of,
    missing_evidence,
    note_missing,
    read_finished,
    run_path,
)
from convscope.words import count


class OutOfTime(Exception):
    """The time budget leaves no more for training."""


@dataclass
class UnderWay:
    """A chapter that has no finding yet.

    rank: its place among the chapters; all but the last are analysed beside runs.
    step: what it waits for; an empty one before it begins.
    """

    name: str
    chapter: Chapter
    rank: int
    step: Sequence[Request] | Wait = ()

    @staticmethod
    def of(name: str, rank: int, context: Context) -> UnderWay:
        """A chapter before its first step, with the results of those that it NEEDS."""
        own = replace(context, needs=CHAPTERS[name].NEEDS)
        return UnderWay(name, CHAPTERS[name].chapter(own), rank)


class Driver:
    """Drives chapters: each asks for runs and is sent them, until it returns its finding.

    engine: where runs are trained; None: runs on disk are read and others left out.
    root: the folder of run folders.
    costs: the seconds that runs take; None where nothing is trained.
    watcher: sees the study go by.
    recorded: what an earlier process asked for, by chapter. Then that is read, whatever today's
        presets would ask for.
    found: is told of each finding.

    Afterwards `runs` holds what chapters were sent, `used` for each run's id the chapters that
    asked for it with the role it has there, `asked` each chapter's steps, `broken` the chapters
    whose analysis failed, with the reason, and `damaged` the runs whose files are not what was
    written.
    """

    def __init__(
        self,
        engine: Engine | None,
        root: Path,
        costs: Costs | None,
        watcher: Watcher,
        recorded: dict[str, list[RunIds]] | None = None,
        found: Callable[[Finding], None] | None = None,
    ) -> None:
        self.engine, self.root, self.costs, self.watcher = engine, root, costs, watcher
        self.recorded, self.found = recorded, found
        self.runs: dict[str, Run] = {}
        self.used: dict[str, dict[str, Role]] = {}
        self.asked: dict[str, list[RunIds]] = {}
        self.broken: dict[str, str] = {}
        # damaged runs, and why: those that are left out, those that are trained again
        self.left_out: dict[str, str] = {}
        self.again: dict[str, str] = {}
        self.missing: dict[str, list[str]] = {}  # by chapter, evidence that it goes without
        self.threads = torch.get_num_threads()
        self.only_finished = engine is None
        self.absence = "without a result on disk"  # what is said of runs that are not there
        self.silence: float | None = None  # as of a Sweep
        # told how many chapters have no finding yet, whether training has to end
        self.late: Callable[[int], bool] = lambda left: False
        self.before_quiet: Callable[[], None] = lambda: None  # ends what would disturb a clock
        self.findings: dict[str, Finding] = {}
        self.sweep: Sweep | None = None
        self.replay: RecordedRequests | None = None

    @property
    def damaged(self) -> list[Damage]:
        """The runs that are left out, and those that were set aside and trained again."""
        again = {key: why for key, why in self.again.items() if key not in self.left_out}
        return [
            *(Damage(key, self._without_path(key, why)) for key, why in self.left_out.items()),
            *(Damage(key, self._without_path(key, why), True) for key, why in again.items()),
        ]

    def _without_path(self, key: str, why: str) -> str:
        """Why a run is damaged, for a page that is read on other machines, too."""
        return why.removeprefix(f"run {one_line(self.root / key)}: ")

    def collect(self, context: Context, known: Sequence[str] = ()) -> dict[str, Finding]:
        """The findings of all chapters, in their order; torch's threads are left as they were.

        context: what they plan with.
        known: chapters whose findings of the last call stay.
        Raises OutOfTime where `late` says so.
        """
        self.threads = torch.get_num_threads()
        self._begin(context, known)
        try:
            return self._drive(context)
        finally:
            torch.set_num_threads(self.threads)

    def _begin(self, context: Context, known: Sequence[str]) -> None:
        self.findings = {name: self.findings[name] for name in known}
        for kept in (context.given, self.asked, self.broken, self.missing):
            for name in [name for name in kept if name not in known]:
                del kept[name]
        if not known:
            self.left_out.clear()
        self.sweep = None
        if self.engine is not None and self.costs is not None and not self.only_finished:
            marks = self.again, self.silence
            self.sweep = Sweep(self.engine, self.root, self.costs, self.watcher, *marks)
        self.replay = RecordedRequests(self.recorded) if self.recorded is not None else None

    def _drive(self, context: Context) -> dict[str, Finding]:
        """Each chapter goes on as soon as what it waits for is there.

        So no core idles while another chapter waits or thinks.
        """
        findings = self.findings
        waiting = [
            UnderWay.of(name, rank, context)
            for rank, name in enumerate(context.chapters)
            if name not in findings
        ]
        while waiting:
            moved = self._move(waiting, context, findings)
            waiting = [one for one in waiting if one.name not in findings]
            if moved or not waiting or self._wait(len(waiting)):
                continue
            self.before_quiet()
            # nothing is trained, and every chapter waits
            quiet = [one for one in waiting if self._is_ready(one.step, context, quiet=True)]
            assert quiet, f"chapters wait for each other: {', '.join(w.name for w in waiting)}"
            self._go_on(quiet[0], Answer(), context, findings)
            waiting = [one for one in waiting if one.name not in findings]
        return {name: findings[name] for name in context.chapters}

    def _move(
        self, waiting: Sequence[UnderWay], context: Context, findings: dict[str, Finding]
    ) -> bool:
        """Each chapter goes on if what it waits for is there; whether one did."""
        moved = False
        for one in waiting:
            answer = self._answer(one, context)
            if answer is not None:
                moved = True
                self._go_on(one, answer, context, findings)
        return moved

    def _wait(self, left: int) -> bool:
        """Wait until a run has ended; False where nothing is trained. Raises OutOfTime."""

        def look() -> None:
            if self.late(left):
                raise OutOfTime

        return self.sweep is not None and self.sweep.wait(look)

    def _answer(self, one: UnderWay, context: Context) -> Answer | None:
        """What a chapter waits for; None where it is not there yet."""
        if isinstance(one.step, Wait):
            return Answer() if self._is_ready(one.step, context, quiet=False) else None
        by_role = self._on_disk(one) if self.sweep is None else self._trained(one, self.sweep)
        if by_role is None:
            return None
        for role, runs in by_role.items():
            for run in runs:
                if run.status == "failed":
                    self._miss(one.name, f"run {run.id} failed")
                self.runs[run.id] = run
                self.used.setdefault(run.id, {}).setdefault(one.name, role)
        return Answer(by_role)

    @staticmethod
    def _trained(one: UnderWay, sweep: Sweep) -> dict[Role, list[Run]] | None:
        """The runs that a chapter asks for; None as long as one is missing."""
        assert not isinstance(one.step, Wait)
        found: dict[Role, list[Run]] = {}
        for request in one.step:
            runs = sweep.answer(request.recipes)
            if runs is None:
                return None
            found.setdefault(request.role, []).extend(runs)
        return found

    def _on_disk(self, one: UnderWay) -> dict[Role, list[Run]]:
        """What is on disk of the runs that a chapter asks for, or asked for in its time."""
        assert not isinstance(one.step, Wait)
        ids = ids_of(one.step, self.root)
        recipes = [recipe for request in one.step for recipe in request.recipes]
        asked = {run_path(recipe, self.root).name: recipe for recipe in recipes}
        if self.replay is not None:
            ids = self.replay.take(one.name, one.step)
        found: dict[Role, list[Run]] = {}
        absent = 0
        for role, keys in ids.items():
            runs = {key: self._read(one.name, key, asked.get(key)) for key in dict.fromkeys(keys)}
            found[role] = [run for run in runs.values() if run is not None]
            absent += sum(run is None and key not in self.left_out for key, run in runs.items())
        if absent:
            self._miss(one.name, f"{count(absent, 'run')} {self.absence}")
        return found

    def _read(self, chapter: str, key: str, asked: Recipe | None) -> Run | None:
        """A run on disk, of the recipe that is asked for; an altered one is said, and left out."""
        try:
            run = read_finished(self.root / key)
            if run is not None:
                check_recipe_of(run, asked)
            return run if run is None or asked is None else replace(run, recipe=asked)
        except UserError as error:
            if key not in self.left_out:
                self.watcher.say(f"{error}; it is left out")
            self.left_out[key] = str(error)
            self._miss(chapter, f"run {key} is left out: {self._without_path(key, str(error))}")
            return None

    def _miss(self, chapter: str, what: object) -> None:
        with missing_evidence(self.missing.setdefault(chapter, [])):
            note_missing(what)

    @staticmethod
    def _is_ready(step: Sequence[Request] | Wait, context: Context, quiet: bool) -> bool:
        """Whether a chapter need not wait any longer; `quiet`: nothing else goes on."""
        if not isinstance(step, Wait) or (step.quiet and not quiet):
            return False
        return all(name in context.given or name not in context.chapters for name in step.needs)

    def _go_on(
        self, one: UnderWay, answer: Answer, context: Context, findings: dict[str, Finding]
    ) -> None:
        """Send a chapter what it waited for, and take its next step."""
        # what chapters compute here runs beside the workers, or, where nothing is trained, beside
        # the drawing of charts: as many threads as cores would fight these for every core
        torch.set_num_threads(self.threads if self.sweep is not None and self.sweep.idle else 1)
        chapter, name = one.chapter, one.name
        begun = name in self.asked
        self.asked.setdefault(name, [])
        try:
            going_on = nullcontext() if self.sweep is None else self.sweep.going_on()
            with missing_evidence(self.missing.setdefault(name, [])), going_on:
                step = chapter.send(answer) if begun else next(chapter)
                while isinstance(step, Give):
                    context.given[name] = step.result
                    step = chapter.send(Answer())
        except StopIteration as end:
            self._end(end.value, context, findings)
        except UntrustedError as error:  # a stranger's study: what needs no code is not lost
            self._end(self._untrusted(name, error), context, findings)
        except UserError:
            raise
        except Exception as error:  # a fault of ours: the others and what was trained are not lost
            self._end(self._failed(name, error), context, findings)
        else:
            one.step = step
            self._ask(one)

    def _ask(self, one: UnderWay) -> None:
        """Take note of a chapter's step, and have its runs trained."""
        name, step = one.name, one.step
        if isinstance(step, Wait):
            needs = CHAPTERS[name].NEEDS
            assert set(step.needs) <= set(needs), f"{name} waits for what is not in its NEEDS"
            return
        self.asked[name].append(ids_of(step, self.root))
        cost = skipped = 0.0
        if self.sweep is not None:
            for request in step:
                new, known = self.sweep.ask(request, one.rank)
                cost, skipped = cost + new, skipped + known
        self.watcher.asked(name, step, cost, skipped)

    def _end(self, finding: Finding, context: Context, findings: dict[str, Finding]) -> None:
        missing = dict.fromkeys((*finding.missing, *self.missing.get(finding.name, ())))
        finding = replace(finding, missing=tuple(missing))
        findings[finding.name] = finding
        context.given.setdefault(finding.name, finding.gives)
        self.watcher.found(finding.name)
        if self.found is not None:
            self.found(finding)

    def _untrusted(self, name: str, error: UntrustedError) -> Finding:
        """The finding of a chapter that cannot do without a network whose code is not to be run."""
        self._miss(name, error)
        chapter = CHAPTERS[name]
        sentence = f"This chapter is left out: {one_line(error)}."
        return Finding(name, chapter.TITLE, chapter.QUESTION, "left out", sentence, {})

    def _failed(self, name: str, error: Exception) -> Finding:
        self.broken[name] = f"{type(error).__name__}: {one_line(error)}"
        self.watcher.say("".join(traceback.format_exception(error)).rstrip())
        chapter = CHAPTERS[name]
        sentence = (
            f"The analysis of this chapter failed ({self.broken[name]}); "
            "its runs are on disk, and the same command analyses them again."
        )
        return Finding(name, chapter.TITLE, chapter.QUESTION, "failed", sentence, {})
