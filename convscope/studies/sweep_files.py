"""A sweep's results as files: a page, JSON, and its tables as CSV, LaTeX and Markdown."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from convscope import installed_version
from convscope.data import Dataset
from convscope.errors import one_line
from convscope.files import write_bytes, write_json
from convscope.report import (
    Chart,
    Drawings,
    run_entry,
    size_charts,
    sweep_page_of,
    table_csv,
    table_latex,
    table_markdown,
    write_csv,
)
from convscope.studies.sweep_request import SweepRequest
from convscope.studies.sweep_result import SweepResult
from convscope.training import Run
from convscope.words import count

SCHEMA = 1
MOST_PANELS = 24
SPOKEN = {"train": "train", "val": "validation", "test": "test"}


def write_sweep(
    result: SweepResult, data: Dataset, asked: SweepRequest, drawings: Drawings
) -> None:
    """Write all files of a sweep's results; the page comes last.

    data: the images of the first configuration; asked: the request, with nothing left open.
    """
    root = result.path
    tables = [result.table(), result.comparisons_table()]
    for table in tables:
        for end, text in (
            ("csv", table_csv(table)),
            ("tex", table_latex(table)),
            ("md", table_markdown(table)),
        ):
            write_bytes(root / f"{table.name}.{end}", text.encode("utf-8", "backslashreplace"))
    runs = [run for some in result.runs.values() for run in some]
    entries = [run_entry(run, {}, []) for run in runs]
    write_csv(root / "runs.csv", entries)
    tree = {"schema": SCHEMA, "convscope": installed_version(), **result.numbers()}
    write_json(root / "results.json", {**tree, "asked": asked.tree(), "runs": entries})
    charts = [curves] if (curves := curves_chart(result)) is not None else []
    page = sweep_page_of(
        f"A sweep on {one_line(data.name)}: {count(len(result.configurations), 'configuration')}",
        [f"{one}." for one in result.comparisons],
        notes_of(result),
        tables,
        charts,
        f"convscope sweep {one_line(root / 'sweep.toml')}",
        drawings,
    )
    write_bytes(root / "report.html", page)


def notes_of(result: SweepResult) -> list[str]:
    """What a reader must know before the figures."""
    notes = [] if result.complete else ["Interrupted: these are the results of what is there."]
    for runs in result.runs.values():
        notes += [
            f"Run {run.id} is {run.status}: {one_line(run.message, 500)}"
            for run in runs
            if run.status != "finished"
        ]
    return notes + [f"{one_line(why, 500)}; trained again" for why in result.altered.values()]


def curves_chart(result: SweepResult) -> Chart | None:
    """Loss against epoch, a panel for each configuration; None where no run has finished."""
    names = [name for name, runs in result.runs.items() if finished(runs)]
    rows = [
        row for name in names[:MOST_PANELS] for row in curve_rows(name, finished(result.runs[name]))
    ]
    if not rows:
        return None
    shown = list(dict.fromkeys(row["network"] for row in rows))
    left = len(names) - len(shown)
    more = f" The first {len(shown)} of {len(names)} configurations are shown." if left else ""
    return Chart(
        "learning_curves",
        "Learning curves",
        size_charts.learning_curves(rows, shown, columns=3),
        f"Loss against epoch for {count(len(shown), 'configuration')}, "
        "a line for each split; the figures are in runs.csv and in each run's metrics.jsonl.",
        "Means over seeds. The dashed line marks the epoch of lowest mean validation loss." + more,
    )


def finished(runs: Sequence[Run]) -> list[Run]:
    return [run for run in runs if run.status == "finished"]


def curve_rows(name: str, runs: Sequence[Run]) -> list[dict[str, Any]]:
    """A row per split and epoch that all runs have evaluated."""
    by_epoch: dict[int, list[dict[str, Any]]] = {}
    for run in runs:
        for row in run.rows:
            by_epoch.setdefault(row["epoch"], []).append(row)
    whole = {epoch: rows for epoch, rows in by_epoch.items() if len(rows) == len(runs)}
    found = []
    for split, spoken in SPOKEN.items():
        key = f"{split}_loss"
        losses = {
            epoch: math.fsum(row[key] for row in rows) / len(rows)
            for epoch, rows in whole.items()
            if all(row.get(key) is not None for row in rows)
        }
        lowest = min(losses, key=lambda epoch: losses[epoch]) if losses else None
        found += [
            {
                "network": one_line(name),
                "epoch": epoch,
                "split": spoken,
                "loss": loss,
                "best": split == "val" and epoch == lowest,
            }
            for epoch, loss in losses.items()
        ]
    return found
