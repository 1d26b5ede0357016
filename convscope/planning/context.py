"""What a chapter plans with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convscope.planning.search_request import Search
from convscope.recipe import Recipe
from convscope.report import BestResult, CapacityResult
from convscope.training import Run

if TYPE_CHECKING:
    from convscope.data import Dataset


@dataclass(frozen=True)
class BudgetFit:
    """How a study was made to fit a time budget.

    epochs: factor on epochs and on the search's trials.
    images: factor on training images.
    seeds: the most seeds; None: as many as asked.
    chapters: the questions that are asked; None: all that the user named.
    more: how often further seeds, as many as the study has, may be added where an answer is not
        sure: what a budget leaves over.
    """

    epochs: float = 1.0
    images: float = 1.0
    seeds: int | None = None
    chapters: tuple[str, ...] | None = None
    more: int = 0

    @property
    def whole(self) -> bool:
        """Whether nothing was taken away."""
        return self == BudgetFit(more=self.more)


@dataclass(frozen=True)
class Context:
    """What a chapter plans with.

    data: the images of the study.
    preset: quick, standard or full.
    seeds: of the runs to the end; pilots and trials take the first.
    base: a recipe in which data, split and machine are filled in.
    chapters: the names of all chapters of the study.
    given: what chapters have given to others so far; read it through `capacity` and `best`.
    needs: the chapters that this one builds on.
    folder: the study's, for files that a chapter leaves there.
    workers: the number of processes that train.
    search: how the chapter `best` searches.
    fit: what a time budget has taken away.
    measured: figures that are measured or computed once, by key; kept in study.json.
    grids: by chapter what a user has set in the place of its preset (`grids.SETTINGS`).
    live: False where an earlier study's report is written again: nothing is trained or measured.
    """

    data: Dataset
    preset: str
    seeds: tuple[int, ...]
    base: Recipe
    chapters: tuple[str, ...] = ()
    given: dict[str, CapacityResult | BestResult | None] = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    folder: Path | None = None
    workers: int = 1
    search: Search = field(default_factory=Search)
    fit: BudgetFit = BudgetFit()
    measured: dict[str, Any] = field(default_factory=dict)
    live: bool = True
    grids: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def capacity(self) -> CapacityResult | None:
        """What the chapter on capacity found; None where it found nothing, or has not yet."""
        result = self._result("capacity")
        assert result is None or isinstance(result, CapacityResult)
        return result

    @property
    def best(self) -> BestResult | None:
        """What the search found; None where it found nothing, or has not yet."""
        result = self._result("best")
        assert result is None or isinstance(result, BestResult)
        return result

    def at_least(self, wanted: int) -> tuple[int, ...]:
        """The study's seeds and, where there are fewer than `wanted`, further ones behind them.

        Where a time budget has taken seeds away there are no further ones. Studies whose seeds lie
        far apart have no seed in common.
        """
        missing = wanted - len(self.seeds) if self.fit.seeds is None else 0
        after = max(self.seeds) + 1
        return (*self.seeds, *range(after, after + missing))

    def _result(self, chapter: str) -> CapacityResult | BestResult | None:
        if chapter not in self.given:
            return None
        assert chapter in self.needs, f"a chapter that reads {chapter} names it in its NEEDS"
        return self.given[chapter]

    def measure(self, key: str, what: Callable[[], Any]) -> Any:
        """A figure measured once a study and kept in study.json.

        key: its name there.
        what: measures it; returns a plain JSON value.
        Returns None where an earlier study has not measured it.
        """
        if key not in self.measured and self.live:
            self.measured[key] = what()
        return self.measured.get(key)

    def computed(self, key: str, run: Run, what: Callable[[], Any]) -> Any:
        """A figure that follows from a run's weights: computed once a study, kept in study.json.

        key: its name there; the run and its loss are added to it, because a run that is trained
            again on another machine may end with other weights.
        what: computes it; returns a plain JSON value, or None, which is not kept.
        """
        key = f"{key}: {run.id}, loss {run.best['val_loss']!r}"
        value = self.measured.get(key)
        if value is None and (value := what()) is not None:
            self.measured[key] = value
        return value
