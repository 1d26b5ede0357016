"""Who sees a study go by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convscope.errors import one_line
from convscope.planning import SHORT_ROLES, Request
from convscope.recipe import Recipe, label_of
from convscope.training import Run

if TYPE_CHECKING:
    from convscope.report import Finding


class Watcher:
    """Who sees a study go by. This one looks away; a bar and lines are in progress.py.

    Costs are seconds of one worker, as measured when the study began.
    """

    def say(self, text: str) -> None:
        """A line for the user."""

    def step(self, description: str, done: int, total: int | None) -> None:
        """Work that is no training goes on: `done` of `total` units, of which None are unknown."""

    def plan(self, costs: Mapping[str, float], workers: int, after: float = 0.0) -> None:
        """What a study is expected to take.

        costs: of each chapter's training; workers: how many processes train.
        after: seconds that are not training, of analyses and the report.
        """

    def asked(self, chapter: str, requests: Sequence[Request], cost: float, skipped: float) -> None:
        """A chapter asks for runs.

        cost: of those that are new.
        skipped: of those that an earlier process has finished.
        """

    def known(self, recipe: Recipe, run: Run) -> None:
        """A run that is about to be asked for was finished by an earlier process."""

    def found(self, chapter: str) -> None:
        """A chapter has its finding."""

    def started(self, recipe: Recipe) -> None:
        """A worker begins with a run."""

    def epoch(self, recipe: Recipe, row: dict[str, Any], cost: float) -> None:
        """A run was evaluated with these figures; `cost` is that of the epochs since the last."""

    def ended(self, recipe: Recipe, run: Run) -> None:
        """A run has ended, however."""

    def reported(self, root: Path, sentence: str, findings: Mapping[str, Finding]) -> None:
        """The report has been written.

        root: the folder of the study or sweep.
        sentence: what was found, in one.
        findings: by chapter; a sweep is one.
        """


def run_label(recipe: Recipe) -> str:
    """A short name of a run for progress lines."""
    return f"{one_line(label_of(recipe.model), 80)}, seed {recipe.seed}"


def short_runs(requests: Sequence[Request]) -> set[str]:
    """The ids of the pilots and trials among what a chapter asks for."""
    short = [request for request in requests if request.role in SHORT_ROLES]
    return {recipe.id for request in short for recipe in request.recipes}
