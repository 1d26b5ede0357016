"""What a chapter finds: a verdict with its numbers, charts and tables. Plain data; the report draws it, results.json stores it."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any

from convscope.data import Dataset
from convscope.recipe import Recipe
from convscope.record import Run


@dataclass(frozen=True)
class Table:
    """Columns are (key, heading, format): formats are text, int, loss, percent, float, seconds. Values are plain JSON values."""

    name: str
    title: str
    columns: tuple[tuple[str, str, str], ...]
    rows: list[dict[str, Any]]
    caption: str = ""


@dataclass(frozen=True)
class Chart:
    """A Vega-Lite specification with its data inside; `alt` says in words what a reader without the picture should know."""

    name: str
    title: str
    spec: dict[str, Any]
    alt: str
    caption: str = ""


@dataclass(frozen=True)
class Finding:
    """A chapter's answer. `sentence` is the verdict in one sentence, computed from `numbers`; `paragraphs` explain the method."""

    name: str
    title: str
    question: str
    verdict: str
    sentence: str
    numbers: dict[str, Any]
    tables: list[Table] = field(default_factory=list)
    charts: list[Chart] = field(default_factory=list)
    paragraphs: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{self.title}: {self.sentence}"

    def _repr_html_(self) -> str:
        import html

        rows = "".join(f"<tr><td>{html.escape(k)}</td><td>{html.escape(str(v))}</td></tr>" for k, v in self.numbers.items())
        return f"<h3>{html.escape(self.title)}</h3><p>{html.escape(self.sentence)}</p><table>{rows}</table>"


@dataclass(frozen=True)
class Context:
    """What a chapter plans with: the data, the preset, the seeds, and a base recipe in which machine and data are filled in.

    `findings` holds what other chapters of the study have found so far, and `chapters` the names of all of them: a chapter that builds on
    another one yields no recipes until that one's finding is there.
    """

    data: Dataset
    preset: str
    seeds: tuple[int, ...]
    base: Recipe
    chapters: tuple[str, ...] = ()
    findings: dict[str, Finding] = field(default_factory=dict)


# A chapter is a generator: it yields recipes, is sent their runs, as often as it likes, and returns its finding.
Chapter = Generator[list[Recipe], list[Run], Finding]
