"""Time budgets: what is a time, ever smaller plans, the first that fits, what runs cost."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from convscope import studies
from convscope.chapters import CHAPTERS
from convscope.data.dataset import Dataset, Split
from convscope.errors import UserError
from convscope.machine.costs import Costs, cost_kind
from convscope.models.sizes import size_of
from convscope.planning.budgets import (
    CHAPTER_OVERHEAD,
    LEAST_IMAGES,
    OVERHEAD,
    PROVED,
    WELL_IMAGES,
    WORTH,
    asked_well,
    asks_well,
    duration,
    last_levels,
    least,
    least_well,
    levels,
)
from convscope.planning.context import BudgetFit, Context
from convscope.planning.search_request import Search
from convscope.recipe.networks import ConvNet, SoftmaxRegression
from convscope.recipe.recipe import Recipe
from convscope.report.findings import Finding
from convscope.studies.folder import StudyFolder
from convscope.studies.plan import AFTER, RESERVE, not_asked, refuse_at_once, with_fit
from convscope.studies.study_request import StudyRequest, check
from convscope.studies.watcher import Watcher


def images(train: int = 45_000) -> Dataset:
    def split(count: int) -> Split:
        return Split(
            torch.zeros(1, dtype=torch.uint8).expand(count, 3, 32, 32),
            torch.zeros(count, dtype=torch.int64),
        )

    names = tuple(f"class {i}" for i in range(10))
    return Dataset(
        "made", split(train), split(5_000), split(10_000), names, "0" * 64, "made", "none", ()
    )


DATA = images()


class Told(Watcher):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)


def context_of(
    chapters: tuple[str, ...] = tuple(CHAPTERS), seeds: tuple[int, ...] = (0, 1)
) -> Context:
    return Context(
        DATA, "quick", seeds, Recipe(data="made", data_hash="0" * 64, batch=64), chapters
    )


def costs_of(context: Context, scale: float = 1.0) -> Costs:
    """A machine of 3·10¹¹/scale FLOP/s whose training costs three evaluations."""
    kinds = list(dict.fromkeys(cost_kind(recipe) for recipe in studies.forecast(context)))
    flops = [size_of(kind.model, DATA.in_shape, 10).flops for kind in kinds]
    seconds = {
        kind.id: (3 * scale * f / 3e11, scale * f / 3e11)
        for kind, f in zip(kinds, flops, strict=True)
    }
    return Costs(DATA, seconds, kinds)


# --- ever smaller plans


@pytest.mark.parametrize("seeds", [1, 2, 3, 5])
def test_plans_begin_whole_and_take_away_epochs_then_seeds_then_images(seeds: int) -> None:
    """And all of them ask well: of three epochs two are left, of many seeds three."""
    found = list(levels(seeds))
    assert found[0] == BudgetFit() and len(set(found)) == len(found)
    kept = [fit.seeds or seeds for fit in found]
    assert kept == sorted(kept, reverse=True) and min(kept) == min(3, seeds)
    images = [fit.images for fit in found]
    assert images == sorted(images, reverse=True) and min(images) == 0.25
    for a, b in itertools.pairwise(found):
        if (a.seeds, a.images) == (b.seeds, b.images):
            assert b.epochs < a.epochs
    assert all(asks_well(fit) and math.floor(3 * fit.epochs) >= 2 for fit in found)
    for part in (WELL_IMAGES, LEAST_IMAGES):
        assert least_well(seeds, part) in found
    less = list(last_levels(seeds))
    assert len(set(less)) == len(less) or seeds == 1
    assert not any(map(asks_well, less)) and all(fit.epochs > 0 for fit in less)
    assert less[-1].seeds == 1 and all((fit.seeds or 0) <= seeds for fit in less)


def asked_for(budget: float, costs: dict[str, float]) -> tuple[str, ...]:
    """What is asked where each question costs so much on all images, and half on half of them."""
    return asked_well(
        tuple(costs), lambda names, images: sum(costs[n] for n in names) * images <= budget
    )


def test_questions_are_chosen_by_worth_and_cost() -> None:
    assert set(WORTH) == set(CHAPTERS) and set(PROVED) < set(CHAPTERS)
    costs = dict(zip(CHAPTERS, (12.0, 4.0, 11.0, 6.0, 0.0, 2.0), strict=True))
    every = tuple(CHAPTERS)
    assert asked_for(17.5, costs) == every
    assert asked_for(16.6, costs) == every[:-1]  # the least of worth is given up first
    # a dear question leaves its place to a cheap one
    assert asked_for(14.5, costs) == ("capacity", "best", "nonlinearity", "convolution", "ordering")
    assert asked_for(8.0, costs) == ("capacity", "best", "convolution")
    assert asked_for(6.0, costs) == ("capacity", "convolution")
    assert asked_for(3.4, costs) == ("capacity", "convolution")  # on a quarter of the images
    assert asked_for(2.9, costs) == ("best", "convolution")  # well, not the first on nothing
    assert asked_for(3.0, costs | {"capacity": 13.0}) == ("best", "convolution", "ordering")
    assert asked_for(0.5, costs) == ()  # what is proved anyhow is no study
    assert asked_for(0.4, {"convolution": 0.0, "ordering": 2.0}) == ("convolution",)


def cost_of(fit: BudgetFit, context: Context, costs: Costs) -> float:
    return sum(costs.run(r) for r in studies.forecast(with_fit(context, fit)))


@pytest.mark.parametrize(
    "chapters",
    [
        pytest.param(tuple(CHAPTERS), marks=pytest.mark.slow),
        ("capacity",),
        ("nonlinearity", "receptive_field", "ordering"),
    ],
)
def test_smaller_budgets_give_cheaper_plans(chapters: tuple[str, ...], tmp_path: Path) -> None:
    context = context_of(chapters)
    costs = costs_of(context)
    fixed, whole = OVERHEAD + CHAPTER_OVERHEAD * len(chapters), cost_of(BudgetFit(), context, costs)
    # where epochs alone are fewer, the plan is never dearer
    by_epochs = [cost_of(fit, context, costs) for fit in levels(2) if fit.images == 1]
    assert by_epochs == sorted(by_epochs, reverse=True)
    before, reached = math.inf, []
    for i, share in enumerate((1.0, 0.6, 0.3)):
        watcher, budget = Told(), fixed + RESERVE * share * whole / 2
        found = (
            studies.fitted(StudyFolder.open(tmp_path / str(i)), context, costs, budget, 2, watcher)
            if mkdir(tmp_path / str(i))
            else context
        )
        cost = sum(costs.run(recipe) for recipe in studies.forecast(found))
        start = OVERHEAD + CHAPTER_OVERHEAD * len(found.chapters)
        assert cost <= before and start + RESERVE * cost / 2 <= budget + 1e-6
        assert found.seeds == context.seeds[: found.fit.seeds]
        assert (found.fit.whole and not watcher.lines) or (
            found.fit != BudgetFit() and "of the preset quick" in watcher.lines[0]
        )
        before = cost
        reached.append(found.fit)
    assert reached[0] == BudgetFit() and reached[-1] != BudgetFit()
    for recipe in studies.forecast(replace(context, fit=BudgetFit(0.1, 0.02, 1), seeds=(0,))):
        assert recipe.epochs >= 1 and (recipe.limit is None or recipe.limit >= recipe.batch)


def mkdir(path: Path) -> bool:
    path.mkdir()
    return True


def test_more_processes_fit_more_into_a_budget(tmp_path: Path) -> None:
    context = context_of(("receptive_field",))
    costs = costs_of(context)
    whole = RESERVE * cost_of(BudgetFit(), context, costs)
    budget = OVERHEAD + CHAPTER_OVERHEAD + whole / 8 + 1e-6
    assert studies.fitted(StudyFolder.open(tmp_path), context, costs, budget, 8, Told()).fit.whole
    (tmp_path / "one").mkdir()
    assert not studies.fitted(
        StudyFolder.open(tmp_path / "one"), context, costs, budget, 1, Told()
    ).fit.whole


def test_what_was_chosen_is_kept_for_the_same_request_and_for_no_other(tmp_path: Path) -> None:
    context = context_of(("ordering",))
    costs = costs_of(context)
    budget = OVERHEAD + CHAPTER_OVERHEAD + 0.4 * cost_of(BudgetFit(), context, costs)
    first = studies.fitted(StudyFolder.open(tmp_path), context, costs, budget, 1, Told()).fit
    kept = json.loads((tmp_path / "study.json").read_text())["fitted"]["fit"]
    assert not first.whole and kept == asdict(first)
    slower = costs_of(
        context, 1.3
    )  # measured again it would be another plan, and recipes another id
    told = Told()
    assert (
        studies.fitted(StudyFolder.open(tmp_path), context, slower, budget, 1, told).fit == first
        and not told.lines
    )
    for other in (replace(context, seeds=(0, 1, 2)), replace(context, chapters=("convolution",))):
        costs = costs_of(other)
        found = studies.fitted(StudyFolder.open(tmp_path), other, costs, budget, 1, Told())
        cost = sum(costs.run(recipe) for recipe in studies.forecast(found))
        assert cost + OVERHEAD + CHAPTER_OVERHEAD <= budget


def test_fewer_questions_are_asked_well_and_which_is_said(tmp_path: Path) -> None:
    context, told = context_of(), Told()
    costs = costs_of(context)
    smallest = least_well(2, WELL_IMAGES)
    training = RESERVE * cost_of(smallest, context, costs) / 2
    whole = training + OVERHEAD + 6 * CHAPTER_OVERHEAD
    budget = 0.7 * whole
    found = studies.fitted(StudyFolder.open(tmp_path), context, costs, budget, 2, told)
    assert found.chapters and 0 < len(found.chapters) < 6 and found.chapters[0] == "capacity"
    assert found.fit in [replace(fit, chapters=found.chapters) for fit in levels(2)]
    assert len(found.seeds) == 2 and asks_well(found.fit)
    (line,) = told.lines
    missing = [name.replace("_", " ") for name in CHAPTERS if name not in found.chapters]
    assert f"not asked: {', '.join(missing)}, so that the others are asked well" in line
    assert line.endswith(f"{duration(whole)} would do for all")
    # the same request finds the same questions again, from study.json
    again = studies.fitted(StudyFolder.open(tmp_path), context, costs, budget, 2, Told())
    assert again.chapters == found.chapters and again.fit == found.fit
    assert not_asked(found.fit, context.chapters) and not not_asked(BudgetFit(), context.chapters)


def test_where_not_even_one_can_be_asked_well_it_is_asked_on_little(tmp_path: Path) -> None:
    context, told = context_of(), Told()
    costs = costs_of(context, 30.0)
    one = [
        with_fit(context, replace(least_well(2, LEAST_IMAGES), chapters=(name,))) for name in WORTH
    ]
    well = min(sum(map(costs.run, studies.forecast(c))) for c in one[:4]) / 2 + OVERHEAD
    found = studies.fitted(StudyFolder.open(tmp_path), context, costs, 0.9 * well, 2, told)
    assert found.chapters == ("capacity", "convolution")  # which trains nothing
    assert not asks_well(found.fit)
    assert "so little may tell nothing" in told.lines[0]


def test_a_long_start_leaves_less(tmp_path: Path) -> None:
    context = context_of(("ordering",))
    costs = costs_of(context)
    training = RESERVE * cost_of(BudgetFit(), context, costs)
    budget = OVERHEAD + CHAPTER_OVERHEAD + training + 1.0
    (tmp_path / "late").mkdir()
    late = StudyFolder.open(tmp_path / "late")
    assert studies.fitted(StudyFolder.open(tmp_path), context, costs, budget, 1, Told()).fit.whole
    spent = OVERHEAD - AFTER + 0.5 * training
    fit = studies.fitted(late, context, costs, budget, 1, Told(), spent).fit
    assert not fit.whole
    assert spent + AFTER + CHAPTER_OVERHEAD + RESERVE * cost_of(fit, context, costs) <= budget


def test_where_nothing_fits_one_line_says_what_it_would_take(tmp_path: Path) -> None:
    context = context_of()
    for budget, scale in ((1.0, 1.0), (least() + 1.0, 300.0)):
        costs = costs_of(context, scale)
        with pytest.raises(UserError) as refused:
            studies.fitted(StudyFolder.open(tmp_path), context, costs, budget, 2, Told())
        line = str(refused.value)
        start = f"budget = {duration(budget)}: the smallest plan, of capacity alone, takes about "
        assert line.startswith(start) and "\n" not in line
        assert " here; give " in line and line.endswith(" or more")
        assert not (tmp_path / "study.json").exists()


def test_what_no_machine_can_keep_is_refused_before_anything_is_measured() -> None:
    """Large images of one's own, in a minute; the smallest plan's FLOPs at a processor's best."""
    refuse_at_once(context_of(), 60.0, 2)
    whole = images(45_000)
    wide = replace(
        whole,
        **{
            name: Split(
                torch.zeros(1, dtype=torch.uint8).expand(count, 3, 512, 512),
                torch.zeros(count, dtype=torch.int64),
            )
            for name, count in (("train", 45_000), ("val", 5_000), ("test", 10_000))
        },
    )
    with pytest.raises(UserError, match="the smallest plan, of capacity alone, takes about"):
        refuse_at_once(replace(context_of(), data=wide), 60.0, 2)


def test_a_budget_below_any_study_is_refused_with_the_request(
    cli: Callable[..., Any], tmp_path: Path
) -> None:
    done = cli("study", "shapes", "--budget", "12s", "--out", tmp_path / "study")
    assert done.code == 2 and done.err.count("\n") == 1 and not (tmp_path / "study").exists()
    assert done.err.startswith("convscope: budget = 12 s: a study of one chapter takes ")
    asked = StudyRequest(
        data="shapes",
        chapters=("capacity",),
        preset="quick",
        seeds=2,
        first_seed=0,
        out=None,
        device="cpu",
        workers=None,
        val=0.1,
        size=None,
        budget=least(),
        search=Search(),
        track=None,
        command=None,
    )
    check(asked)
    with pytest.raises(UserError, match="budget = "):
        check(replace(asked, budget=least() - 1.0))


# --- what runs cost


def test_costs_scale_with_images_epochs_and_what_is_evaluated() -> None:
    recipe = Recipe(data="made", model=ConvNet(8, 2), epochs=3)
    costs = Costs(DATA, {cost_kind(recipe).id: (1e-3, 1e-4)}, [cost_kind(recipe)])
    assert costs.epoch(recipe) == pytest.approx(45 + 4.5 + 0.5 + 1.0) and costs.run(
        recipe
    ) == pytest.approx(3 * 51.0)
    assert costs.epoch(replace(recipe, evaluate=("val",))) == pytest.approx(45 + 0.5)
    assert costs.epoch(replace(recipe, limit=4_500)) == pytest.approx(4.5 + 0.45 + 0.5 + 1.0)
    assert costs.epoch(replace(recipe, limit=1_000_000)) == costs.epoch(recipe)
    seldom = replace(recipe, epochs=7, evaluate_every=3)
    since = [costs.since_row_before(seldom, epoch) for epoch in (3, 6, 7)]
    assert since == pytest.approx([135 + 6, 135 + 6, 45 + 6]) and costs.run(
        seldom
    ) == pytest.approx(sum(since))
    for same in (
        {"subset_seed": 1},
        {"noise_seed": 1},
        {"evaluate_every": 2},
        {"seed": 5},
        {"lr": 0.1},
        {"flip": True},
        {"schedule": "onecycle"},
        {"weight_decay": 0.1},
        {"epochs": 9},
    ):
        assert costs.epoch(replace(recipe, **same)) == costs.epoch(recipe)


def test_what_was_not_timed_is_estimated_by_flops_from_the_nearest() -> None:
    small, large = (Recipe(data="made", model=ConvNet(width, 2)) for width in (4, 64))
    seconds = {cost_kind(small).id: (1e-5, 1e-6), cost_kind(large).id: (1e-2, 1e-3)}
    costs = Costs(DATA, seconds, [cost_kind(small), cost_kind(large)])
    flops = {width: size_of(ConvNet(width, 2), DATA.in_shape, 10).flops for width in (4, 6, 48, 64)}
    for width, known in ((6, small), (48, large)):
        of = known.model.width if isinstance(known.model, ConvNet) else 0
        expected = costs.epoch(known) * (flops[width] + 1) / (flops[of] + 1)
        assert costs.epoch(replace(small, model=ConvNet(width, 2))) == pytest.approx(expected)
    wide = replace(
        small, model=ConvNet(65_536, 1)
    )  # beyond memory: its run will say so, its cost is no error
    impossible = replace(small, model=ConvNet(4, 9))
    assert all(
        math.isfinite(costs.epoch(recipe))
        for recipe in (wide, impossible, replace(small, model=SoftmaxRegression()))
    )
    assert Costs(DATA, {}, []).run(small) == 0.0


# --- the sentence of a study


def test_a_studys_sentence_is_its_chapters_in_brief() -> None:
    one = Finding("ordering", "Flatten order", "?", "cannot tell", "On x nothing is known.", {})
    two = Finding(
        "capacity",
        "Capacity",
        "?",
        "plateau",
        "On x it is flat.",
        {},
        brief="more filters do not help",
    )
    assert studies.sentence_of("x", {"ordering": one}) == "On x nothing is known."
    both = studies.sentence_of("x\n\x1b[31m", {"capacity": two, "ordering": one})
    assert (
        both == "On x\\n\\x1b[31m: more filters do not help; flatten order: cannot tell."
        and both.isprintable()
    )
