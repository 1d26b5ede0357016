"""What tests of trackers share: a watcher that writes down, and a run that goes by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from convscope.planning.requests import Request
from convscope.recipe.recipe import Recipe
from convscope.report import Chart, Finding
from convscope.studies.trackers.tracking import Tracking, tracked
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

    def reported(self, root: Path, sentence: str, findings: Mapping[str, Finding]) -> None:
        self.seen.append(("reported", root, sentence, list(findings)))

    @property
    def said(self) -> list[str]:
        return [text for kind, *rest in self.seen if kind == "say" for text in rest]


def pass_by(watcher: Watcher, run: Run, first: int = 1) -> None:
    """A run goes by, as a study tells of it; rows before `first` are an earlier process's."""
    watcher.started(run.recipe)
    for row in run.rows[first - 1 :]:
        watcher.epoch(run.recipe, row, 1.0)
    watcher.ended(run.recipe, run)


def go_by(name: str, study: Path, first: Run, second: Run, pilot: Run) -> Noted:
    """Three runs of two chapters go by a tracker, two of them at a time, and a report."""
    noted = Noted()
    with tracked(name, noted, study, SHAPE, CLASSES) as watcher:
        assert isinstance(watcher, Tracking)
        sweep, rates = Request([first.recipe], "sweep"), Request([pilot.recipe], "pilot")
        watcher.asked("capacity", [sweep, rates], 2.0, 0.0)
        watcher.asked("best", [Request([second.recipe, first.recipe], "final")], 1.0, 0.0)
        watcher.started(first.recipe)
        watcher.started(second.recipe)  # several are open at a time
        for a, b in zip(first.rows, (*second.rows, None), strict=True):
            watcher.epoch(first.recipe, a, 1.0)
            if b is not None:
                watcher.epoch(second.recipe, {**b, "train_loss": None}, 1.0)
        watcher.ended(second.recipe, second)
        watcher.ended(first.recipe, first)
        pass_by(watcher, pilot)
        watcher.reported(study, "All of it.", {"capacity": finding(study)})
    return noted


def break_off_and_go_on(name: str, study: Path, run: Run) -> None:
    """A run is interrupted after two epochs, and goes by again, whole; then a report, twice."""
    with suppress(KeyboardInterrupt), tracked(name, Watcher(), study, SHAPE, CLASSES) as watcher:
        watcher.asked("capacity", [Request([run.recipe], "sweep")], 1.0, 0.0)
        watcher.started(run.recipe)
        for row in run.rows[:2]:
            watcher.epoch(run.recipe, row, 1.0)
        watcher.reported(study, "Some of it.", {"capacity": finding(study)})
        raise KeyboardInterrupt
    with tracked(name, Watcher(), study, SHAPE, CLASSES) as watcher:
        watcher.asked("capacity", [Request([run.recipe], "sweep")], 1.0, 0.0)
        pass_by(watcher, run)
        watcher.reported(study, "All of it.", {"capacity": finding(study)})


def finding(root: Path) -> Finding:
    """A chapter's finding with one chart, whose picture is in `root`."""
    from PIL import Image

    (root / "charts").mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 6), (200, 30, 30)).save(root / "charts" / "capacity-loss.png")
    for name in ("report.html", "results.json"):
        (root / name).write_text("{}")
    charts = [Chart("loss", "Loss — größer", {}, "a line"), Chart("gone", "not drawn", {}, "none")]
    said = "Width 4 is enough.", {"width": 4}
    return Finding("capacity", "Capacity", "How wide?", "width 4", *said, charts=charts)
