"""What a study shows on standard error where that is no terminal: lines, or hardly any."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from convscope.errors import one_line, say
from convscope.planning import Request, duration
from convscope.recipe import Recipe
from convscope.studies.clock import Clock
from convscope.studies.watcher import Watcher, run_label, short_runs
from convscope.training import Run

LINE_EVERY = 15.0  # seconds between plain progress lines

FIRST_LINE_AFTER = 2.0  # seconds that a step may take without a line


class Lines(Watcher):
    """One line for each finished run that is no pilot or trial, and now and then the time left."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.short: set[str] = set()  # ids of pilots and trials
        self.last = 0.0
        self.task = ""

    def say(self, text: str) -> None:
        say(one_line(text, 1000))

    def step(self, description: str, done: int, total: int | None) -> None:
        now = time.monotonic()
        if description != self.task:  # what is done in a moment is not worth a line
            self.task, self.last = description, now - LINE_EVERY + FIRST_LINE_AFTER
        elif now - self.last > LINE_EVERY:
            self.last = now
            self.say(
                f"{description}: {100 * done // total} %" if total else f"{description}: {done:,}"
            )

    def plan(self, costs: Mapping[str, float], workers: int, after: float = 0.0) -> None:
        self.clock.plan(costs, workers, after)

    def asked(self, chapter: str, requests: Sequence[Request], cost: float, skipped: float) -> None:
        ids = [recipe.id for request in requests for recipe in request.recipes]
        self.clock.asked(chapter, cost, skipped, ids)
        self.short |= short_runs(requests)

    def found(self, chapter: str) -> None:
        self.clock.found(chapter)

    def epoch(self, recipe: Recipe, row: dict[str, Any], cost: float) -> None:
        self.clock.trains(recipe.id, cost)
        now = time.monotonic()
        if now - self.last > LINE_EVERY:
            self.last = now
            self.say(f"{100 * self.clock.share():.0f} %, about {duration(self.clock.left())} left")

    def ended(self, recipe: Recipe, run: Run) -> None:
        if run.status != "finished":
            self.say(f"{run_label(recipe)}: {run.status} {run.message}".strip())
        elif recipe.id not in self.short:
            self.say(f"{run_label(recipe)}: {outcome(run)}")


class Quiet(Watcher):
    """Says of a study only which runs have no result."""

    def ended(self, recipe: Recipe, run: Run) -> None:
        if run.status != "finished":
            line = f"{run_label(recipe)}: {run.status} {run.message}".strip()
            say(one_line(line, 1000))


def outcome(run: Run) -> str:
    """What a progress line says of a finished run that saw the test images."""
    best = run.best
    return (
        f"test accuracy {100 * best['test_accuracy']:.1f} %, loss {best['test_loss']:.3f} "
        f"(epoch {best['epoch']} of {run.epochs}, {run.seconds:.0f} s)"
    )


def watcher(quiet: bool = False) -> Watcher:
    """The one that suits standard error: a live table on a terminal, else lines; or a quiet one."""
    if quiet:
        return Quiet()
    if not sys.stderr.isatty() or os.environ.get("TERM", "") in ("dumb", "unknown"):
        return Lines()
    from convscope.studies.live_table import LiveTable

    return LiveTable()


def shown(quiet: bool = False) -> AbstractContextManager[Watcher]:
    """`watcher`, for a `with` statement, at whose end a live table lets the terminal go."""
    found = watcher(quiet)
    return found if isinstance(found, AbstractContextManager) else nullcontext(found)
