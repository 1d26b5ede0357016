"""A study's findings become its report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from convscope.errors import one_line
from convscope.planning import Context
from convscope.report import Drawings, Finding, write_report
from convscope.studies.driver import Driver
from convscope.studies.folder import StudyFolder
from convscope.studies.next_study import hints_of, next_study
from convscope.studies.study_json import about_json
from convscope.studies.unasked import unasked
from convscope.training import Run


@dataclass(frozen=True)
class Study(Mapping[str, Finding]):
    """What a study found: a mapping from chapters' names to findings.

    path: the study's folder.
    findings: by chapter.
    runs: all that the chapters asked for, failed ones too.
    sentence: what was found in one sentence, as in the report.
    complete: False after an interruption.
    broken: chapters whose analysis failed, with the reason; their runs are on disk.
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
        """The runs that failed."""
        return [run for run in self.runs if run.status == "failed"]

    def __str__(self) -> str:
        return "\n".join([*map(str, self.findings.values()), str(self.path / "report.html")])


def save(
    folder: StudyFolder,
    findings: dict[str, Finding],
    driver: Driver,
    context: Context,
    drawings: Drawings,
    *,
    seconds: float,
    complete: bool,
) -> Study:
    """Write study.json and the report.

    folder: of the study; its `about` says what the report is about.
    findings: by chapter.
    driver: that found them.
    context: what the chapters planned with.
    drawings: of the findings' charts.
    seconds: that this process has spent.
    complete: False after an interruption.
    """
    assert folder.about is not None
    folder.seconds = round(folder.seconds + seconds, 1)
    folder.about = replace(folder.about, seconds=folder.seconds, complete=complete)
    runs = tuple(driver.runs.values())
    command = folder.about.command
    coming = next_study(context, folder, command) if complete else None
    folder.requests = driver.recorded or driver.asked
    folder.measured = context.measured
    folder.save()
    about = folder.about
    sentence = sentence_of(about.data, findings)
    if about.fallback:
        sentence = f"(Built-in data, because cifar10 could not be had.) {sentence}"
    # of an interrupted study a question may only look as if it was left out of its chapter
    left = unasked(context, folder, findings if complete else {}, coming)
    tree = about_json(about) | {"next": coming, "unasked": left}
    tree["hints"] = hints_of(context, folder, command) if complete else {}
    write_report(
        folder.root,
        tree,
        findings,
        runs,
        driver.used,
        sentence,
        context.data,
        drawings,
        driver.damaged,
    )
    return Study(folder.root, findings, runs, sentence, complete, dict(driver.broken))


def sentence_of(name: str, findings: Mapping[str, Finding]) -> str:
    """What was found in one sentence: a chapter's own, or a clause of each."""
    if len(findings) == 1:
        return next(iter(findings.values())).sentence
    clauses = (f.brief or f"{f.title.lower()}: {f.verdict}" for f in findings.values())
    return f"On {one_line(name)}: {'; '.join(clauses)}."
