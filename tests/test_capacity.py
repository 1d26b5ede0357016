"""The chapter on capacity: what it trains, what it says of runs that are made up, its charts."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import altair
import numpy as np
import pytest
import torch

from convscope.chapters import capacity
from convscope.chapters.capacity import charts, judgement, plan, words
from convscope.data.dataset import Dataset, Split
from convscope.errors import UserError
from convscope.models.sizes import size_of
from convscope.planning.context import BudgetFit, Context
from convscope.planning.pilots import transferred
from convscope.planning.requests import Answer
from convscope.recipe.networks import ConvNet
from convscope.recipe.recipe import Recipe
from convscope.statistics.scaling_law import Law
from convscope.training.runs import Run
from convscope.training.tensors import stratified_subset

pytestmark = pytest.mark.usefixtures("few_draws")  # how sure words are is not tested here

Maker = Callable[..., Run]
CHANCE = math.log(10)


def images(
    train: int, val: int = 100, shape: tuple[int, int, int] = (3, 32, 32), test: int = 100
) -> Dataset:
    def split(count: int) -> Split:
        pixels = torch.zeros(1, dtype=torch.uint8).expand(count, *shape)
        return Split(pixels, torch.arange(count) % 10)

    names = tuple(map(str, range(10)))
    return Dataset("made", split(train), split(val), split(test), names, "0" * 64, "m", "none", ())


def context_of(data: Dataset, preset: str = "quick", seeds: int = 2, **more: Any) -> Context:
    batch = min(128, max(1, len(data.train) // 8))
    return Context(data, preset, tuple(range(seeds)), Recipe(batch=batch), **more)


CIFAR10 = images(45_000, 5_000, test=10_000)


# --- what is trained


def test_quick_trains_widths_from_too_small_to_too_large_on_nested_sets() -> None:
    context = context_of(CIFAR10)
    runs = plan.sweep_of(context, {}, 1e-3)
    found = {
        (r.limit or 45_000, r.model.width, r.seed) for r in runs if isinstance(r.model, ConvNet)
    }
    assert found == (
        {(n, w, s) for n in (5_000, 45_000) for w in (2, 8, 16, 32) for s in (0, 1)}
        | {(15_000, w, 0) for w in (8, 16, 32)}
    )
    for recipe in runs:
        model = recipe.model
        assert isinstance(model, ConvNet)
        assert model.depth == 3 and model.head == "flatten" and model.hidden == ()
        assert recipe.schedule == "constant" and not (recipe.flip or recipe.crop or recipe.cutout)
        assert recipe.batch == 128 and recipe.optimizer == "adam"
        assert recipe.train_sample is None or recipe.train_sample == 5_000
    epochs = {(r.limit, r.model.width): r.epochs for r in runs if isinstance(r.model, ConvNet)}
    assert epochs[None, 2] == 12 and epochs[None, 32] == 6 and epochs[5_000, 2] == 21


def test_pilots_try_one_width_on_the_smallest_set() -> None:
    pilots = plan.sweep_pilots(context_of(CIFAR10))
    assert {(p.limit, p.evaluate, p.seed, p.epochs) for p in pilots} == {(5_000, ("val",), 0, 7)}
    assert {p.model for p in pilots} == {ConvNet(16, 3)} and len(pilots) == 3


@pytest.mark.parametrize("preset", ["quick", "standard", "full"])
def test_a_forecast_is_what_is_asked_for(preset: str) -> None:
    context = context_of(CIFAR10, preset, chapters=("capacity", "best"))
    steps = capacity.chapter(context)
    first, second = next(steps), steps.send(Answer())
    assert isinstance(first, Sequence) and isinstance(second, Sequence)
    done = [request for request in second if request.recipes]
    asked = [r for request in (*first, *done) for r in request.recipes]
    assert {replace(r, lr=1.0) for r in asked} == {
        replace(r, lr=1.0) for r in capacity.forecast(context)
    }
    assert [request.role for request in done] == ["reference", "sweep"]
    alone = replace(context, chapters=("capacity",))
    assert plan.references_of(alone) == [] and len(plan.references_of(context)) >= 1


def test_larger_presets_try_both_architectures() -> None:
    for preset in ("standard", "full"):
        models = {m for sweep in plan.PRESETS[preset].sweeps for m in sweep}
        assert {m.depth for m in models if m.block_depth == 1} == {1, 2, 3, 4}
        assert {m.pool for m in models} == {"max", "avg"}
        assert {len(m.hidden) for m in models} == {0, 1, 2}  # 1 to 3 fully connected layers
        assert {m.block_depth for m in models} == {1, 2, 3}
        assert all(m.skip == (m.block_depth > 1) for m in models)
        small = plan.PRESETS[preset].small.models
        assert set(small) <= models and len(small) >= 6


def test_small_images_and_small_sets_take_what_fits() -> None:
    few = plan.sweep_of(context_of(images(90, shape=(3, 4, 4))), {}, 1e-3)
    assert {r.model.depth for r in few if isinstance(r.model, ConvNet)} == {2}
    assert {r.limit for r in few} == {22, 45, None}
    assert {r.limit for r in plan.sweep_of(context_of(images(1_800)), {}, 1e-3)} == {450, 900, None}
    with pytest.raises(UserError, match="no room for a convolution with pooling"):
        plan.sweeps_of(context_of(images(90, shape=(3, 1, 9))))
    budget = context_of(CIFAR10, fit=BudgetFit(epochs=0.5, images=0.1, seeds=1), seeds=1)
    assert {r.limit for r in plan.sweep_of(budget, {}, 1e-3)} == {500, 1_500, 4_500}


def test_the_rate_of_the_pilots_serves_every_width_and_every_set() -> None:
    context = context_of(CIFAR10)
    (family,) = plan.families_of(context)
    assert sorted(m.width for m in family) == [2, 8, 16, 32]
    rates = transferred({ConvNet(16, 3): 2e-3}, family)
    assert {(r.model, r.lr) for r in plan.sweep_of(context, rates, 1.0)} == set(rates.items())
    assert rates[ConvNet(32, 3)] == pytest.approx(2e-3 * math.sqrt(0.5), rel=0.05)


@pytest.mark.parametrize("seed", range(3))
def test_smaller_sets_are_parts_of_larger_ones_with_the_same_shares(seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    shares = torch.rand(10, generator=draw)
    for labels in (
        torch.arange(4_500) % 10,
        torch.multinomial(shares, 5_000, True, generator=draw),
    ):
        count = len(labels)
        small, middle = (
            set(stratified_subset(labels, count // part, seed).tolist()) for part in (9, 3)
        )
        assert small < middle
        drawn = torch.bincount(labels[sorted(small)], minlength=10)
        assert (drawn - torch.bincount(labels, minlength=10) / 9).abs().max() <= 1.01


# --- what is said


def made_sweep(
    make_run: Maker, law: Law, noise: float = 0.004, widths: tuple[int, ...] = (2, 4, 8, 16)
) -> list[Run]:
    """Runs whose lowest validation loss is that of a law; wide ones overfit, narrow ones do not."""
    draw = random.Random(0)
    out = []
    for limit in (10, 30, None):
        for width in widths:
            for seed in (0, 1):
                parameters = size_of(ConvNet(width, 1), (3, 8, 8), 10).parameters
                low = law.loss(limit or 90, parameters) + draw.gauss(0, noise)
                rise = 0.4 if width > 4 else 0.0
                val = [2.2, low + 0.1, low, low + rise / 2, low + rise]
                train = [2.1, low, low - 0.1, low - 0.1 - rise, low - 0.1 - 1.5 * rise]
                more = {} if limit is None else {"limit": limit}
                out.append(
                    make_run(
                        ConvNet(width, 1),
                        train,
                        val,
                        seed=seed,
                        sd=0.01,
                        parameters=parameters,
                        epochs=5,
                        **more,
                    )
                )
    return out


DATA = Law(0.4, 0.4, 0.05, 0.5, 0.35, CHANCE, (90, 3_018))


def found_of(make_run: Maker, law: Law = DATA, **more: Any) -> Any:
    data = images(90, 500, (3, 8, 8))
    sweep = made_sweep(make_run, law, **more)
    return capacity.finding(Context(data, "quick", (0, 1), Recipe()), [], sweep, [], 0)


def test_networks_are_judged_for_each_number_of_images(make_run: Maker) -> None:
    found = found_of(make_run)
    numbers = found.numbers
    assert numbers["images"] == [10, 30, 90] and len(numbers["networks"]) == 12
    assert json.dumps(numbers, allow_nan=False)
    promised = {"width", "parameters", "images", "verdict", "best", "last", "rise"}
    assert all(promised <= set(network) for network in numbers["networks"])
    wide = [n for n in numbers["networks"] if n["width"] == 16]
    assert {n["images"] for n in wide} == {10, 30, 90}
    assert all(n["verdict"].startswith("overfits from epoch") for n in wide)
    assert found.gives.smallest.width in (2, 4, 8, 16)
    assert len(found.gives.runs) == 8 and all(run.recipe.limit is None for run in found.gives.runs)


def test_the_sentence_says_what_is_the_limit(make_run: Maker) -> None:
    found = found_of(make_run)
    forecast = found.numbers["forecast"]
    assert forecast["limit"] == "data" and forecast["reason"] == ""
    assert "The limit is data: twice the images would lower" in found.sentence
    assert forecast["images"]["interval"][0] > forecast["size"]["interval"][1] > 0
    size = Law(0.06, 0.6, 0.4, 0.3, 0.4, CHANCE, (90, 3_018))
    assert "The limit is the size of the network" in found_of(make_run, size).sentence
    told = " ".join(found.paragraphs)
    assert "Rosenfeld et al. 2020" in told and "from the other 11 networks" in told
    assert "That lies inside." in told


def test_no_forecast_where_its_test_fails_or_sets_are_too_few(make_run: Maker) -> None:
    data = images(90, 500, (3, 8, 8))
    context = Context(data, "quick", (0, 1), Recipe())
    sweep = made_sweep(make_run, DATA)
    worse = [
        replace(
            run,
            rows=tuple({**row, "val_loss": row["val_loss"] + 0.2} for row in run.rows),
        )
        if run.recipe.limit is None and run.size["parameters"] == 3_018
        else run
        for run in sweep
    ]
    failed = capacity.finding(context, [], worse, [], 0)
    assert failed.numbers["forecast"]["reason"] == "test failed"
    assert "the forecast fails its test" in failed.sentence
    assert "That lies outside, so nothing is forecast." in " ".join(failed.paragraphs)
    whole = [run for run in sweep if run.recipe.limit is None]
    alone = capacity.finding(context, [], whole, [], 0)
    assert "is not forecast: that takes training sets of three sizes." in alone.sentence


@pytest.mark.slow
def test_loss_and_error_are_two_statements(make_run: Maker) -> None:
    """After its minimum the loss rises; accuracy may rise, fall, or neither."""
    data = images(90, 4_000, (3, 8, 8))
    context = Context(data, "quick", (0, 1), Recipe())
    for last, told in ((0.6, "is right more often"), (0.4, "is right less often"), (0.5, "about")):
        runs = [
            replace(
                run,
                rows=tuple(
                    {**row, "val_accuracy": last if row["epoch"] > 3 else 0.5} for row in run.rows
                ),
            )
            for run in made_sweep(make_run, DATA)
            if run.recipe.limit is None
        ]
        found = capacity.finding(context, [], runs, [], 0)
        (paragraph,) = [p for p in found.paragraphs if p.startswith("Loss and error.")]
        assert told in paragraph and "width 16, depth 1 on 90 images" in paragraph
        after = found.numbers["networks"][-1]["accuracy_after"]
        assert after["mean"] == pytest.approx(last - 0.5)
    judged = judgement.judgement_of(runs, [], data)
    assert judged is not None
    change = words.changes_of_accuracy(judged.whole)[judged.whole[0]]
    assert change.low < 0 < change.high and change.high == pytest.approx(0.0219, abs=0.001)


def test_the_smallest_is_shown_to_be_within_the_margin(make_run: Maker) -> None:
    data = images(90, 10_000, (3, 8, 8))

    def runs(losses: tuple[float, ...], scatter: float) -> list[Run]:
        return [
            make_run(ConvNet(2 ** (i + 1), 1), [1.0, x], [1.1, x + s * scatter], seed=k, sd=0.01)
            for i, x in enumerate(losses)
            for k, s in enumerate((-1, 1, 0))
        ]

    for losses, scatter, width in (
        ((0.9, 0.505, 0.5), 0.001, 4),
        ((0.9, 0.505, 0.5), 0.03, 8),  # as near, but not shown to be
        ((0.5, 0.9, 0.501), 0.001, 2),
    ):
        found = judgement.judgement_of(runs(losses, scatter), [], data)
        assert found is not None and found.small.convnet.width == width
    one = [run for run in runs((0.9, 0.505, 0.5), 0.001) if run.recipe.seed == 0]
    found = judgement.judgement_of(one, [], data)
    assert found is not None and found.small is found.best  # one seed shows nothing


@pytest.mark.parametrize(
    ("gain", "noise", "verdict", "told"),
    [
        (0.0, 0.002, "plateau from width 2", "filters are enough: from"),
        (0.1, 0.002, "still improving at width 16", "more filters still help at the most"),
        pytest.param(
            *(-0.1, 0.002, "non-monotone at width 4", "more filters do not always help"),
            marks=pytest.mark.slow,
        ),
        (0.03, 0.1, "cannot tell from 2 seeds", "it cannot be told how many filters are enough."),
        pytest.param(
            *(0.03, 0.006),
            "more than width 4",
            "networks need more than 4 filters in the first block.",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_the_sentence_says_how_many_filters_and_how_sure(
    make_run: Maker,
    monkeypatch: pytest.MonkeyPatch,
    gain: float,
    noise: float,
    verdict: str,
    told: str,
) -> None:
    """On losses by image, which runs that are made up have not recorded."""
    rng = np.random.default_rng(0)
    hard = rng.gamma(1.0, 0.3, 500)
    arrays = {
        width: 0.5
        + hard
        - gain * i
        + noise * rng.standard_normal((2, 1))
        + 0.1 * rng.standard_normal((2, 500))
        for i, width in enumerate((2, 4, 8, 16))
    }
    monkeypatch.setattr(judgement, "by_image", lambda one: arrays[one.convnet.width])
    data = images(90, 500, (3, 8, 8))
    sweep = [
        make_run(ConvNet(w, 1), [1.0, x], [1.1, x], seed=s, sd=0.3, epochs=2)
        for w, losses in arrays.items()
        for s, x in enumerate(losses.mean(1).tolist())
    ]
    found = capacity.finding(Context(data, "quick", (0, 1), Recipe()), [], sweep, [], 0)
    assert found.verdict == verdict and told in found.sentence
    sure = found.numbers["verdicts_by_images"]["90"]["depth 1"]
    assert len(sure["interval"]) == 2 and 0 < sure["replication"] <= 1
    assert ("of this size" in found.sentence) == (verdict != "cannot tell from 2 seeds")
    if verdict.startswith("plateau"):
        assert found.gives and found.gives.smallest.width == 2


# --- charts


def test_charts_are_valid_and_mark_what_they_say(make_run: Maker) -> None:
    found = found_of(make_run)
    names = [chart.name for chart in found.charts]
    assert names == [
        *("loss_filters", "loss_parameters", "loss_flops", "accuracy", "gap"),
        *("law", "learning_curves"),
    ]
    assert all(len(chart.alt) > 40 and "  " not in chart.alt for chart in found.charts)
    for chart in (found.charts[0], found.charts[-2]):  # test_chapters.py tries all of a study
        altair.Chart.from_dict(chart.spec)  # raises SchemaValidationError
    rows = next(iter(found.charts[0].spec["datasets"].values()))
    assert {row["panel"] for row in rows} == {"10 images", "30 images", "90 images"}
    assert {row["when"] for row in rows} == {"best epoch", "last epoch"}
    marked = [row for row in rows if row["lowest"]]
    assert len(marked) == 3 and all(row["split"] == "test" for row in marked)
    for row in marked:
        others = [
            r["loss"]
            for r in rows
            if (r["panel"], r["split"], r["when"]) == (row["panel"], "test", "best epoch")
        ]
        assert row["loss"] == min(others)


def test_learning_curves_show_selected_networks_by_their_evaluated_epochs(make_run: Maker) -> None:
    every_second = [
        replace(
            run,
            rows=tuple({**row, "epoch": 2 * row["epoch"]} for row in run.rows),
        )
        for run in made_sweep(make_run, DATA)
    ]
    judged = judgement.judgement_of(every_second, [], images(90, 500, (3, 8, 8)))
    assert judged is not None
    rows = next(iter(charts.curves_chart(judged).spec["datasets"].values()))
    assert {row["epoch"] for row in rows} == {2, 4, 6, 8, 10}
    panels = {row["network"] for row in rows}
    assert len(panels) == 9 and {p.split(", ")[1].split(":")[0] for p in panels} == {
        "10 images",
        "30 images",
        "90 images",
    }
    best = [row for row in rows if row["best"]]
    assert len(best) == 9 and all(row["split"] == "validation" for row in best)
    assert {row["epoch"] for row in best} == {6}
