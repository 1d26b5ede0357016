"""Findings and records become report.html, results.json, results.csv and charts/. Nothing here trains or measures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from convscope.data import Dataset
from convscope.findings import Finding
from convscope.record import Run
from convscope.report.files import results, write_charts, write_csv, write_results
from convscope.report.page import write_page

__all__ = ["write_report"]


def write_report(
    root: Path,
    about: dict[str, Any],
    findings: dict[str, Finding],
    runs: tuple[Run, ...],
    used: dict[str, list[str]],
    sentence: str,
    data: Dataset,
) -> None:
    """Write all files of a report to the study's folder; the page comes last, so that it never speaks of files that are missing."""
    tree = results(about, findings, runs, used, sentence)
    write_charts(root / "charts", findings)
    write_csv(root / "results.csv", tree["runs"])
    write_results(root / "results.json", tree)
    write_page(root / "report.html", about, findings, tree, data)
