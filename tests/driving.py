"""Drives a chapter in a test with made or trained runs, and checks the finding that it returns."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import vl_convert

from convscope.planning.context import Context
from convscope.planning.requests import Answer, Chapter, Give, Role, Wait
from convscope.recipe.recipe import Recipe
from convscope.report.findings import Finding
from convscope.studies.driver import Driver
from convscope.studies.study_json import requests_from
from convscope.studies.watcher import Watcher
from convscope.training.runs import Run

Sent = Callable[[list[Run]], list[Run]]


def drive(
    module: ModuleType, context: Context, made: Callable[[Recipe], Run], change: Sent = list
) -> tuple[Finding, list[list[str]]]:
    """The finding, and the ids of each request; `change` edits the runs before they are sent."""
    chapter: Chapter = module.chapter(replace(context, needs=module.NEEDS))
    step, asked = next(chapter), []
    for _ in range(9):
        answer = Answer()
        if not isinstance(step, Wait | Give):
            roles = {recipe.id: request.role for request in step for recipe in request.recipes}
            asked.append(list(roles))
            kept = change([made(recipe) for request in step for recipe in request.recipes])
            by_role: dict[Role, list[Run]] = {}
            for run in kept:
                by_role.setdefault(roles[run.recipe.id], []).append(run)
            answer = Answer(by_role)
        try:
            step = chapter.send(answer)
        except StopIteration as end:
            check_lengths(end.value)
            return check(end.value), asked
    raise AssertionError("the chapter never ends")


def rendered(name: str, context: Context, root: Path, asked: list[list[str]]) -> Finding:
    """The finding as studies write it again, from what is left on disk of what was asked for."""
    recorded = requests_from({"requests": {name: asked}}, root)
    driver = Driver(None, root, None, Watcher(), recorded)
    return driver.collect(replace(context, live=False))[name]


def is_pilot(run: Run) -> bool:
    return run.recipe.evaluate == ("val",)


def check(finding: Finding) -> Finding:
    """Printable, whole sentences; plain, finite JSON."""
    json.dumps(
        [finding.numbers, *(t.rows for t in finding.tables), *(c.spec for c in finding.charts)],
        allow_nan=False,
    )
    for text in (finding.sentence, *finding.paragraphs):
        assert text.isprintable() and text.endswith(".") and not text.endswith("..")
        assert (
            "None" not in text
            and "nan" not in text
            and "  " not in text
            and "1 seeds" not in text
            and "1 epochs" not in text
        )
    assert finding.verdict
    return finding


def check_lengths(finding: Finding, most: int = 40) -> None:
    """No sentence of the verdict, the method, a chart or a gallery is longer than `most` words."""
    shown = [text for c in (*finding.charts, *finding.galleries) for text in (c.alt, c.caption)]
    for text in (finding.sentence, finding.brief, *finding.paragraphs, *shown):
        for sentence in re.split(r"(?<=\.)\s+(?=[A-Z0-9])", text):
            assert len(re.findall(r"\S*\w\S*", sentence)) <= most, sentence
        assert not re.search(r" [.,;:]", text), text


def drawn(finding: Finding) -> None:
    """Charts can be drawn; pictures are PNG files with printable words."""
    for chart in finding.charts:
        assert vl_convert.vegalite_to_svg(chart.spec).startswith("<svg")
    for gallery in finding.galleries:
        assert all(
            picture.startswith(b"\x89PNG") and words.isprintable()
            for picture, words in gallery.items
        )
