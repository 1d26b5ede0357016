"""A finished run, as it is read from its folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convscope.recipe import Recipe


@dataclass(frozen=True)
class Run:
    """A finished run: its recipe, a row an epoch, the best epoch by validation loss (the last where nothing was held out), and its size."""

    path: Path
    recipe: Recipe
    rows: tuple[dict[str, Any], ...]
    status: str
    size: dict[str, int]  # filters, parameters, flops
    seconds: float
    message: str = ""

    @property
    def id(self) -> str:
        return self.path.name

    @property
    def best(self) -> dict[str, Any]:
        return best_row(self.rows)

    @property
    def last(self) -> dict[str, Any]:
        return self.rows[-1]

    def __str__(self) -> str:
        head = f"run {self.id}: {self.status}, {self.size['parameters']:,} parameters, {len(self.rows)} epochs, {self.seconds:.1f} s"
        if self.status != "finished":
            return f"{head}\n{self.message}".strip()
        lines = [head]
        for name, row in (("best", self.best), ("last", self.last)):
            splits = [
                f"{split} loss {row[f'{split}_loss']:.4f} accuracy {100 * row[f'{split}_accuracy']:.2f} %"
                for split in ("train", "val", "test")
                if f"{split}_loss" in row
            ]
            lines.append(f"{name} epoch {row['epoch']}: " + ", ".join(splits))
        if self.last.get("test_views_accuracy") is not None:
            row = self.last
            lines.append(
                f"{self.recipe.views}: test loss {row['test_views_loss']:.4f} accuracy {100 * row['test_views_accuracy']:.2f} %"
            )
        return "\n".join([*lines, str(self.path)])


def best_row(rows: tuple[dict[str, Any], ...] | list[dict[str, Any]]) -> dict[str, Any]:
    """The row of lowest validation loss; the test columns are never looked at. Without validation: the last row."""
    judged = [row for row in rows if row.get("val_loss") is not None]
    return min(judged, key=lambda row: row["val_loss"]) if judged else rows[-1]
