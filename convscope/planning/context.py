"""What a chapter plans with."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from convscope.data import Dataset
from convscope.recipe import Recipe
from convscope.report import Finding
from convscope.training import Run


@dataclass(frozen=True)
class Search:
    """How the search chapter looks: sampler tpe, random or grid; its budget in trials or minutes (None: the preset's)."""

    sampler: str = "tpe"
    trials: int | None = None
    minutes: float | None = None


@dataclass(frozen=True)
class Fit:
    """How a study was made to fit a time budget: factors on epochs, trials and training images, and the most seeds (None: as many as asked)."""

    epochs: float = 1.0
    images: float = 1.0
    seeds: int | None = None

    @property
    def whole(self) -> bool:
        return self == Fit()


@dataclass(frozen=True)
class Context:
    """What a chapter plans with: the data, the preset, the seeds, and a base recipe in which machine and data are filled in.

    `findings` holds what other chapters of the study have found so far, and `chapters` the names of all of them: a chapter that builds on
    another one yields no recipes until that one's finding is there. `folder` is the study's, for files that a chapter leaves there. `workers` is
    the number of processes that train. What a chapter measures with a clock goes through `measure`, so that writing a report again measures nothing.
    """

    data: Dataset
    preset: str
    seeds: tuple[int, ...]
    base: Recipe
    chapters: tuple[str, ...] = ()
    findings: dict[str, Finding] = field(default_factory=dict)
    folder: Path | None = None
    workers: int = 1
    search: Search = Search()
    fit: Fit = Fit()
    measured: dict[str, Any] = field(default_factory=dict)
    live: bool = (
        True  # False: an earlier study's report is written again, nothing is trained or measured
    )
    announced: dict[str, Run] = field(
        default_factory=dict
    )  # what a chapter knows before its finding is there: "winner"

    def measure(self, key: str, what: Callable[[], Any]) -> Any:
        """A figure (a plain JSON value) measured once a study and kept in study.json; None where an earlier study has not measured it."""
        if key not in self.measured and self.live:
            self.measured[key] = what()
        return self.measured.get(key)

    def computed(self, key: str, run: Run, what: Callable[[], Any]) -> Any:
        """A figure (a plain JSON value) that follows from a run's weights and takes long: computed once a study and kept in study.json; None, where it can't be had, is not kept."""
        key = f"{key}: {run.id}, loss {run.best['val_loss']!r}"  # trained again elsewhere, a run may end with other weights
        value = self.measured.get(key)
        if value is None and (value := what()) is not None:
            self.measured[key] = value
        return value


# A chapter is a generator: it yields recipes, is sent their runs, as often as it likes, and returns its finding.
Chapter = Generator[list[Recipe], list[Run], Finding]
