"""Recipes become runs through an engine: finished ones are read, each is trained once."""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

from convscope.engines import Engine, Event, Job, JobQueue
from convscope.errors import UserError
from convscope.machine import Costs
from convscope.planning import SHORT_ROLES, Request
from convscope.recipe import Recipe
from convscope.studies.watcher import Watcher, run_label
from convscope.training import (
    Run,
    RunFolder,
    begun_files,
    find_run,
    finished_meanwhile,
    read_run,
    receive,
    run_lock,
    run_path,
    train_elsewhere,
    train_job,
)

# a run is ended that reports nothing for so long: seconds, and as a multiple of what was measured
SILENCE, SILENCE_TIMES = 900.0, 50.0

THOUGHT = 0.2  # seconds of the caller's work from which on jobs are given out beside it


class Sweep:
    """Recipes become runs as they are asked for; finished ones are read, each is trained once.

    A run that fails is recorded with its reason, and the others go on.

    engine: where runs are trained.
    root: the folder of run folders.
    costs: the seconds that runs take; the longest are trained first.
    watcher: sees runs begin and end.
    altered: is filled with the runs that are set aside and trained again: id -> why.
    silence: seconds after which a run that reports nothing is ended; None: fifty times what its
        epochs should take between two reports, and a quarter of an hour at least.
    """

    def __init__(
        self,
        engine: Engine,
        root: Path,
        costs: Costs,
        watcher: Watcher,
        altered: dict[str, str] | None = None,
        silence: float | None = None,
    ) -> None:
        self.engine, self.root, self.costs, self.watcher = engine, root, costs, watcher
        self.recipes: dict[str, Recipe] = {}
        # of those that have ended; None where even the failure could not be recorded
        self.runs: dict[str, Run | None] = {}
        self.told: dict[str, int] = {}  # the last epoch that the watcher was told of
        self.altered = {} if altered is None else altered
        self.silence = silence
        self.queue = JobQueue()
        self.rounds = engine.rounds(self.queue)
        self.unseen: deque[Event] = deque()  # what has happened beside the caller's work
        self.broken: Exception | None = None  # what has ended the engine meanwhile

    def ask(self, request: Request, rank: int = 0) -> tuple[float, float]:
        """Have recipes trained.

        request: the recipes and what they are for. Pilots and trials, on which further requests
            wait, go before all others.
        rank: of two requests the one of lower rank goes first, and of one rank the longest run.
        Returns the cost of the runs that are new, and of those that an earlier process finished.
        """
        cost = skipped = 0.0
        for recipe in request.recipes:
            key = recipe.id
            if key in self.recipes:
                continue
            self.recipes[key] = recipe
            run, one = self._finished(recipe), self.costs.run(recipe)
            if run is not None:
                self.runs[key] = run
                self.watcher.known(recipe, run)
                skipped += one
            else:
                cost += one
                urgency = float(request.role not in SHORT_ROLES), rank, -one
                self.queue.push(self._job(recipe), urgency)
        return cost, skipped

    def _job(self, recipe: Recipe) -> Job:
        """A worker of another machine sends files; one of this machine writes the run's folder."""
        limits = self._silence_of(recipe), self.costs.run(recipe)
        if not self.engine.elsewhere:
            return Job(recipe.id, train_job, (recipe, str(self.root)), *limits)

        def given() -> tuple[Any, ...]:
            return recipe, begun_files(recipe, self.root)

        return Job(recipe.id, train_elsewhere, given, *limits)

    def _silence_of(self, recipe: Recipe) -> float:
        if self.silence is not None:
            return self.silence
        expected = self.costs.since_row_before(recipe, recipe.evaluate_every)
        return max(SILENCE, SILENCE_TIMES * expected)

    def _finished(self, recipe: Recipe) -> Run | None:
        """The run on disk; an altered one is said, and trained again."""
        try:
            run = find_run(recipe, self.root)
        except UserError as error:
            self.altered[run_path(recipe, self.root).name] = str(error)
            self.watcher.say(f"{error}; it is set aside and trained again")
            return None
        return None if run is None or run.status == "failed" else run

    @property
    def idle(self) -> bool:
        """Whether all that was asked for has ended."""
        return len(self.runs) == len(self.recipes)

    def answer(self, recipes: Sequence[Recipe]) -> list[Run] | None:
        """The runs of what was asked for, in its order; None as long as one is missing."""
        if any(recipe.id not in self.runs for recipe in recipes):
            return None
        found = (self.runs[recipe.id] for recipe in recipes)
        return [run for run in found if run is not None]

    def wait(self, look: Callable[[], None] = lambda: None) -> bool:
        """Watch until a run has ended; False where nothing is left to run.

        look: is called after each event and each round, and may raise what ends the watch; not
            before all that has happened is told.
        """
        for turn in range(2):
            for event in chain(self._meanwhile(), self.rounds):
                ended = event is not None and self._see(event)
                if not self.unseen:
                    look()
                if ended:
                    return True
            if turn or not self.queue:
                return False
            # the engine had come to its end before more was asked for
            self.rounds = self.engine.rounds(self.queue)
        return False

    def _meanwhile(self) -> Iterator[Event]:
        while self.unseen:
            yield self.unseen.popleft()
        if self.broken is not None:
            raise self.broken

    @contextlib.contextmanager
    def going_on(self) -> Iterator[None]:
        """Workers that end are given the next jobs while the caller computes.

        What happens meanwhile is told by the next `wait`. Nothing may be asked for inside.
        """
        over = threading.Event()
        thread = threading.Thread(target=self._go_on, args=(over,), name="jobs", daemon=True)
        try:
            if not self.idle:
                with contextlib.suppress(RuntimeError):  # no further thread: then nobody gives jobs
                    thread.start()
            yield
        finally:
            over.set()
            if thread.ident is not None:
                joined(thread)

    def _go_on(self, over: threading.Event) -> None:
        if over.wait(THOUGHT):
            return
        try:
            while True:
                for event in self.rounds:
                    if event is not None:
                        self.unseen.append(self._kept(event))
                    if over.is_set():
                        return
                if not self.queue:
                    return
                self.rounds = self.engine.rounds(self.queue)
        except Exception as error:
            self.broken = error

    def _kept(self, event: Event) -> Event:
        """An event without the files of a row, which are written: a job may be given out again."""
        if not self.engine.elsewhere or event.kind != "progress":
            return event
        row, files = event.value
        self._receive(self.recipes[event.key], files)
        return replace(event, value=(row, {}))

    def settle(self) -> None:
        """Record what happened beside the caller's work, before the engine's workers are ended."""
        while self.unseen:
            self._see(self.unseen.popleft())

    def _see(self, event: Event) -> bool:
        """Tell the watcher of an event; whether it ends a run."""
        recipe, watcher = self.recipes[event.key], self.watcher
        if event.kind == "started":
            if recipe.id not in self.told:
                watcher.started(recipe)
            self.told.setdefault(recipe.id, 0)
        elif event.kind == "progress":
            self._epoch(recipe, event.value)
        elif event.kind == "again":
            watcher.say(f"{run_label(recipe)}: {event.value}; another one goes on with it")
        elif event.kind == "done" and not self.engine.elsewhere:
            self._end(recipe, read_run(Path(event.value)))
        elif event.kind == "done":
            self._record(recipe, "", lambda: receive(recipe, self.root, event.value))
        else:
            why = f"{event.value}; "
            self._record(recipe, why, lambda: record_failure(recipe, self.root, event.value))
        return event.key in self.runs

    def _record(self, recipe: Recipe, why: str, record: Callable[[], Run | None]) -> None:
        """Write how a run ended; one that cannot be written is said, and the others go on."""
        try:
            run = record()
            assert run is not None, "the files are those of a finished run"
            self._end(recipe, run)
        except (OSError, UserError) as error:
            # a disk that is full, another process that trains it
            self.runs[recipe.id] = None
            what = error.strerror if isinstance(error, OSError) else error
            self.watcher.say(f"{run_label(recipe)}: {why}it could not be recorded: {what}")

    def _epoch(self, recipe: Recipe, told: Any) -> None:
        """A row; from elsewhere it may bring files, and one that was told before may come again."""
        row, files = told if self.engine.elsewhere else (told, {})
        self._receive(recipe, files)
        if row["epoch"] > self.told[recipe.id]:
            self.told[recipe.id] = row["epoch"]
            self.watcher.epoch(recipe, row, self.costs.since_row_before(recipe, row["epoch"]))

    def _receive(self, recipe: Recipe, files: Any) -> None:
        if files:
            with contextlib.suppress(OSError, UserError):  # the finished run brings them again
                receive(recipe, self.root, files)

    def _end(self, recipe: Recipe, run: Run) -> None:
        run = replace(run, recipe=recipe)  # its images may lie at another path now
        self.runs[recipe.id] = run
        self.watcher.ended(recipe, run)


def joined(thread: threading.Thread) -> None:
    """Wait until it has ended, before an interruption goes on: two would use one engine."""
    try:
        thread.join()
    except BaseException:
        thread.join()
        raise


def run_all(
    engine: Engine, recipes: Sequence[Recipe], root: Path, costs: Costs, watcher: Watcher
) -> list[Run]:
    """A run for each recipe, in their order; the arguments are those of `Sweep`."""
    sweep = Sweep(engine, root, costs, watcher)
    sweep.ask(Request(recipes, "final"))
    while not sweep.idle:
        ended = sweep.wait()
        assert ended, "an engine ends every job"
    runs = sweep.answer(recipes)
    assert runs is not None
    return runs


def record_failure(recipe: Recipe, root: Path, why: str) -> Run:
    """The run with its failure recorded; where it has finished meanwhile, that run, unchanged.

    Raises UserError where another process trains it.
    """
    folder = RunFolder(run_path(recipe, root))
    with run_lock(folder.path):
        if (run := finished_meanwhile(folder)) is not None:
            return run
        folder.begin(recipe)
        folder.resume()
        counts = {"filters": 0, "parameters": 0, "flops": 0}
        return folder.finish(recipe, "failed", counts, why)
