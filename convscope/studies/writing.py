"""A study's findings become its report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from convscope.errors import one_line
from convscope.planning import Context
from convscope.report import Drawings, Finding, write_report
from convscope.studies.driver import Driver
from convscope.studies.folder import read_study, write_study
from convscope.training import Run


@dataclass(frozen=True)
class Study(Mapping[str, Finding]):
    """The findings by chapter; `sentence` is the last line of report and terminal. `complete` is False after an interruption.

    `broken` names chapters whose analysis failed, with the reason; their runs are on disk.
    """

    path: Path
    findings: dict[str, Finding]
    runs: tuple[Run, ...]
    sentence: str
    complete: bool
    broken: dict[str, str] = field(default_factory=dict)

    def __getitem__(self, chapter: str) -> Finding:
        return self.findings[chapter]

    def __iter__(self) -> Iterator[str]:
        return iter(self.findings)

    def __len__(self) -> int:
        return len(self.findings)

    @property
    def failed(self) -> list[Run]:
        return [run for run in self.runs if run.status == "failed"]

    def __str__(self) -> str:
        return "\n".join([*map(str, self.findings.values()), str(self.path / "report.html")])


def save(
    root: Path,
    about: dict[str, Any],
    findings: dict[str, Finding],
    driver: Driver,
    seconds: float,
    complete: bool,
    context: Context,
    drawings: Drawings,
) -> Study:
    known = read_study(root)
    earlier = known.get("seconds", 0.0)
    spent = (earlier if isinstance(earlier, int | float) else 0.0) + seconds
    about = {**about, "seconds": round(spent, 1), "complete": complete}
    changed = {
        "seconds": round(spent, 1),
        "about": about,
        "requests": driver.recorded or driver.asked,
        "measured": context.measured,
    }
    write_study(root, {**known, **changed})
    sentence = sentence_of(about["data"], findings)
    if about["fallback"]:
        sentence = f"(Built-in data, because cifar10 could not be had.) {sentence}"
    runs = tuple(driver.runs.values())
    write_report(root, about, findings, runs, driver.used, sentence, context.data, drawings)
    return Study(root, findings, runs, sentence, complete, dict(driver.broken))


def sentence_of(name: str, findings: Mapping[str, Finding]) -> str:
    """What was found in one sentence: a chapter's own, or a clause of each."""
    if len(findings) == 1:
        return next(iter(findings.values())).sentence
    return (
        f"On {one_line(name)}: "
        + "; ".join(f.brief or f"{f.title.lower()}: {f.verdict}" for f in findings.values())
        + "."
    )
