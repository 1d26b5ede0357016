"""What programs and papers take from a study: results.json, results.csv, charts and pictures."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from convscope import installed_version
from convscope.files import write_bytes, write_json
from convscope.recipe import to_json
from convscope.report.drawing import Drawings
from convscope.report.findings import Chart, Damage, Finding, Gallery
from convscope.training import Run

SCHEMA = 1
SPLITS = ("train", "val", "test")
MEASURES = [f"{split}_{what}" for split in SPLITS for what in ("loss", "accuracy")]
# of a run's entry in results.json; fields of its model and figures follow
CSV_COLUMNS = ["id", "status", "role", "pilot", "seed", "filters", "parameters", "flops", "lr"]
CSV_COLUMNS += ["epochs", "seconds"]


def results(
    about: dict[str, Any],
    findings: dict[str, Finding],
    runs: tuple[Run, ...],
    used: Mapping[str, Mapping[str, str]],
    sentence: str,
    damaged: Sequence[Damage] = (),
) -> dict[str, Any]:
    """The tree of results.json; its form is an interface (ARCHITECTURE.md).

    about: what study.json says of the study; findings: by chapter; runs: all of the study.
    sentence: the answer of the whole study.
    used: for each run's id the chapters that asked for it, each with the role that it has there.
    damaged: runs that were left out, or set aside and trained again.
    """
    return {
        "schema": SCHEMA,
        "convscope": installed_version(),
        "sentence": sentence,
        "study": {key: value for key, value in about.items() if key != "hints"},  # of the page
        "damaged": [asdict(one) for one in damaged],
        "chapters": {name: chapter(finding) for name, finding in findings.items()},
        "runs": [run_entry(run, used.get(run.id, {}), list(findings)) for run in runs],
    }


def chapter(finding: Finding) -> dict[str, Any]:
    """A chapter's part of results.json: charts and pictures by the names of their files."""
    return {
        "question": finding.question,
        "verdict": finding.verdict,
        "sentence": finding.sentence,
        "missing": list(finding.missing),
        "numbers": finding.numbers,
        "tables": [asdict(table) for table in finding.tables],
        "charts": [
            {**named(chart), "png": f"charts/{finding.name}-{chart.name}.png"}
            for chart in finding.charts
        ],
        "galleries": [
            {**named(gallery), "pictures": pictures_of(finding, gallery)}
            for gallery in finding.galleries
        ],
        "proof": list(finding.proof),
    }


def named(shown: Chart | Gallery) -> dict[str, str]:
    texts = {"title": shown.title, "alt": shown.alt, "caption": shown.caption}
    return {"name": shown.name, **texts}


def pictures_of(finding: Finding, gallery: Gallery) -> list[dict[str, str]]:
    pairs = zip(picture_names(finding, gallery), gallery.items, strict=True)
    return [{"png": f"charts/{name}", "text": text} for name, (_, text) in pairs]


def picture_names(finding: Finding, gallery: Gallery) -> list[str]:
    return [f"{finding.name}-{gallery.name}-{i:02d}.png" for i in range(1, len(gallery.items) + 1)]


def run_entry(run: Run, used: Mapping[str, str], chapters: Sequence[str]) -> dict[str, Any]:
    """A run's row. Where chapters share a run, its role is that of the first in the report."""

    def figures(row: dict[str, Any] | None) -> dict[str, Any] | None:
        return {key: row.get(key) for key in ("epoch", *MEASURES)} if row else None

    recipe, tree = run.recipe, to_json(run.recipe)
    role = next((used[name] for name in chapters if name in used), "")
    return {
        "id": run.id,
        "chapters": list(used),
        "model": tree["model"],
        "seed": recipe.seed,
        "status": run.status,
        "message": run.message,
        "role": role,
        "pilot": role in ("pilot", "trial"),  # judged by validation alone
        "filters": run.size["filters"],
        "parameters": run.size["parameters"],
        "flops": run.size["flops"],
        "lr": recipe.lr,
        "epochs": run.epochs,
        "seconds": run.seconds,
        "best": figures(run.best if run.rows else None),
        "last": figures(run.last if run.rows else None),
        "recipe": tree,
    }


def write_results(path: Path, tree: dict[str, Any]) -> None:
    write_json(path, tree, indent=1)


def write_csv(path: Path, runs: list[dict[str, Any]]) -> None:
    """A row per run, with model fields and figures as columns; `runs` as in results.json."""
    models = list(dict.fromkeys(key for run in runs for key in run["model"]))
    heading = [
        *CSV_COLUMNS,
        *(f"model_{key}" for key in models),
        *(f"{when}_{key}" for when in ("best", "last") for key in ("epoch", *MEASURES)),
    ]
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(heading)
    for run in runs:
        cells = [run[key] for key in CSV_COLUMNS] + [run["model"].get(key) for key in models]
        for when in ("best", "last"):
            cells += [(run[when] or {}).get(key) for key in ("epoch", *MEASURES)]
        writer.writerow([safe_cell(cell) for cell in cells])
    write_bytes(path, file.getvalue().encode())


def safe_cell(cell: Any) -> Any:
    """A cell that no spreadsheet takes for a formula."""
    if isinstance(cell, list | dict):
        return json.dumps(cell)
    return f"'{cell}" if isinstance(cell, str) and cell[:1] in "=+-@\t\r" else cell


def write_charts(folder: Path, findings: dict[str, Finding], drawings: Drawings) -> None:
    """Each chart as PNG and SVG, and the pictures of galleries as they are.

    These are a hundred files. `convscope report` makes them again, so the disk is not waited for.
    """
    folder.mkdir(exist_ok=True)
    for finding in findings.values():
        for chart in finding.charts:
            stem = folder / f"{finding.name}-{chart.name}"
            drawn = drawings.of(finding.name, chart.name)
            write_bytes(stem.with_suffix(".png"), drawn.png, sync=False)
            write_bytes(stem.with_suffix(".svg"), drawn.svg, sync=False)
        for gallery in finding.galleries:
            names = picture_names(finding, gallery)
            for name, (picture, _) in zip(names, gallery.items, strict=True):
                write_bytes(folder / name, picture, sync=False)
