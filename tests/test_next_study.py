"""What the page proposes to do next: the next larger study, its command and its time."""

from __future__ import annotations

import shlex
from dataclasses import replace
from typing import Any

import pytest
import reporting

from convscope.planning.context import Context
from convscope.recipe.networks import ConvNet
from convscope.recipe.recipe import Recipe
from convscope.report.opening import next_steps
from convscope.studies import next_study as module
from convscope.studies.next_study import next_study, times_the_work, with_preset, work_of


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


def test_work_is_images_times_epochs_times_flops() -> None:
    context, model = context_of(), ConvNet(4, 1)
    known: dict[Any, float] = {model: 100.0}
    images = len(context.data.train)
    recipes = [Recipe(model=model, epochs=3), Recipe(model=model, epochs=2, limit=4)]
    assert work_of(recipes, context, known) == 100 * (3 * images + 2 * 4)
    other = Recipe(model=ConvNet(8, 1), epochs=1)
    assert work_of([other], context, known) == known[other.model] * images > 0


def test_the_time_follows_the_work_and_is_kept(
    monkeypatch: pytest.MonkeyPatch, make_run: Any
) -> None:
    runs = [make_run(ConvNet(4, 1), [1.0], [1.0], seed=seed) for seed in (0, 1)]
    context = context_of()
    asked: list[tuple[str, tuple[int, ...]]] = []

    def planned(other: Context) -> list[Recipe]:
        asked.append((other.preset, other.seeds))
        return [run.recipe for run in runs] * 6

    monkeypatch.setattr(module, "forecast", planned)
    assert times_the_work(context, runs, "standard") == pytest.approx(6)
    found = next_study(context, runs, "convscope study x", 600.0)
    assert found == {
        "preset": "standard",
        "command": "convscope study x --preset standard",
        "time": found["time"] if found else "",
    }
    assert found and found["time"] == module.duration(3600.0)
    assert asked[0][0] == "standard" and asked[0][1] == tuple(range(module.SEEDS["standard"]))
    count = len(asked)
    assert next_study(context, runs, "convscope study x", 600.0) == found and len(asked) == count
    assert next_study(context, runs, "convscope study x", 0.0) == {**found, "time": ""}


def test_the_largest_study_proposes_none_and_no_runs_no_time() -> None:
    last = module.PRESETS[-1]
    assert next_study(replace(context_of(), preset=last), [], "convscope study x", 9.0) is None
    found = next_study(context_of(), [], "convscope study x", 9.0)
    assert found and found["time"] == ""


def test_the_page_says_what_comes_next() -> None:
    coming = {"preset": "standard", "command": "convscope study x --preset standard", "time": "1 h"}
    about = {"complete": True, "next": coming, "command": "convscope study x"}
    (head, text, command), strong = next_steps(about, {})
    assert "standard" in head and "1 h" in text and command == coming["command"]
    assert strong[2] == "convscope train x --recipe strong"
    stopped = next_steps({**about, "complete": False}, {})
    assert stopped[0] == ("Finish this study", "It was interrupted.", "convscope study x")
