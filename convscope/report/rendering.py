"""Findings and records become report.html, results.json, results.csv, charts/ and paper/.

Nothing here trains or measures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from convscope.data import Dataset
from convscope.files import write_bytes
from convscope.report.drawing import Drawings
from convscope.report.files import results, write_charts, write_csv, write_results
from convscope.report.findings import Damage, Finding
from convscope.report.page import page_of
from convscope.report.paper import write_paper
from convscope.training import Run

__all__ = ["write_report"]


def write_report(
    root: Path,
    about: dict[str, Any],
    findings: dict[str, Finding],
    runs: tuple[Run, ...],
    used: Mapping[str, Mapping[str, str]],
    sentence: str,
    data: Dataset,
    drawings: Drawings,
    damaged: Sequence[Damage] = (),
) -> None:
    """Write all files of a report to a study's folder.

    root: the study's folder; about: what its study.json says; data: its images.
    findings: by chapter; runs: all of the study; used: run id -> the chapters that use it.
    sentence: the answer of the whole study; drawings: may have drawn some of the charts already.
    damaged: runs that were left out, or set aside and trained again.

    The page comes last, so that it never speaks of files that are missing.
    """
    for finding in findings.values():
        drawings.add(finding)
    tree = results(about, findings, runs, used, sentence, damaged)
    page = page_of(about, findings, tree, data, drawings, runs)  # while the last charts are drawn
    write_charts(root / "charts", findings, drawings)
    write_paper(root / "paper", tree)
    write_csv(root / "results.csv", tree["runs"])
    write_results(root / "results.json", tree)
    write_bytes(root / "report.html", page)
