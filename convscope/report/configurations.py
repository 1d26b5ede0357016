"""Configurations beside each other as a table."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from convscope.report.findings import Table
from convscope.statistics import Configuration

Column = tuple[str, str, str]  # key, heading, format: see Table

COLUMNS: tuple[Column, ...] = (
    ("network", "network", "text"),
    ("parameters", "learnable parameters", "int"),
    ("flops", "FLOPs", "int"),
    ("lr", "learning rate", "float"),
    ("train_accuracy", "train accuracy", "percent"),
    ("val_loss", "val loss", "loss"),
    ("test_loss", "test loss", "loss"),
    ("test_accuracy", "test accuracy", "percent"),
    ("interval", "±", "percent"),
    ("seeds", "seeds", "int"),
)

BALANCED: tuple[Column, ...] = (
    ("balanced_accuracy", "balanced test accuracy", "percent"),
    ("balanced_interval", "± of that", "percent"),
)

CAPTION = (
    "Means over seeds at each run's best epoch (lowest validation loss). "
    "± is half of the 95 % interval of the accuracy."
)


def configurations_table(
    name: str,
    title: str,
    rows_of: Iterable[Configuration],
    more: Sequence[Column] = (),
    extra: Callable[[Configuration], dict[str, Any]] | None = None,
    caption: str = "",
) -> Table:
    """A table with a row per configuration.

    rows_of: the configurations, in the order of the rows.
    more: further columns, which stand behind the network's name.
    extra: the values of these columns for a configuration.
    caption: what the caption says before it explains the figures.
    """
    rows = [{**one.row(), **(extra(one) if extra else {})} for one in rows_of]
    columns = with_balanced((COLUMNS[0], *more, *COLUMNS[1:]), rows)
    return Table(name, title, columns, rows, f"{caption} {CAPTION}".strip())


def with_balanced(columns: Sequence[Column], rows: Sequence[dict[str, Any]]) -> tuple[Column, ...]:
    """The columns, with balanced accuracy behind the accuracy where a row has it.

    columns: those of a table that has accuracy.
    rows: with `Configuration.balanced_row`; it becomes None in the rows that lack it.
    """
    if not any("balanced_accuracy" in row for row in rows):
        return tuple(columns)
    for row in rows:
        for key, *_ in BALANCED:
            row.setdefault(key, None)
    keys = [key for key, *_ in columns]
    last = next(key for key in ("interval", "high", "test_accuracy") if key in keys)
    behind = keys.index(last) + 1
    return (*columns[:behind], *BALANCED, *columns[behind:])
