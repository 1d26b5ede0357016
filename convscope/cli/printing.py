"""Results on standard output, progress and prose on standard error."""

from __future__ import annotations

import contextlib
import csv
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from convscope.errors import one_line, say

if TYPE_CHECKING:
    from convscope.training import Run


def aside() -> contextlib.AbstractContextManager[object]:
    """Inside, what a user's code prints goes to standard error: standard output is for results."""
    return contextlib.redirect_stdout(sys.stderr)


def say_failed(runs: Iterable[Run]) -> None:
    for run in runs:
        say(f"failed: run {run.id}: {one_line(run.message)}")


def show(value: object, as_json: bool, tree: Any) -> None:
    """A result on standard output: as its text, or `tree` as JSON."""
    print(json.dumps(tree) if as_json else value)


def print_csv(rows: Sequence[Mapping[str, Any]]) -> None:
    writer = csv.DictWriter(sys.stdout, list(rows[0]) if rows else ["id"])
    writer.writeheader()
    writer.writerows(rows)


def print_table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """These columns of the rows, aligned, under their names."""
    cells = [list(columns)] + [[cell(row[column]) for column in columns] for row in rows]
    widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
    for line in cells:
        texts = (text.ljust(width) for text, width in zip(line, widths, strict=True))
        print("  ".join(texts).rstrip())


def cell(value: Any) -> str:
    """A value in a table: missing ones as a dash, fractions with four digits."""
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.4f}"
    return f"{value:,}" if isinstance(value, int) else one_line(value, 60)


def print_epoch(row: Mapping[str, Any]) -> None:
    """An epoch of training on standard error."""
    figures = [
        f"{split} {row[f'{split}_loss']:.4f} {100 * row[f'{split}_accuracy']:.2f} %"
        for split in ("train", "val", "test")
        if row.get(f"{split}_loss") is not None
    ]
    if row.get("test_views_accuracy") is not None:
        loss, accuracy = row["test_views_loss"], row["test_views_accuracy"]
        figures.append(f"test by several views {loss:.4f} {100 * accuracy:.2f} %")
    shown = ", ".join(figures) or "loss is not finite"
    say(f"epoch {row['epoch']}: {shown} ({row['seconds']:.1f} s)")
