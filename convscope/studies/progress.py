"""What a study shows on standard error: a bar with the time left on a terminal, else lines."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from convscope.errors import one_line
from convscope.planning import Request, duration
from convscope.recipe import Recipe
from convscope.studies.watcher import Watcher, run_label, short_runs
from convscope.training import Run

LINE_EVERY = 15.0  # seconds between plain progress lines

FIRST_LINE_AFTER = 2.0  # seconds that a step may take without a line


class Clock:
    """Time left, from the measured costs and corrected by the pace so far.

    A chapter costs what was forecast, or what it has asked for if that is more; once it has its
    finding, what it has asked for.
    """

    def __init__(self) -> None:
        self.done = 0.0
        self.workers = 1
        self.started = time.monotonic()
        self.forecast: dict[str, float] = {}
        self.known: dict[str, float] = {}

    def plan(self, costs: Mapping[str, float], workers: int) -> None:
        self.forecast, self.workers = dict(costs), workers
        self.known, self.done, self.started = dict.fromkeys(costs, 0.0), 0.0, time.monotonic()

    def asked(self, chapter: str, cost: float, skipped: float) -> None:
        self.forecast[chapter] -= skipped
        self.known[chapter] += cost

    def found(self, chapter: str) -> None:
        self.forecast[chapter] = 0.0

    @property
    def total(self) -> float:
        return sum(max(self.forecast[chapter], self.known[chapter]) for chapter in self.forecast)

    @property
    def share(self) -> float:
        """Of all that is to be done, what is done: from 0 to 1."""
        return min(1.0, self.done / max(self.total, 1e-9))

    def left(self) -> float:
        expected = max(0.0, self.total - self.done) / self.workers
        spent = time.monotonic() - self.started
        if self.done < 0.03 * self.total or spent < 5:
            return expected
        return expected * spent / (self.done / self.workers)


class Lines(Watcher):
    """One line for each finished run that is no pilot or trial, and now and then the time left."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.short: set[str] = set()  # ids of pilots and trials
        self.last = 0.0
        self.task = ""

    def say(self, text: str) -> None:
        print(one_line(text, 1000), file=sys.stderr, flush=True)

    def step(self, description: str, done: int, total: int | None) -> None:
        now = time.monotonic()
        if description != self.task:  # what is done in a moment is not worth a line
            self.task, self.last = description, now - LINE_EVERY + FIRST_LINE_AFTER
        elif now - self.last > LINE_EVERY:
            self.last = now
            self.say(
                f"{description}: {100 * done // total} %" if total else f"{description}: {done:,}"
            )

    def plan(self, costs: Mapping[str, float], workers: int) -> None:
        self.clock.plan(costs, workers)

    def asked(self, chapter: str, requests: Sequence[Request], cost: float, skipped: float) -> None:
        self.clock.asked(chapter, cost, skipped)
        self.short |= short_runs(requests)

    def found(self, chapter: str) -> None:
        self.clock.found(chapter)

    def epoch(self, recipe: Recipe, row: dict[str, Any], cost: float) -> None:
        self.clock.done += cost
        now = time.monotonic()
        if now - self.last > LINE_EVERY:
            self.last = now
            self.say(f"{100 * self.clock.share:.0f} %, about {duration(self.clock.left())} left")

    def ended(self, recipe: Recipe, run: Run) -> None:
        if run.status != "finished":
            self.say(f"{run_label(recipe)}: {run.status} {run.message}".strip())
        elif recipe.id not in self.short:
            self.say(f"{run_label(recipe)}: {outcome(run)}")


class Bar(Watcher):
    """A rich progress bar of the whole study; the runs go by above it."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        self.clock = Clock()
        self.short: set[str] = set()  # ids of pilots and trials
        self.console = Console(stderr=True, highlight=False)
        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            TextColumn("{task.percentage:>3.0f} %"),
            TextColumn("{task.fields[left]}"),
        )
        self.progress = Progress(*columns, console=self.console, transient=True)
        self.task: Any = None
        self.task_name = ""

    def __enter__(self) -> Bar:
        self.progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.progress.stop()

    def say(self, text: str) -> None:
        self.console.print(one_line(text, 1000), markup=False)

    def show(self, name: str, done: float, total: float | None, left: str = "") -> None:
        if self.task is None or name != self.task_name:
            if self.task is not None:
                self.progress.remove_task(self.task)
            self.task, self.task_name = (
                self.progress.add_task(one_line(name), total=total, left=left),
                name,
            )
        self.progress.update(self.task, completed=done, total=total, left=left)

    def step(self, description: str, done: int, total: int | None) -> None:
        self.show(description, done, total)

    def refresh(self) -> None:
        self.show("training", self.clock.share, 1.0, f"about {duration(self.clock.left())} left")

    def plan(self, costs: Mapping[str, float], workers: int) -> None:
        self.clock.plan(costs, workers)
        self.refresh()

    def asked(self, chapter: str, requests: Sequence[Request], cost: float, skipped: float) -> None:
        self.clock.asked(chapter, cost, skipped)
        self.short |= short_runs(requests)

    def found(self, chapter: str) -> None:
        self.clock.found(chapter)

    def epoch(self, recipe: Recipe, row: dict[str, Any], cost: float) -> None:
        self.clock.done += cost
        self.refresh()

    def ended(self, recipe: Recipe, run: Run) -> None:
        if run.status != "finished":
            line = f"{run_label(recipe)}: {run.status} {run.message}".strip()
            self.console.print(line, style="red", markup=False)
        elif recipe.id not in self.short:
            self.console.print(f"{run_label(recipe)}: {outcome(run)}", markup=False)


def outcome(run: Run) -> str:
    """What a progress line says of a finished run that saw the test images."""
    best = run.best
    return (
        f"test accuracy {100 * best['test_accuracy']:.1f} %, loss {best['test_loss']:.3f} "
        f"(epoch {best['epoch']} of {run.epochs}, {run.seconds:.0f} s)"
    )


def watcher() -> Watcher:
    """The one that suits standard error."""
    return Bar() if sys.stderr.isatty() else Lines()
