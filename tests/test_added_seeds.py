"""Where a time budget leaves room, the capacity chapter adds seeds until its verdict is sure."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import driving
import made
import numpy as np
import pytest

from convscope.chapters import capacity
from convscope.chapters.capacity import judgement, plan
from convscope.machine.costs import Costs, cost_kind
from convscope.planning.budgets import CHAPTER_OVERHEAD, OVERHEAD
from convscope.planning.context import BudgetFit, Context
from convscope.recipe.networks import ConvNet
from convscope.recipe.recipe import Recipe
from convscope.report import Finding
from convscope.statistics.configuration import Configuration
from convscope.statistics.verdicts import sweep_verdict
from convscope.studies.folder import StudyFolder
from convscope.studies.plan import RESERVE, fitted, forecast
from convscope.studies.watcher import Watcher
from convscope.training.runs import Run

pytestmark = pytest.mark.usefixtures("few_draws")  # how sure words are is not tested here

SHAPE = (3, 16, 16)
DATA = made.images(SHAPE)
GAIN = 0.5  # nats by each doubling of the width


def context_of(more: int, **rest: Any) -> Context:
    return made.context("capacity", DATA, seeds=2, fit=BudgetFit(more=more), **rest)


def trained(recipe: Recipe) -> Run:
    assert isinstance(recipe.model, ConvNet)
    loss = 4.0 - GAIN * math.log2(recipe.model.width) + 0.001 * recipe.seed
    return made.run(recipe, SHAPE, dict.fromkeys(recipe.evaluate, (loss, 0.5)))


class Told(Watcher):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)


def driven(context: Context) -> tuple[Finding, list[set[int]]]:
    """The finding, and the seeds of each request."""
    seeds: dict[str, int] = {}

    def make(recipe: Recipe) -> Run:
        seeds[recipe.id] = recipe.seed
        return trained(recipe)

    found, asked = driving.drive(capacity, context, make)
    return found, [{seeds[one] for one in ids} for ids in asked]


def with_losses(patch: pytest.MonkeyPatch) -> None:
    """Runs as if they had recorded losses by image: those of every image are the run's loss."""
    noise = np.random.default_rng(0).normal(0, 0.1, 50)

    def by_image(one: Configuration) -> Any:
        return np.stack([run.best["val_loss"] + noise for run in one.runs])

    patch.setattr(judgement, "by_image", by_image)


def test_seeds_are_added_as_often_as_there_is_room_while_it_cannot_be_told() -> None:
    found, asked = driven(context_of(2))  # no losses by image, so no word
    assert asked[-3:] == [{0, 1}, {2, 3}, {4, 5}]
    assert found.verdict == "cannot tell from 6 seeds"
    assert "got 2 more, 2 times at most" in " ".join(found.paragraphs)
    assert "It rests on 6 seeds in the end." in " ".join(found.paragraphs)
    # all else rests on the first seeds, and so is as it was
    usual, before = driven(context_of(0))
    assert before[-1] == {0, 1} and "times at most" not in " ".join(usual.paragraphs)
    assert found.numbers["networks"] == usual.numbers["networks"]
    assert found.gives == usual.gives


def test_none_are_added_once_the_word_is_sure(monkeypatch: pytest.MonkeyPatch) -> None:
    with_losses(monkeypatch)
    found, asked = driven(context_of(2))
    assert asked[-1] == {0, 1} and found.verdict.startswith("still improving at width")
    (main,) = found.numbers["verdicts_by_images"][str(max(found.numbers["images"]))].values()
    assert (main["looks"], main["seeds"]) == (3, 2)
    assert "over 3 looks" in found.headlines[0].why
    usual, _ = driven(context_of(0))
    (alone,) = usual.numbers["verdicts_by_images"][str(max(usual.numbers["images"]))].values()
    assert "looks" not in alone and "looks" not in usual.headlines[0].why


def test_the_plan_counts_all_seeds_that_may_be_added() -> None:
    context, usual = context_of(2), context_of(0)
    more = plan.forecast(context)[len(plan.forecast(usual)) :]
    assert {one.seed for one in more} == {2, 3, 4, 5} and len(more) == len(set(more))
    assert {one.model for one in more} == set(plan.main_of(context).models)
    assert {one.limit for one in more} == {None}
    assert replace(context.fit, more=0) == BudgetFit() and context.fit.whole


def test_every_look_has_its_share_of_the_error() -> None:
    """What a look at 5 % says, one of three may not."""
    draw = np.random.default_rng(5)
    image, scatter = draw.normal(0, 0.3, 400), draw.normal(0, 0.012, (3, 3, 1))
    losses = {
        2**i: mean + image + scatter[i] + draw.normal(0, 0.05, (3, 400))
        for i, mean in enumerate((1.0, 0.9, 0.855))
    }
    one, three = sweep_verdict(losses), sweep_verdict(losses, looks=3)
    assert (one.word, three.word) == ("still improving", "cannot tell")
    assert (one.looks, three.looks) == (1, 3) and three.seeds_needed


def test_what_a_budget_leaves_over_is_for_more_seeds(tmp_path: Path) -> None:
    context = replace(context_of(2), fit=BudgetFit(), chapters=("capacity", "convolution"))
    kinds = list(dict.fromkeys(map(cost_kind, plan.forecast(context))))
    costs = Costs(DATA, {kind.id: (1e-2, 1e-3) for kind in kinds}, kinds)
    whole, most = (
        sum(map(costs.run, forecast(replace(context, fit=BudgetFit(more=more))))) for more in (0, 2)
    )
    fixed = OVERHEAD + 2 * CHAPTER_OVERHEAD
    assert most > whole
    for seconds, more in ((most, 2), (0.9 * most, 1), (whole, 0)):
        folder, watcher = tmp_path / str(more), Told()
        folder.mkdir()
        budget = fixed + RESERVE * seconds + 1e-6
        found = fitted(StudyFolder.open(folder), context, costs, budget, 1, watcher)
        assert found.fit == BudgetFit(more=more)
        said = f"there is room for {2 * more} more seeds"
        assert [said in line for line in watcher.lines] == [True] * bool(more)
        again = StudyFolder.open(folder)  # the same after a restart
        assert fitted(again, context, costs, budget, 1, Told()).fit == found.fit
