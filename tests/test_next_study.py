"""What the page proposes to do next: the next larger study, its command and its time."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path

import pytest
import reporting

from convscope.machine import cost_kind
from convscope.models import size_of
from convscope.planning.context import BudgetFit, Context
from convscope.recipe.networks import ConvNet
from convscope.recipe.recipe import Recipe
from convscope.report.findings import Recommended
from convscope.report.opening import next_steps
from convscope.studies import next_study as module
from convscope.studies.folder import StudyFolder
from convscope.studies.next_study import hints_of, next_study, with_preset
from convscope.studies.study_json import Fitted


def context_of(preset: str = "quick") -> Context:
    return Context(reporting.made_data(("a", "b"), "made"), preset, (0, 1), Recipe())


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("convscope study cifar10", "convscope study cifar10 --preset standard"),
        (
            "convscope study 'my images' --preset quick --budget 12m --out o --seeds 3 --val 0.2",
            "convscope study 'my images' --val 0.2 --preset standard",
        ),
        (
            "convscope study x --preset=quick --budget=12m --out=there --seeds=3",
            "convscope study x --preset standard",
        ),
    ],
)
def test_the_command_asks_for_more_in_a_folder_of_its_own(command: str, told: str) -> None:
    assert with_preset(command, "standard") == told
    assert shlex.split(told)[:2] == ["convscope", "study"]


def test_the_time_is_that_of_the_whole_plan_at_what_runs_cost_here(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    model, twice = ConvNet(4, 1), ConvNet(8, 1)
    own = [Recipe(model=model, epochs=3, evaluate=("train",), seed=seed) for seed in (0, 1)]
    context = replace(context_of(), chapters=("capacity",), workers=2)
    asked: list[Context] = []

    def planned(other: Context) -> list[Recipe]:
        asked.append(other)
        if other.preset == "quick":
            return own
        return [replace(one, model=m) for one in own for m in (model, twice)] * 3

    monkeypatch.setattr(module, "forecast", planned)
    folder = StudyFolder(tmp_path, costs={cost_kind(own[0]).id: (10.0, 1.0)})
    folder.fitted = Fitted(600.0, "quick", ("capacity", "best"), 2, BudgetFit(epochs=0.5))
    one = 3 * len(context.data.train) * (10.0 + 1.0)
    flops = [size_of(m, context.data.in_shape, 2).flops + 1 for m in (model, twice)]
    training = 6 * one * (1 + flops[1] / flops[0]) / 2
    found = next_study(context, folder, "convscope study x --budget 10m")
    assert asked[0].preset == "standard" and asked[0].chapters == ("capacity", "best")
    assert asked[0].seeds == tuple(range(module.SEEDS["standard"])) and asked[0].fit.whole
    assert found == {
        "preset": "standard",
        "command": "convscope study x --preset standard",
        "time": module.duration(training + module.fixed(asked[0], asked[0].fit)),
    }


def test_the_largest_study_proposes_none_and_no_costs_no_time(tmp_path: Path) -> None:
    folder, last = StudyFolder(tmp_path), module.PRESETS[-1]
    assert next_study(replace(context_of(), preset=last), folder, "convscope study x") is None
    found = next_study(context_of(), folder, "convscope study x")
    assert found and found["time"] == ""


def test_the_page_says_what_comes_next() -> None:
    coming = {"preset": "standard", "command": "convscope study x --preset standard", "time": "1 h"}
    about = {"complete": True, "next": coming, "command": "convscope study x"}
    (head, text, command), strong = next_steps(about, {})
    assert "standard" in head and "1 h" in text and command == coming["command"]
    assert strong[2] == "convscope train x --recipe strong" and "is not known" in strong[1]
    stopped = next_steps({**about, "complete": False}, {})
    assert stopped[0] == ("Finish this study", "It was interrupted.", "convscope study x")


def taken_with(high: float) -> Recommended:
    return Recommended(ConvNet(4, 1), high - 0.01, high - 0.02, high, 2, 100, 1000, "")


@pytest.mark.parametrize(
    ("high", "hints", "proposed"),
    [
        (0.7, {"strong": "1 h"}, True),
        (0.95, {"strong": "1 h"}, False),
        (0.7, {"strong": None}, False),
    ],
)
def test_the_strong_recipe_is_proposed_where_it_helps(
    high: float, hints: dict[str, str | None], proposed: bool
) -> None:
    """Not beside a network as accurate as it is, nor on images that are too small for it."""
    about = {"complete": True, "command": "convscope study", "data": "cifar10", "hints": hints}
    steps = next_steps(about, {}, taken_with(high))
    assert bool(steps) == proposed
    for head, text, command in steps:
        assert head == "Train the strong recipe" and command.endswith("cifar10 --recipe strong")
        assert "94.2 %" in text and "69.0 %" in text and "1 h here" in text


def test_what_a_budget_took_away_is_asked_first(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    model = ConvNet(4, 1)
    own = Recipe(model=model, epochs=3, evaluate=("train",))
    monkeypatch.setattr(module, "forecast", lambda other: [own] * len(other.chapters))
    folder = StudyFolder(tmp_path, costs={cost_kind(own).id: (10.0, 1.0)})
    fit = BudgetFit(epochs=0.67, chapters=("capacity",))
    folder.fitted = Fitted(600.0, "quick", ("capacity", "best"), 2, fit)
    context = replace(context_of(), chapters=("capacity",), fit=fit)
    hints = hints_of(context, folder, "convscope study x --budget 10m --seeds 2")
    seconds = 2 * 3 * len(context.data.train) * 11.0
    whole = replace(context, chapters=("capacity", "best"), fit=BudgetFit())
    assert hints["whole"] == {
        "command": "convscope study x --seeds 2",
        "time": module.duration(seconds + module.fixed(whole, whole.fit)),
        "left": "67 % of the epochs and trials",
    }
    assert hints["strong"]  # by its FLOPs
    assert hints_of(replace(context, fit=BudgetFit()), folder, "convscope study x")["whole"] is None
    about = {"complete": True, "command": "convscope study x", "hints": hints}
    about |= {"next": {"preset": "standard", "command": "c", "time": "1 h"}}
    first, second, _ = next_steps(about, {})
    assert first[2] == hints["whole"]["command"] and first[1].endswith(
        f"It takes about {hints['whole']['time']} here."
    )
    assert second[0] == "Ask again with the preset standard"
