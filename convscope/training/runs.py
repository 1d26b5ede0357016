"""A finished run, as it is read from its folder."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from convscope.recipe import Recipe


@dataclass(frozen=True)
class Run:
    """A run that has ended, as its folder records it; printing it shows the best and last epoch.

    path: its folder, named by the recipe's id.
    recipe: what was trained.
    rows: one per evaluated epoch: epoch, lr, each split's loss, accuracy and loss_sd, seconds (see
        `fit`).
    status: "finished", "diverged" (a loss was not finite), "out_of_memory" or "failed".
    size: counts of filters, parameters and flops (of one forward pass).
    seconds: of all epochs, with their evaluations.
    message: why it did not finish.
    files: name -> SHA-256 of the folder's other files; empty for a run of an earlier version.
    """

    path: Path
    recipe: Recipe
    rows: tuple[dict[str, Any], ...]
    status: str
    size: dict[str, int]
    seconds: float
    message: str = ""
    files: dict[str, str] = field(default_factory=dict, compare=False, repr=False)

    @property
    def epochs(self) -> int:
        """The number of epochs that were trained."""
        return self.rows[-1]["epoch"] if self.rows else 0

    @property
    def id(self) -> str:
        return self.path.name

    @functools.cached_property
    def best(self) -> dict[str, Any]:
        """The row of lowest validation loss; the last row where nothing was held out."""
        return best_row(self.rows)

    @property
    def last(self) -> dict[str, Any]:
        return self.rows[-1]

    def __str__(self) -> str:
        head = (
            f"run {self.id}: {self.status}, {self.size['parameters']:,} parameters, "
            f"{self.epochs} epochs, {self.seconds:.1f} s"
        )
        if self.status != "finished":
            return f"{head}\n{self.message}".strip()
        lines = [head]
        for name, row in (("best", self.best), ("last", self.last)):
            splits = [
                f"{split} {loss_and_accuracy(row, split)}"
                for split in ("train", "val", "test")
                if f"{split}_loss" in row
            ]
            lines.append(f"{name} epoch {row['epoch']}: " + ", ".join(splits))
        if self.last.get("test_views_accuracy") is not None:
            views = loss_and_accuracy(self.last, "test_views")
            lines.append(f"{self.recipe.views}: test {views}")
        return "\n".join([*lines, str(self.path)])


def loss_and_accuracy(row: dict[str, Any], split: str) -> str:
    return f"loss {row[f'{split}_loss']:.4f} accuracy {100 * row[f'{split}_accuracy']:.2f} %"


def best_row(rows: tuple[dict[str, Any], ...] | list[dict[str, Any]]) -> dict[str, Any]:
    """The row of lowest validation loss, without a look at the test columns.

    Without validation losses it is the last row.
    """
    judged = [row for row in rows if row.get("val_loss") is not None]
    return min(judged, key=lambda row: row["val_loss"]) if judged else rows[-1]
