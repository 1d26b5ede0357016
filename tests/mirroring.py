"""What tests of trackers share: a watcher that writes down, and a run that goes by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from convscope.planning.requests import Request
from convscope.recipe.recipe import Recipe
from convscope.studies.watcher import Watcher
from convscope.training.runs import Run

SHAPE, CLASSES = (3, 8, 8), 10


class Noted(Watcher):
    """Writes down what goes by."""

    def __init__(self) -> None:
        self.seen: list[tuple[Any, ...]] = []

    def say(self, text: str) -> None:
        self.seen.append(("say", text))

    def step(self, description: str, done: int, total: int | None) -> None:
        self.seen.append(("step", description, done, total))

    def plan(self, costs: Mapping[str, float], workers: int, after: float = 0.0) -> None:
        self.seen.append(("plan", dict(costs), workers))

    def asked(self, chapter: str, requests: Sequence[Request], cost: float, skipped: float) -> None:
        self.seen.append(("asked", chapter, len(requests), cost, skipped))

    def found(self, chapter: str) -> None:
        self.seen.append(("found", chapter))

    def started(self, recipe: Recipe) -> None:
        self.seen.append(("started", recipe.id))

    def epoch(self, recipe: Recipe, row: dict[str, Any], cost: float) -> None:
        self.seen.append(("epoch", recipe.id, row["epoch"]))

    def ended(self, recipe: Recipe, run: Run) -> None:
        self.seen.append(("ended", recipe.id, run.status))

    @property
    def said(self) -> list[str]:
        return [text for kind, *rest in self.seen if kind == "say" for text in rest]


def pass_by(watcher: Watcher, run: Run, first: int = 1) -> None:
    """A run goes by, as a study tells of it; rows before `first` are an earlier process's."""
    watcher.started(run.recipe)
    for row in run.rows[first - 1 :]:
        watcher.epoch(run.recipe, row, 1.0)
    watcher.ended(run.recipe, run)
