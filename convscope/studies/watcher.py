"""Who sees a study go by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from convscope.errors import one_line
from convscope.recipe import Recipe, label_of
from convscope.training import Run


class Watcher:
    """Who sees a study go by: this one looks away, a progress bar and lines are in screen.py. Costs are seconds of one worker, as measured at the start.

    `plan` is told what each chapter is expected to cost, `asked` what a request of it costs beside what is `skipped`, being finished from an earlier process.
    """

    def say(self, text: str) -> None: ...
    def step(self, description: str, done: int, total: int | None) -> None: ...
    def plan(self, costs: Mapping[str, float], workers: int) -> None: ...
    def asked(
        self, chapter: str, recipes: Sequence[Recipe], cost: float, skipped: float
    ) -> None: ...
    def found(self, chapter: str) -> None: ...
    def started(self, recipe: Recipe) -> None: ...
    def epoch(self, recipe: Recipe, row: dict[str, Any], cost: float) -> None: ...
    def ended(self, recipe: Recipe, run: Run) -> None: ...


def describe(recipe: Recipe) -> str:
    """A short name for progress lines."""
    return f"{one_line(label_of(recipe.model), 80)}, seed {recipe.seed}"
