"""What tests of whole studies share: running one again, and reading what it wrote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from convscope import studies
from convscope.recipe.recipe import Recipe
from convscope.studies.watcher import Watcher
from convscope.training.run_folder import list_runs
from convscope.training.runs import Run

CHAPTER = ["capacity"]


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


def again(root: Path, cifar_slice: Path, **options: Any) -> tuple[studies.Study, Listener]:
    listener = Listener()
    return studies.study(
        cifar_slice, CHAPTER, out=root, workers=2, watcher=listener, **options
    ), listener


def is_pilot(run: Run) -> bool:
    return run.recipe.evaluate == ("val",)
