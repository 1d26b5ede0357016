"""results.json, results.csv, the charts as PNG and SVG, the pictures as PNG: what programs and papers take from a study."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from convscope.files import write_bytes
from convscope.recipe import to_json
from convscope.report.drawing import Drawings
from convscope.report.findings import Finding, Gallery
from convscope.training import Run

SCHEMA = 1
MEASURES = [
    f"{split}_{what}" for split in ("train", "val", "test") for what in ("loss", "accuracy")
]


def results(
    about: dict[str, Any],
    findings: dict[str, Finding],
    runs: tuple[Run, ...],
    used: Mapping[str, Mapping[str, str]],
    sentence: str,
) -> dict[str, Any]:
    """The tree of results.json; its form is an interface (ARCHITECTURE.md).

    used: for each run's id the chapters that asked for it, each with the role that it has there.
    """
    return {
        "schema": SCHEMA,
        "convscope": version("convscope"),
        "sentence": sentence,
        "study": about,
        "chapters": {name: chapter(finding) for name, finding in findings.items()},
        "runs": [run_entry(run, used.get(run.id, {}), list(findings)) for run in runs],
    }


def chapter(finding: Finding) -> dict[str, Any]:
    return {
        "question": finding.question,
        "verdict": finding.verdict,
        "sentence": finding.sentence,
        "numbers": finding.numbers,
        "tables": [asdict(table) for table in finding.tables],
        "charts": [
            {
                "name": c.name,
                "title": c.title,
                "alt": c.alt,
                "caption": c.caption,
                "png": f"charts/{finding.name}-{c.name}.png",
            }
            for c in finding.charts
        ],
        "galleries": [
            {
                "name": g.name,
                "title": g.title,
                "alt": g.alt,
                "caption": g.caption,
                "pictures": [
                    {"png": f"charts/{name}", "text": text}
                    for name, (_, text) in zip(picture_names(finding, g), g.items, strict=True)
                ],
            }
            for g in finding.galleries
        ],
        "proof": list(finding.proof),
    }


def picture_names(finding: Finding, gallery: Gallery) -> list[str]:
    return [f"{finding.name}-{gallery.name}-{i:02d}.png" for i in range(1, len(gallery.items) + 1)]


def run_entry(run: Run, used: Mapping[str, str], chapters: Sequence[str]) -> dict[str, Any]:
    """A run's row. Where chapters share a run, its role is that of the first in the report."""

    def figures(row: dict[str, Any] | None) -> dict[str, Any] | None:
        return {key: row.get(key) for key in ("epoch", *MEASURES)} if row else None

    recipe = run.recipe
    role = next((used[name] for name in chapters if name in used), "")
    return {
        "id": run.id,
        "chapters": list(used),
        "model": to_json(recipe.model),
        "seed": recipe.seed,
        "status": run.status,
        "message": run.message,
        "role": role,
        "pilot": role in ("pilot", "trial"),  # judged by validation alone
        "filters": run.size["filters"],
        "parameters": run.size["parameters"],
        "flops": run.size["flops"],
        "lr": recipe.lr,
        "epochs": len(run.rows),
        "seconds": run.seconds,
        "best": figures(run.best if run.rows else None),
        "last": figures(run.last if run.rows else None),
        "recipe": to_json(recipe),
    }


def write_results(path: Path, tree: dict[str, Any]) -> None:
    write_bytes(
        path, (json.dumps(tree, indent=1, allow_nan=False, ensure_ascii=True) + "\n").encode()
    )


def write_csv(path: Path, runs: list[dict[str, Any]]) -> None:
    """One row a run; model fields and figures as columns. Cells that a spreadsheet would take for formulas are quoted."""
    plain = (
        "id",
        "status",
        "role",
        "pilot",
        "seed",
        "filters",
        "parameters",
        "flops",
        "lr",
        "epochs",
        "seconds",
    )
    models = list(dict.fromkeys(key for run in runs for key in run["model"]))
    heading = [
        *plain,
        *(f"model_{key}" for key in models),
        *(f"{when}_{key}" for when in ("best", "last") for key in ("epoch", *MEASURES)),
    ]
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(heading)
    for run in runs:
        cells = [run[key] for key in plain] + [run["model"].get(key) for key in models]
        for when in ("best", "last"):
            cells += [(run[when] or {}).get(key) for key in ("epoch", *MEASURES)]
        writer.writerow([safe_cell(cell) for cell in cells])
    write_bytes(path, file.getvalue().encode())


def safe_cell(cell: Any) -> Any:
    if isinstance(cell, list | dict):
        return json.dumps(cell)
    return f"'{cell}" if isinstance(cell, str) and cell[:1] in "=+-@\t\r" else cell


def write_charts(folder: Path, findings: dict[str, Finding], drawings: Drawings) -> None:
    """Each chart as PNG and SVG, drawn without a browser; the pictures of galleries as they are. A hundred files: `convscope report` makes them again, so the disk is not waited for."""
    folder.mkdir(exist_ok=True)
    for finding in findings.values():
        for chart in finding.charts:
            stem, drawn = (
                folder / f"{finding.name}-{chart.name}",
                drawings.of(finding.name, chart.name),
            )
            write_bytes(stem.with_suffix(".png"), drawn.png, sync=False)
            write_bytes(stem.with_suffix(".svg"), drawn.svg, sync=False)
        for gallery in finding.galleries:
            for name, (picture, _) in zip(
                picture_names(finding, gallery), gallery.items, strict=True
            ):
                write_bytes(folder / name, picture, sync=False)
