"""What every tracker does, and what it is told; in plain data, which goes to another process."""

from __future__ import annotations

import abc
import importlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Plain = str | int | float | bool


@dataclass(frozen=True)
class Begun:
    """A run that begins.

    run: the id of its recipe.
    name: in words.
    configuration: what it shares with the runs that differ from it in their seed alone.
    seed: of initial weights and order of images.
    asked: the chapters that asked for the run, the first one in front, each with what it asked for
        it for; empty where the run belongs to no study.
    pilot: whether it is trained for a short time, to choose by.
    config: the recipe.
    size: counts of filters, parameters and flops.
    """

    run: str
    name: str
    configuration: str
    seed: int
    asked: dict[str, str] = field(default_factory=dict)
    pilot: bool = False
    config: dict[str, Any] = field(default_factory=dict)
    size: dict[str, int] = field(default_factory=dict)

    @property
    def group(self) -> str:
        """The first chapter that asked for the run; empty where there is none."""
        return next(iter(self.asked), "")

    @property
    def settings(self) -> dict[str, Any]:
        """All that is known before training."""
        own = {"run": self.run, "configuration": self.configuration}
        return {**self.config, **self.size, **own}


@dataclass(frozen=True)
class Found:
    """What a chapter found.

    charts: of each chart its name, its title and the file of its picture.
    """

    chapter: str
    title: str
    question: str
    verdict: str
    sentence: str
    charts: list[tuple[str, str, str]] = field(default_factory=list)

    @property
    def texts(self) -> dict[str, str]:
        return {"question": self.question, "verdict": self.verdict, "sentence": self.sentence}


class Tracker(abc.ABC):
    """One tracker and its open runs, which are named by the ids of their recipes.

    Methods may raise whatever they like, and take their time: they are called in another process.
    """

    @abc.abstractmethod
    def __init__(self, folder: Path) -> None:
        """`folder` exists and is where files go; its name is the study's.

        Raises UserError where this tracker cannot be used at all, before anything is trained.
        """

    @abc.abstractmethod
    def started(self, begun: Begun) -> int:
        """A run begins, or goes on.

        Returns the last epoch that the tracker has of it: only later ones are sent. That is 0 where
        it has none, or ignores what it has already.
        """

    @abc.abstractmethod
    def epoch(self, run: str, epoch: int, values: Mapping[str, float]) -> None:
        """Losses in nats, accuracies as fractions, rate and seconds of an epoch, counted from 1."""

    @abc.abstractmethod
    def ended(self, run: str, status: str, summary: Mapping[str, Any]) -> None:
        """`status` is one of training.run_folder.FINAL, or "interrupted"."""

    @abc.abstractmethod
    def found(self, found: Found) -> None:
        """What a chapter found; a study that goes on tells of it again."""

    @abc.abstractmethod
    def report(self, sentence: str, files: Sequence[Path]) -> None:
        """The whole in one sentence, and the report's files; again in a study that goes on."""

    def close(self) -> None:  # noqa: B027 (most have nothing to close)
        """After the last run."""


def library(name: str) -> Any:
    """A module of a tracker's library, which may be absent where types are checked."""
    return importlib.import_module(name)


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Plain]:
    """A tree as pairs: "model.width" -> 16. What is None is left out; lists become texts."""
    pairs: dict[str, Plain] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            pairs |= flat(value, f"{prefix}{key}.")
        elif isinstance(value, str | int | float | bool):
            pairs[f"{prefix}{key}"] = value
        elif isinstance(value, list | tuple):
            pairs[f"{prefix}{key}"] = ",".join(map(str, value))
    return pairs


def numbers(values: Mapping[str, Any]) -> dict[str, float]:
    """The finite numbers among the values."""
    return {
        key: float(value)
        for key, value in values.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    }
