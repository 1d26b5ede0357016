"""Questions that a study did not ask: why, the exact command that asks them, and its time."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace as Made
from typing import Any

import pytest
import reporting

from convscope.chapters import CHAPTERS
from convscope.machine.costs import cost_kind
from convscope.planning.budgets import parse_budget
from convscope.planning.context import BudgetFit, Context
from convscope.recipe.recipe import Recipe
from convscope.report.findings import Finding, Headline
from convscope.report.opening import answers_of
from convscope.studies.folder import StudyFolder
from convscope.studies.plan import forecast
from convscope.studies.study_json import Fitted
from convscope.studies.unasked import option, unasked, without

NEXT = {"command": "convscope study x --preset standard", "time": "1 h"}


def study_of(
    tmp_path: Path,
    command: str,
    chapters: tuple[str, ...] = ("capacity",),
    budget: float | None = None,
    seconds: float = 0.0,
) -> tuple[Context, Any]:
    """A study's context and folder; seconds: of one image's training, 0: not measured."""
    data = reporting.made_data(("a", "b"), "made")
    fit = BudgetFit(epochs=0.25, chapters=chapters) if budget else BudgetFit()
    context = Context(data, "quick", (0, 1), Recipe(batch=1), chapters, fit=fit)
    folder: Any = StudyFolder(tmp_path)
    folder.about = Made(command=command, chapters=chapters)
    folder.choice = Made(workers=2)
    if budget:
        folder.fitted = Fitted(budget, "quick", tuple(CHAPTERS), 2, fit)
    if seconds:
        every = forecast(replace(context, chapters=tuple(CHAPTERS), fit=BudgetFit()))
        folder.costs = {cost_kind(recipe).id: (seconds, seconds) for recipe in every}
    return context, folder


def told(*headlines: Headline) -> dict[str, Finding]:
    return {"capacity": Finding("capacity", "Capacity", "?", "", "", {}, headlines=headlines)}


def test_a_chapter_that_was_not_named_is_added_in_the_same_folder(tmp_path: Path) -> None:
    command = "convscope study 'my images' --chapters capacity --out here --seeds 3"
    found = unasked(*study_of(tmp_path, command, seconds=1e-3), {}, None)
    assert [one["chapter"] for one in found] == [name for name in CHAPTERS if name != "capacity"]
    asked = {one["chapter"]: one for one in found}["nonlinearity"]
    assert asked["question"] == "Did nonlinearity matter?" and asked["time"]
    words = shlex.split(asked["command"])
    assert words[:3] == ["convscope", "study", "my images"] and words.count("--chapters") == 1
    assert option(words, "--chapters") == "capacity,nonlinearity"
    assert option(words, "--out") == "here" and option(words, "--seeds") == "3"
    last = unasked(*study_of(tmp_path, command, tuple(CHAPTERS)[:-1]), {}, None)
    assert "--chapters" not in last[0]["command"] and last[0]["time"] == ""  # that is all of them


@pytest.mark.parametrize(("seconds", "kept"), [(1e-6, True), (10.0, False)])
def test_a_chapter_that_a_budget_left_out_is_asked_alone(
    tmp_path: Path, seconds: float, kept: bool
) -> None:
    command = "convscope study x --budget 12m --out=here"
    found = unasked(*study_of(tmp_path, command, budget=720, seconds=seconds), {}, None)
    for one in found:
        words = shlex.split(one["command"])
        assert option(words, "--chapters") == one["chapter"] and "12 min" in one["why"]
        assert option(words, "--out") == f"here-{one['chapter']}" and one["time"]
        given = option(words, "--budget")
        if kept or one["chapter"] == "convolution":  # which trains nothing
            assert given == "12m"
        else:
            assert parse_budget(given) > 720
    blind = unasked(*study_of(tmp_path, command, budget=720), {}, None)
    assert all("--budget" not in one["command"] and not one["time"] for one in blind)


def test_a_part_of_a_chapter_has_a_row_too(tmp_path: Path) -> None:
    findings = told(Headline("Would more images help?", "Not asked: 3.", "not asked", ""))
    whole = tuple(CHAPTERS)
    command = "convscope study x --budget 12m"
    context, folder = study_of(tmp_path, command, whole, 720, 1e-6)
    (one,) = unasked(context, folder, findings, None)
    assert one["command"] == (
        "convscope study x --chapters capacity --out runs/made-quick-capacity --budget 12m"
    )
    context, folder = study_of(tmp_path, "convscope study x", whole)
    (one,) = unasked(context, folder, findings, NEXT)
    assert (one["command"], one["time"]) == (NEXT["command"], NEXT["time"])
    own = replace(context, grids={"capacity": {"images": [5]}})
    folder.about.command = "convscope study x --set capacity.images=5"
    (one,) = unasked(own, folder, findings, NEXT)
    assert one["command"].endswith("--out runs/made-quick-capacity") and "--set" not in str(one)
    json.dumps(one)


def test_answers_have_a_grey_row_for_each(tmp_path: Path) -> None:
    images = Headline("Would more images help?", "Not asked: 3.", "not asked", "")
    findings = told(Headline("How many filters are enough?", "8.", "sure", ""), images)
    rows = [
        {"chapter": "best", "question": "Which network is best?", "more": ["And?"], "why": "5."}
        | NEXT,
        {"chapter": "capacity", "question": images.question, "more": [], "why": "6."} | NEXT,
    ]
    one, two, three = answers_of(findings, rows)
    assert one.key == "sure" and not one.command
    assert (two.badge, two.key, two.headline.text) == ("not asked", "unknown", "5.")
    assert (three.badge, three.headline.text, three.command) == (
        "not asked",
        "Not asked: 3.",
        NEXT["command"],
    )
    assert len(answers_of(findings)) == 2


def test_options_are_found_and_left_out_in_both_forms() -> None:
    words = ["a", "--x", "1", "--y=2", "--z"]
    assert (option(words, "--x"), option(words, "--y"), option(words, "--w")) == ("1", "2", "")
    assert without(words, ["--x", "--y"]) == ["a", "--z"]
