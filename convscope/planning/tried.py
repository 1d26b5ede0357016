"""One configuration of the search and what became of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from convscope.recipe import Recipe
from convscope.training import Run

if TYPE_CHECKING:
    from optuna.trial import Trial


@dataclass
class Tried:
    """One configuration of the search.

    number: of the proposal, from 0.
    recipe: as it would be trained to the end.
    state: promoted (waits for its next rung), running, finished (the highest rung), pruned, stopped
        (the budget was spent first), failed, untrained (no run was sent).
    reason: why it failed.
    runs: one for each rung that finished.
    """

    number: int
    recipe: Recipe
    state: str
    reason: str = ""
    runs: list[Run] = field(default_factory=list)
    trial: Trial | None = None

    @property
    def loss(self) -> float | None:
        """Validation loss at the highest rung reached."""
        return self.runs[-1].best["val_loss"] if self.runs else None


def usable(run: Run) -> bool:
    """Whether a run has a validation loss that the search can judge by."""
    return run.status == "finished" and bool(run.rows) and run.best.get("val_loss") is not None
