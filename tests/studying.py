"""What tests of whole studies share: a small preset, running one again, reading what it wrote."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, ClassVar

import goldens
import pytest

from convscope import studies
from convscope.chapters.convolution.operators import measure_operators
from convscope.engines.local import LocalEngine
from convscope.machine.choice import Choice
from convscope.recipe.recipe import Recipe
from convscope.report.drawing import Drawings
from convscope.statistics import network_verdicts
from convscope.statistics.replication import replication
from convscope.studies.watcher import Watcher
from convscope.training.run_folder import list_runs
from convscope.training.runs import Run

CHAPTER = ["capacity"]
TWO = ["ordering", "convolution"]

# How a study would compute if it measured the machine, which tests of their own do.
CHOICE = Choice("cpu", "float32", "channels_last", 1, 2, {"float32 channels_last": 1000.0})

operators_once = functools.cache(measure_operators)


class KeptDrawings(Drawings):
    """Drawings by one process for all tests of this process; the same chart is drawn once."""

    shared: ClassVar[list[ProcessPoolExecutor]] = []
    kept: ClassVar[dict[str, Future[Any]]] = {}

    def __init__(self, *, svg_only: bool = False) -> None:
        super().__init__(svg_only=svg_only)
        if self.shared:
            self.pool = self.shared[0]
        else:
            self.shared.append(self.pool)

    def __exit__(self, *_: object) -> None:
        """The process goes on."""

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        key = json.dumps([function.__name__, *arguments], sort_keys=True)
        found = self.kept.get(key)
        if found is None or (found.done() and found.exception() is not None):
            found = super().submit(function, *arguments)
            if found.done() and isinstance(
                found.exception(), BrokenProcessPool
            ):  # a test killed it
                self.shared.clear()
                KeptDrawings.__init__(self, svg_only=self.svg_only)
                found = super().submit(function, *arguments)
            self.kept[key] = found
        return found


@contextlib.contextmanager
def drawn_once() -> Iterator[None]:
    """Studies, reports and sweeps have their charts drawn by `KeptDrawings`."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("main_path", "rendering", "sweeping"):
            patch.setattr(f"convscope.studies.{name}.Drawings", KeptDrawings)
        yield


@contextlib.contextmanager
def kept() -> Iterator[None]:
    """The operators of the theory, which are the same in every study, are measured once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("convscope.chapters.convolution.measure_operators", operators_once)
        yield


@contextlib.contextmanager
def few_draws() -> Iterator[None]:
    """Shares that are estimated by random draws have a tenth of them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("convscope.planning.search_space.SHARE_DRAWS", 100)
        patch.setattr(replication, "__defaults__", (None, 40, 0))
        patch.setattr(network_verdicts.replicated, "__defaults__", (40,))
        yield


@contextlib.contextmanager
def tiny() -> Iterator[None]:
    """The tiny preset of the golden files, where nothing is measured and fewer draws suffice.

    Seconds of runs and the machine's choice are made up.
    """

    def choose(_engine: LocalEngine, device: str, workers: int | None) -> Choice:
        return dataclasses.replace(CHOICE, device=device, workers=workers or CHOICE.workers)

    def timed(_engine: LocalEngine, kinds: Sequence[Recipe]) -> dict[str, tuple[float, float]]:
        return {kind.id: (1e-4, 1e-4) for kind in kinds}

    with goldens.tiny(), few_draws(), kept(), pytest.MonkeyPatch.context() as patch:
        # a plan of another preset takes seconds, and a test of its own
        patch.setattr("convscope.studies.next_study.seconds_of", lambda *_: 10.0)
        patch.setattr("convscope.studies.measuring.choose", choose)
        patch.setattr("convscope.studies.measuring.timed", timed)
        yield


@contextlib.contextmanager
def no_overhead() -> Iterator[None]:
    """A budget is for training alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("convscope.studies.plan.OVERHEAD", 0.0)
        patch.setattr("convscope.studies.plan.CHAPTER_OVERHEAD", 0.0)
        yield


class Listener(Watcher):
    """Keeps what a study says."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.trained: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)

    def started(self, recipe: Recipe) -> None:
        self.trained.append(recipe.id)


def results(root: Path) -> dict[str, Any]:
    return json.loads((root / "results.json").read_text())


def runs_of(root: Path) -> dict[str, Run]:
    found = list(list_runs(root))
    assert all(isinstance(run, Run) for run in found), found
    return {run.id: run for run in found if isinstance(run, Run)}


def stamps(root: Path) -> dict[str, int]:
    return {
        str(path.relative_to(root)): path.stat().st_mtime_ns for path in root.rglob("result.json")
    }


def again(root: Path, images: Path, **options: Any) -> tuple[studies.Study, Listener]:
    listener = Listener()
    return studies.study(
        images, CHAPTER, out=root, workers=2, watcher=listener, **options
    ), listener


def is_pilot(run: Run) -> bool:
    return run.recipe.evaluate == ("val",)
