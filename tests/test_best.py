"""The chapter `best` on real training: what it asks for, how it chooses, what it says."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from convscope import data
from convscope.chapters import best
from convscope.chapters.best.choice import labels_of
from convscope.chapters.best.plan import FRESH, budget_of, limit_of, rungs_of
from convscope.chapters.best.winner import MOST_MISTAKES
from convscope.planning import reference as plans
from convscope.planning.context import BudgetFit, Context, Search
from convscope.planning.requests import Answer, Give, Wait
from convscope.planning.search_journal import JOURNAL
from convscope.recipe.networks import ConvNet
from convscope.recipe.recipe import Recipe
from convscope.report.findings import BestResult, CapacityResult, Finding
from convscope.training.main_path import train
from convscope.training.runs import Run
from convscope.training.trained import finished_run

pytestmark = pytest.mark.usefixtures("few_draws")  # how sure words are is not tested here

Trainer = Callable[[Recipe], Run | None]


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Six trials with rungs of one and three epochs, whatever the number of images."""
    monkeypatch.setitem(best.PRESETS, "quick", best.Preset(6, (1, 3), 1))
    monkeypatch.setitem(
        plans.REFERENCES, "quick", plans.Reference(replace(plans.reference_model(8), depth=2), 4)
    )
    monkeypatch.setattr("convscope.planning.epochs.REFERENCE_IMAGES", 1)
    yield


def context_of(source: Path, folder: Path | None = None, **changes: Any) -> Context:
    loaded = data.load(source)
    base = Recipe(data=str(source), data_hash=loaded.hash, batch=16)
    return replace(Context(loaded, "quick", (0, 1), base, ("best",), folder=folder), **changes)


def drive(context: Context, run: Trainer) -> tuple[Finding, list[Recipe]]:
    """As studies.Driver does for one chapter."""
    chapter, every = best.chapter(context), []
    step = next(chapter)
    while True:
        answer = Answer()
        if not isinstance(step, Wait | Give):
            (request,) = step
            every += request.recipes
            runs = [found for recipe in request.recipes if (found := run(recipe)) is not None]
            answer = Answer({request.role: runs})
        try:
            step = chapter.send(answer)
        except StopIteration as end:
            return end.value, every


def winner_of(found: Finding) -> Run:
    assert isinstance(found.gives, BestResult)
    return found.gives.run


def best_of(recipe: Recipe, shared: Path, what: str) -> float:
    return train(recipe, shared / "runs").best[what]


def trainer(root: Path) -> Trainer:
    return lambda recipe: train(recipe, root)


def reader(root: Path) -> Trainer:
    return lambda recipe: finished_run(root / recipe.id)


def plain(value: Any) -> None:
    """Plain JSON: no numpy, no torch, no NaN, no tuple."""
    if isinstance(value, dict):
        assert all(type(key) is str for key in value)
        for item in value.values():
            plain(item)
    elif type(value) is list:
        for item in value:
            plain(item)
    else:
        assert value is None or type(value) in (str, bool, int, float), (type(value), value)
        assert not isinstance(value, float) or math.isfinite(value)


def check_form(found: Finding) -> None:
    plain(found.numbers)
    for table in found.tables:
        plain(table.rows)
        assert {key for key, _, _ in table.columns} >= {"network"}
    for chart in found.charts:
        json.dumps(chart.spec, allow_nan=False)
        assert chart.alt.endswith(".")
    for gallery in found.galleries:
        assert gallery.items and all(
            picture[:8] == b"\x89PNG\r\n\x1a\n" for picture, _ in gallery.items
        )
    for text in (found.sentence, *found.paragraphs):
        assert (
            text.endswith((".", ")"))
            and "nan" not in text.split()
            and "None" not in text
            and "\n" not in text
        ), text
    assert len({chart.name for chart in found.charts}) == len(found.charts)


@pytest.fixture(scope="module")
def shared(micro: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("best")


@pytest.mark.slow
def test_the_chapter_on_real_training(micro: Path, shared: Path) -> None:
    context = context_of(micro, shared)
    threads = torch.get_num_threads()
    found, asked = drive(context, trainer(shared / "runs"))
    check_form(found)
    assert torch.get_num_threads() == threads
    strong = plans.reference_recipe(context)
    finals = [recipe for recipe in asked if "test" in recipe.evaluate and recipe.seed < FRESH]
    fresh = [recipe for recipe in asked if recipe.seed >= FRESH]
    # one seed chooses, the study's two anew are quoted
    assert finals[0] == strong and [recipe.seed for recipe in finals] == [0, 0]
    assert len(set(asked)) == len(asked)
    numbers = found.numbers
    assert (numbers["trials"], numbers["sampler"], numbers["rungs"]) == (6, "tpe", [1, 3])
    assert (
        sum(numbers[state] for state in ("finished", "pruned", "stopped", "failed", "untrained"))
        == 6
    )
    right = {recipe: best_of(recipe, shared, "val_accuracy") for recipe in finals}
    winner = winner_of(found).recipe
    assert winner_of(found).id == numbers["winner"] and right[winner] == max(right.values())
    assert isinstance(found.gives, BestResult) and found.gives.winner == winner
    quoted = [recipe for recipe in fresh if replace(recipe, seed=0) == winner]
    assert [recipe.seed for recipe in quoted] == [FRESH, FRESH + 1]
    assert {replace(recipe, seed=0) for recipe in fresh} == {winner, found.gives.smallest}
    tests = [best_of(recipe, shared, "test_accuracy") for recipe in quoted]
    assert numbers["test_accuracy"] == pytest.approx(sum(tests) / 2) and numbers["fresh"]
    losses = [best_of(recipe, shared, "test_loss") for recipe in quoted]
    assert numbers["test_loss"] == pytest.approx(sum(losses) / 2)
    assert numbers["runs"] == [recipe.id for recipe in quoted]
    assert (
        numbers["test_accuracy_interval"][0]
        <= numbers["test_accuracy"]
        <= numbers["test_accuracy_interval"][1]
    )
    assert numbers["smallest_parameters"] <= numbers["parameters"]
    names = {chart.name for chart in found.charts}
    assert names == {
        "pareto_parameters",
        "pareto_flops",
        "pareto_memory",
        "pareto_latency",
        "history",
        "parallel",
        "confusion",
    }
    assert {g.name for g in found.galleries} >= {"filters", "feature_maps"}
    assert (shared / JOURNAL).exists() and "far from a search of all there is" in found.sentence
    assert "fewer than 20 trials" in " ".join(found.paragraphs) and numbers["importance"] is None

    # driven again, it asks for the same; an old report trains nothing and says the same
    kept = {key: value for key, value in context.measured.items() if "headroom" in key}
    again, asked_again = drive(replace(context, measured=kept, live=False), reader(shared / "runs"))
    assert (
        asked_again == asked
        and again.sentence == found.sentence
        and again.numbers["test_loss"] == numbers["test_loss"]
    )
    assert "pareto_latency" not in {chart.name for chart in again.charts}
    check_form(again)


@pytest.mark.slow
def test_confusion_and_mistakes_are_those_of_the_winner(micro: Path, shared: Path) -> None:
    context = context_of(micro, shared)
    found, _ = drive(context, trainer(shared / "runs"))
    chart = next(chart for chart in found.charts if chart.name == "confusion")
    rows = next(iter(chart.spec["datasets"].values()))
    assert sum(row["count"] for row in rows) == len(context.data.test)
    right = sum(row["count"] for row in rows if row["true"] == row["predicted"])
    shares = [finished_run(shared / "runs" / key) for key in found.numbers["runs"]]
    assert right / len(context.data.test) in [
        pytest.approx(run.best["test_accuracy"]) for run in shares if run is not None
    ]
    wrong = next(gallery for gallery in found.galleries if gallery.name == "mistakes")
    assert len(wrong.items) == min(MOST_MISTAKES, len(context.data.test) - right)
    sure = [int(re.findall(r" (\d+) %", text)[-1]) for _, text in wrong.items]
    assert sure == sorted(sure, reverse=True)


def permuted(run: Run, rng: np.random.Generator) -> Run:
    """The run with its test columns replaced by random ones."""
    rows = [
        row
        | (
            {"test_loss": rng.random() * 9, "test_accuracy": rng.random()}
            if "test_loss" in row
            else {}
        )
        for row in run.rows
    ]
    return replace(run, rows=tuple(rows))


def test_test_columns_choose_nothing(micro: Path, shared: Path) -> None:
    first, asked = drive(context_of(micro), trainer(shared / "runs"))
    rng = np.random.default_rng(0)
    other, asked_other = drive(
        context_of(micro), lambda recipe: permuted(train(recipe, shared / "runs"), rng)
    )
    assert asked_other == asked
    for key in ("winner", "smallest", "not_told_apart", "affordable", "flips"):
        assert other.numbers[key] == first.numbers[key], key
    assert other.numbers["test_loss"] != first.numbers["test_loss"]


@pytest.mark.parametrize("kind", ["none", "failed", "interrupted", "no finals", "one seed"])
def test_what_it_says_without_all_runs(kind: str, micro: Path, shared: Path) -> None:
    count = 0

    def run(recipe: Recipe) -> Run | None:
        nonlocal count
        count += 1
        found = train(recipe, shared / "runs")
        final = "test" in recipe.evaluate
        if (
            kind == "none"
            or (kind == "interrupted" and count > 3)
            or (kind == "no finals" and final)
        ):
            return None
        if kind == "one seed" and recipe.seed == FRESH + 1:
            return None
        return replace(found, status="diverged", rows=()) if kind == "failed" else found

    found, _ = drive(context_of(micro, live=False), run)
    check_form(found)
    if kind == "one seed":
        assert "One seed." in " ".join(found.paragraphs) and "from one seed" in found.sentence
    else:
        assert (
            found.verdict == "cannot tell"
            and found.numbers["winner"] is None
            and found.gives is None
        )
        assert ("none finished (diverged)" in found.sentence) == (kind == "failed")


def test_only_the_strong_recipe_finishes(micro: Path, shared: Path) -> None:
    context = context_of(micro)
    strong = plans.reference_recipe(context)

    def run(recipe: Recipe) -> Run:
        found = train(recipe, shared / "runs")
        return (
            found if replace(recipe, seed=0) == strong else replace(found, status="out_of_memory")
        )

    found, _ = drive(context, run)
    check_form(found)
    assert (
        found.verdict == "cannot tell from one configuration"
        and winner_of(found).recipe.model == strong.model
    )
    assert found.numbers["failed"] == 6


def test_capacity_s_networks_compete(
    micro: Path, shared: Path, make_run: Callable[..., Run]
) -> None:
    context = context_of(micro, chapters=("capacity", "best"), needs=best.NEEDS)
    good = [
        make_run(
            ConvNet(2, 1),
            [0.5, 0.1],
            [0.5, 0.1],
            seed=seed,
            sd=0.1,
            parameters=77,
            accuracy=0.99,
            data=str(micro),
            data_hash=context.data.hash,
            batch=16,
            epochs=2,
        )
        for seed in (0, 1)
    ]
    part = replace(good[0], recipe=replace(good[0].recipe, limit=50))  # saw a part of the images
    context.given["capacity"] = CapacityResult(ConvNet(2, 1), (*good, part))
    found, asked = drive(context, trainer(shared / "runs"))
    check_form(found)
    assert winner_of(found).id == good[0].id and found.numbers["smallest"] == good[0].id
    assert "capacity chapter that see all training images compete" in " ".join(found.paragraphs)
    # what those seeds reached is not quoted: the network is trained anew
    assert [r.seed for r in asked if r.model == ConvNet(2, 1)] == [FRESH, FRESH + 1]
    assert found.numbers["test_accuracy"] < 0.99 and found.numbers["val_accuracy"] == 0.99
    assert len(found.numbers["configurations"]) == 3


def test_budgets_and_forecast(micro: Path) -> None:
    context = context_of(micro)
    assert budget_of(context) == (6, None) and rungs_of(context) == [1, 3]
    fitted = replace(context, fit=BudgetFit(epochs=0.35))
    assert budget_of(fitted) == (2, None) and rungs_of(fitted) == [1]
    assert budget_of(replace(context, search=Search(trials=3))) == (3, None)
    assert budget_of(replace(context, search=Search(minutes=0.5))) == (None, 30.0)
    plan = best.forecast(context)
    reference = plans.reference_recipe(context)
    # the pilot; the reference recipe; two rungs; another to the end; winner and smallest anew
    assert len(plan) == len(set(plan)) == 1 + 1 + 6 + 4 + 1 + 2 + 2 and plan[1] == reference
    assert [r.seed for r in plan[-4:]] == [FRESH, FRESH + 1] * 2
    assert len(best.forecast(replace(context, search=Search(trials=1)))) == 1 + 1 + 1 + 1 + 4
    assert limit_of(context) is None  # few images: the rungs see them all


def test_front() -> None:
    points = [(3.0, 0.5), (1.0, 0.9), (2.0, 0.9), (2.5, 0.4), (1.0, 0.8), (9.0, 0.1)]
    assert best.front_of(points) == [4, 3, 5]


def test_labels_differ() -> None:
    recipes = [
        Recipe(),
        Recipe(lr=0.1),
        Recipe(epochs=9),
        Recipe(flip=True),
        Recipe(model=ConvNet(hidden=(8,))),
    ]
    labels = labels_of(recipes)
    assert (
        len(set(labels.values())) == 5
        and labels[recipes[4]].endswith("hidden 8")
        and labels[recipes[3]].endswith("flips")
    )


@pytest.mark.parametrize(
    ("shape", "classes"),
    [
        pytest.param((9, 9), 3, marks=pytest.mark.slow),
        pytest.param((8, 12, 3), 21, marks=pytest.mark.slow),
        ((2, 2, 3), 2),
    ],
)
def test_other_images(
    shape: Sequence[int], classes: int, session_cache: Path, tmp_path: Path
) -> None:
    """Grey ones, few and many classes, small and oblong images; class names from users."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(classes), 4)
    images = rng.integers(0, 256, (len(labels), *shape), dtype=np.uint8)
    names = (
        np.array([f"<b>{i % 20}</b>\n" for i in range(classes - 1)] + ["last"])
        if classes <= 20
        else np.array([f"c{i}" for i in range(classes)])
    )
    np.savez(
        tmp_path / "own.npz",
        x_train=images,
        y_train=labels,
        x_test=images[::2],
        y_test=labels[::2],
        classes=names,
    )
    context = replace(context_of(tmp_path / "own.npz"), search=Search("random", 2))
    context = replace(
        context,
        base=replace(context.base, val=0.3, batch=4),
        data=data.load(tmp_path / "own.npz", val=0.3),
    )
    found, _ = drive(context, trainer(tmp_path / "runs"))
    check_form(found)
    assert winner_of(found).status == "finished"
    assert {g.name for g in found.galleries} >= {"filters", "feature_maps"}
