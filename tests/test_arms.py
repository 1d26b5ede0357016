"""Arms and their comparison: equivalence against two one-sided t tests, coverage by simulation, plans that choose by validation, names that tell networks apart."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from convscope import data
from convscope.data.dataset import Dataset, Split
from convscope.models.sizes import size_of
from convscope.planning import arms as experiment
from convscope.planning.context import BudgetFit, Context
from convscope.planning.epochs import (
    MOST_EPOCHS,
    epochs_of,
    leaves_room,
    shallower,
    smallest_of_capacity,
    training_images,
)
from convscope.planning.pilots import (
    HIGHEST_RATE,
    beyond_the_grid,
    chosen_rates,
    narrowest_and_widest,
    pilots_of,
    rates_table,
    transferred,
    tuned_rates,
)
from convscope.planning.reference import REFERENCES, reference_recipe
from convscope.planning.requests import Answer, Give, Step, Wait
from convscope.recipe.labels import hidden_of, label_of
from convscope.recipe.networks import ConvNet, Custom, Model, SoftmaxRegression
from convscope.recipe.recipe import Recipe
from convscope.report.findings import CapacityResult
from convscope.statistics.comparisons import Difference, equivalence, paired_difference
from convscope.statistics.estimation import estimates, pooled_sd
from convscope.training.main_path import train
from convscope.training.runs import Run
from convscope.training.tensor_files import read_tensors, write_tensors

A, B = ConvNet(4, 2), ConvNet(8, 2)


def images(shape: tuple[int, int, int] = (3, 8, 8), train: int = 90) -> Dataset:
    def split(count: int) -> Split:
        return Split(torch.zeros(count, *shape, dtype=torch.uint8), torch.arange(count) % 10)

    return Dataset(
        "made",
        split(train),
        split(10),
        split(400),
        tuple(f"class {i}" for i in range(10)),
        "0" * 64,
        "made",
        "none",
        (),
    )


def context_of(dataset: Dataset | None = None, **more: Any) -> Context:
    return Context(
        dataset or images(),
        "quick",
        (0, 1),
        Recipe(data="made", data_hash="0" * 64, batch=8),
        **more,
    )


def run_of(
    recipe: Recipe,
    loss: float = 1.0,
    accuracy: float = 0.5,
    status: str = "finished",
    train_accuracy: float = 0.6,
) -> Run:
    """A run without weights."""
    row = {"epoch": 1, "lr": recipe.lr, "seconds": 1.0}
    for name in recipe.evaluate:
        row |= {
            f"{name}_loss": loss,
            f"{name}_accuracy": train_accuracy if name == "train" else accuracy,
            f"{name}_loss_sd": 0.5,
        }
    size = size_of(recipe.model, (3, 8, 8), 10)
    counts = {"filters": size.filters, "parameters": size.parameters, "flops": size.flops}
    return Run(Path("/nowhere") / recipe.id, recipe, (row,), status, counts, 1.0)


# --- equivalence and paired differences


@given(st.floats(-0.1, 0.1), st.floats(1e-4, 0.05), st.integers(1, 60))
def test_equivalence_is_two_one_sided_t_tests(mean: float, se: float, degrees: int) -> None:
    margin, t95 = 0.03, float(scipy_stats.t.ppf(0.975, degrees))
    found = Difference(mean, se, mean - t95 * se, mean + t95 * se, degrees, (2, 2))
    above = scipy_stats.t.sf((mean + margin) / se, degrees)  # H0: mean ≤ −margin
    below = scipy_stats.t.cdf((mean - margin) / se, degrees)  # H0: mean ≥ margin
    two_sided = 2 * scipy_stats.t.sf(abs(mean) / se, degrees)
    if min(abs(max(above, below) - 0.05), abs(two_sided - 0.05)) < 1e-9:
        return
    expected = (
        "equivalent"
        if max(above, below) < 0.05
        else "different"
        if two_sided < 0.05
        else "cannot tell"
    )
    assert equivalence(found, margin) == expected


def test_one_seed_an_arm_is_never_equivalent_or_different() -> None:
    right = np.array([1.0, 1.0, 0.0, 1.0] * 50)
    same = paired_difference([right], [right], math.nan, 0)
    assert (same.mean, same.se, equivalence(same, 0.03)) == (0.0, 0.0, "cannot tell")
    far = paired_difference([right], [0 * right], math.nan, 0)
    assert far.low > 0.5 and equivalence(far, 0.03) == "cannot tell"


def test_paired_difference_by_hand_and_by_scipy() -> None:
    draw = np.random.default_rng(0)
    a, b = (draw.random((n, 300)) for n in (1, 1))
    found = paired_difference(list(a), list(b), math.nan, 0)
    paired = scipy_stats.ttest_rel(a[0], b[0])
    assert found.mean / found.se == pytest.approx(paired.statistic)
    assert (found.low, found.high) == pytest.approx(
        (found.mean - 1.959963984540054 * found.se, found.mean + 1.959963984540054 * found.se)
    )
    a, b = draw.random((3, 300)), draw.random((2, 300))
    found = paired_difference(list(a), list(b), 0.02, 7)
    gap = a.mean(0) - b.mean(0)
    assert found.se == pytest.approx(math.sqrt(gap.var(ddof=1) / 300 + 0.02**2 * (1 / 3 + 1 / 2)))
    assert (found.high - found.mean) / found.se == pytest.approx(
        2.364624251592785
    )  # t, 97.5 %, 7 degrees of freedom (tables)
    assert found.n == (3, 2) and found.mean == pytest.approx(a.mean() - b.mean())


def simulated(draw: np.random.Generator, truth: float, seeds: int, images: int = 400) -> Difference:
    """Two configurations of mean difference `truth`: images are hard or easy for both, more for one of them, and seeds scatter."""
    hard, mine = draw.normal(0, 0.5, images), draw.normal(0, 0.2, images)
    a = [
        truth + hard + mine + draw.normal(0, 0.02) + draw.normal(0, 0.1, images)
        for _ in range(seeds)
    ]
    b = [hard + draw.normal(0, 0.02) + draw.normal(0, 0.1, images) for _ in range(seeds)]
    return paired_difference(
        a, b, *pooled_sd([[float(x.mean()) for x in a], [float(x.mean()) for x in b]])
    )


@pytest.mark.parametrize("seeds", [2, 4])
def test_paired_intervals_hold_the_truth_at_least_19_times_of_20(seeds: int) -> None:
    draw = np.random.default_rng(seeds)
    found = [simulated(draw, 0.1, seeds) for _ in range(600)]
    inside = sum(d.low <= 0.1 <= d.high for d in found) / len(found)
    assert 0.93 <= inside <= 0.999


def test_what_lies_at_the_margin_is_called_equivalent_once_in_twenty_times_at_most() -> None:
    draw = np.random.default_rng(7)
    wrong = sum(equivalence(simulated(draw, 0.05, 3), 0.05) == "equivalent" for _ in range(600))
    assert wrong / 600 <= 0.07
    assert sum(equivalence(simulated(draw, 0.0, 4), 0.15) == "equivalent" for _ in range(100)) >= 95


def test_pairing_by_image_takes_away_what_images_have_in_common() -> None:
    draw = np.random.default_rng(1)
    hard = draw.normal(0, 1, 500)
    a, b = (
        [hard + draw.normal(0, 0.1, 500) for _ in range(2)],
        [hard + draw.normal(0, 0.1, 500) for _ in range(2)],
    )
    alone = estimates(
        {"a": [float(x.mean()) for x in a], "b": [float(x.mean()) for x in b]},
        {"a": 1 / 500**0.5, "b": 1 / 500**0.5},
    )
    assert paired_difference(a, b, 0.0, 2).se < 0.2 * math.hypot(alone["a"].se, alone["b"].se)


# --- arms


def test_arms_are_the_finished_runs_that_saw_the_test_images_by_network() -> None:
    context = context_of()
    base = replace(context.base, model=A)
    runs = [
        run_of(replace(base, model=B), 0.9, 0.70),
        run_of(base, 1.0, 0.50),
        run_of(replace(base, seed=1), 1.2, 0.60),
        run_of(replace(base, seed=2), 9.0, 0.1, "diverged"),
        run_of(replace(base, seed=3), 9.0, 0.1, "out_of_memory"),
        run_of(replace(base, seed=4), 9.0, 0.1, "failed"),
        run_of(replace(base, seed=5, evaluate=("val",)), 0.1),
    ]
    found = experiment.arms_of(context, runs)
    assert list(found) == [B, A] and experiment.arms_of(context, []) == {} == experiment.arms_of(
        context, runs[3:]
    )
    a, b = found[A], found[B]
    assert (len(a.runs), a.accuracy.mean, a.val_loss.mean, a.train_accuracy) == (
        2,
        pytest.approx(0.55),
        pytest.approx(1.1),
        0.6,
    )
    assert (
        a.run is runs[1]
        and a.label == label_of(A)
        and a.parameters == size_of(A, (3, 8, 8), 10).parameters
    )
    assert a.val_loss.sampling_se == pytest.approx(
        0.5 / 10**0.5
    ) and a.accuracy.sampling_se == pytest.approx((0.6 * 0.5 / 400) ** 0.5)
    assert [len(values) for values in a.right] == [0, 0]  # their weights can't be read
    difference = experiment.compare(b, a, found.values())
    assert difference.mean == pytest.approx(0.15) and difference.se == pytest.approx(
        math.hypot(a.accuracy.se, b.accuracy.se)
    )
    assert (difference.degrees, difference.n) == (
        1,
        (1, 2),
    ) and difference.low < 0 < difference.high
    json.dumps(
        [arm.numbers() for arm in found.values()] + [experiment.numbers(difference), b.point()],
        allow_nan=False,
    )
    table = experiment.table(
        "t",
        "T",
        found.values(),
        (("x", "x", "int"),),
        lambda arm: {"x": arm.accuracy.n} if arm is a else {},
        "More.",
    )
    assert (
        table.rows[1]["x"] == 2 and "x" not in table.rows[0] and table.caption.startswith("More. ")
    )
    assert [key for key, *_ in table.columns[:2]] == ["network", "x"]


def test_one_seed_everywhere_gives_plain_finite_figures() -> None:
    context = context_of()
    found = experiment.arms_of(
        context, [run_of(replace(context.base, model=m), 1.0, 0.5) for m in (A, B)]
    )
    difference = experiment.compare(found[A], found[B], found.values())
    assert difference.degrees == 0 and "one seed" in experiment.caveat(difference)
    json.dumps([found[A].numbers(), experiment.numbers(difference)], allow_nan=False)


def test_differences_in_words() -> None:
    up, down = (
        Difference(0.273, 0.01, 0.261, 0.285, 4, (2, 2)),
        Difference(-0.02, 0.01, -0.04, 0.001, 4, (2, 2)),
    )
    assert (
        experiment.points(up) == "27.3 points (26.1 to 28.5)"
        and experiment.buys(up) == "buys 27.3 points (26.1 to 28.5)"
    )
    assert experiment.buys(down) == "costs 2.0 points (-0.1 to 4.0)" and experiment.caveat(up) == ""
    assert [experiment.counted(n, "seed") for n in (0, 1, 2, 1000)] == [
        "0 seeds",
        "1 seed",
        "2 seeds",
        "1,000 seeds",
    ]
    assert up.within(0.9) == pytest.approx(
        (0.273 - 2.131846786 * 0.01, 0.273 + 2.131846786 * 0.01)
    )  # t, 95 %, 4 degrees (tables)


@pytest.mark.parametrize("order", ["natural", "per-sample"])
def test_answers_by_image_are_those_that_were_recorded(
    micro: Path, tmp_path: Path, order: Any
) -> None:
    loaded = data.load(str(micro))
    run = train(
        Recipe(data=str(micro), model=ConvNet(4, 1, order=order), epochs=2, batch=8),
        tmp_path,
        data=loaded,
    )
    answers = experiment.right(run, loaded)
    assert set(answers.tolist()) <= {0.0, 1.0} and len(answers) == len(loaded.test)
    assert answers.mean() == pytest.approx(run.best["test_accuracy"], abs=1e-12)
    weights = run.path / "best.safetensors"
    whole = weights.read_bytes()
    kept, metadata = read_tensors(weights)
    write_tensors(
        weights, {k: v for k, v in kept.items() if k.startswith("net.")}, metadata
    )  # as earlier versions wrote it
    assert (answers == experiment.right(run, loaded)).all()
    write_tensors(weights, {**kept, "right.test": kept["right.test"][1:]}, metadata)
    assert len(experiment.right(run, loaded)) == 0
    weights.write_bytes(whole)
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    assert len(experiment.right(run, loaded)) == 0
    elsewhere = replace(
        run, recipe=replace(run.recipe, device="cuda:7")
    )  # the report is written on a machine without it
    assert len(experiment.right(elsewhere, loaded)) == 0


# --- plans


def sent(
    generator: Generator[Step, Answer, Any], *answers: Callable[[Recipe], Run | None]
) -> tuple[Any, list[Sequence[Recipe]]]:
    """What a generator returns, and what it asked for; the last answer serves for all further requests."""
    step, asked = next(generator), []
    for turn in range(20):
        assert not isinstance(step, Wait | Give)
        (request,) = step
        asked.append(request.recipes)
        made = (answers[min(turn, len(answers) - 1)](recipe) for recipe in request.recipes)
        try:
            step = generator.send(Answer({request.role: [run for run in made if run is not None]}))
        except StopIteration as end:
            return end.value, asked
    raise AssertionError("it never ends")


def best_at(rate: float) -> Callable[[Recipe], Run]:
    return lambda recipe: run_of(recipe, abs(math.log(recipe.lr / rate)))


def test_fewer_images_are_seen_more_often_and_a_budget_takes_away() -> None:
    assert epochs_of(context_of(images((1, 1, 1), 45_000)), 8) == 8
    assert epochs_of(context_of(images((1, 1, 1), 60_000)), 8) == 8  # never fewer than the preset's
    assert epochs_of(context_of(images((1, 1, 1), 11_250)), 8) == 16
    assert epochs_of(context_of(), 8) == MOST_EPOCHS
    for share in (0.5, 0.01):
        assert epochs_of(
            context_of(images((1, 1, 1), 45_000), fit=BudgetFit(epochs=share)), 8
        ) == max(1, int(8 * share))
    assert training_images(context_of()) is None
    assert training_images(context_of(fit=BudgetFit(images=0.5))) == 45
    assert (
        training_images(context_of(fit=BudgetFit(images=0.02))) == context_of().base.batch == 8
    )  # a batch at least, else no run would start


def test_networks_are_made_to_fit_the_images() -> None:
    deep = ConvNet(4, 4, pool_sizes=(2, 2, 2, 2))
    assert not leaves_room(deep, (3, 8, 8)) and leaves_room(deep, (3, 16, 17))
    assert shallower(deep, (3, 8, 9)) == ConvNet(4, 3, pool_sizes=(2, 2, 2))
    assert shallower(deep, (3, 16, 16)) is deep
    assert shallower(replace(A, depth=5, pool="none"), (3, 4, 4)).depth == 5
    for preset in REFERENCES:
        strong = reference_recipe(replace(context_of(images((1, 8, 8))), preset=preset))
        assert (
            isinstance(strong.model, ConvNet)
            and leaves_room(strong.model, (1, 8, 8))
            and strong.seed == 0
        )


def test_pilots_look_at_validation_alone_on_a_part_of_many_images() -> None:
    context = context_of(images((1, 1, 1), 45_000))
    recipes = [replace(context.base, model=m, epochs=8) for m in (SoftmaxRegression(), A)]
    pilots = pilots_of(context, recipes, (1e-3, 2e-3))
    assert len({p.id for p in pilots}) == 4 and all(p.evaluate == ("val",) for p in pilots)
    assert {(p.limit, p.epochs, p.seed) for p in pilots} == {(11_250, 1, 0)}
    small = pilots_of(context_of(), [replace(recipes[0], epochs=9)], (1e-3,))
    assert [(p.limit, p.epochs) for p in small] == [(None, 2)]


@pytest.mark.parametrize(
    ("best", "chosen", "requests"),
    [(2e-3, 2e-3, 1), (8e-3, 8e-3, 3), (0.5, 1.6e-2, 3), (1e-9, 2.5e-4, 3), (4.1e-3, 4e-3, 2)],
)
def test_the_grid_of_rates_is_extended_where_the_best_lies_at_its_end(
    best: float, chosen: float, requests: int
) -> None:
    context = context_of()
    recipes = [replace(context.base, model=A)]
    found, asked = sent(tuned_rates(context, recipes, (1e-3, 2e-3, 4e-3)), best_at(best))
    assert found.rate(A) == pytest.approx(chosen) and len(asked) == requests
    assert found.rate(B) == 1e-3 and len(found.pilots) == 3 + requests - 1
    assert all(len(more) == 1 for more in asked[1:])
    table = rates_table(found.pilots)
    assert table.rows[0]["chosen"] == pytest.approx(chosen)
    assert (
        "1 of 1 chosen rates lie" in table.caption
        if chosen in (1.6e-2, 2.5e-4)
        else "No chosen rate lies" in table.caption
    )


def test_rates_between_the_ends_of_a_sweep_lie_on_a_line() -> None:
    sweep = [replace(A, width=width) for width in (4, 1, 2, 16, 8)]
    assert (
        [m.width for m in narrowest_and_widest(sweep)] == [1, 16]
        and narrowest_and_widest(sweep[:1]) == sweep[:1]
        and narrowest_and_widest([]) == []
    )
    rates = transferred({sweep[1]: 8e-3, sweep[3]: 2e-3, SoftmaxRegression(): 1.0}, sweep)
    assert [rates[m] for m in sorted(sweep, key=lambda m: m.width)] == [
        8e-3,
        5.7e-3,
        4e-3,
        2.8e-3,
        2e-3,
    ]
    assert (
        set(transferred({sweep[3]: 3e-3}, sweep).values()) == {3e-3}
        and transferred({SoftmaxRegression(): 1.0}, sweep) == {}
    )
    outside = transferred({sweep[2]: 4e-3, sweep[0]: 3e-3}, sweep)
    assert outside[sweep[1]] == 4e-3 and outside[sweep[3]] == 3e-3


def test_rates_stay_within_their_bounds_and_failed_pilots_choose_nothing() -> None:
    context = context_of()
    high = [run_of(replace(context.base, model=A, lr=HIGHEST_RATE, evaluate=("val",)))]
    assert [r.lr for r in beyond_the_grid(high)] == [HIGHEST_RATE / 2]
    low = [
        run_of(replace(context.base, model=A, lr=rate, evaluate=("val",)), rate)
        for rate in (1e-5, 1e-4)
    ]
    assert beyond_the_grid(low) == []
    failed = [replace(low[0], status="diverged"), low[1]]
    assert chosen_rates(failed) == {A: 1e-4} and chosen_rates([failed[0]]) == {}
    assert rates_table([failed[0]]).rows[0]["chosen"] is None
    found, asked = sent(
        tuned_rates(context, [replace(context.base, model=A)], (1e-3, 2e-3)), lambda _: None
    )
    assert len(asked) == 1 and found.rate(A) == 1e-3 and found.pilots == ()


def test_the_smallest_of_capacity_is_read_by_those_that_need_it() -> None:
    found = CapacityResult(A, (run_of(replace(context_of().base, model=A)),))
    assert smallest_of_capacity(context_of(given={"capacity": found}, needs=("capacity",))) == A
    assert smallest_of_capacity(context_of(given={"capacity": None}, needs=("capacity",))) is None
    assert smallest_of_capacity(context_of()) is None
    with pytest.raises(AssertionError, match="NEEDS"):
        smallest_of_capacity(context_of(given={"capacity": found}))


# --- names


def test_names_say_what_differs_from_the_plain_network() -> None:
    assert (
        label_of(ConvNet(16, 3)) == "width 16, depth 3"
        and label_of(SoftmaxRegression()) == "softmax regression"
    )
    assert label_of(Custom("mine.nets:make")) == "mine.nets:make"
    full = ConvNet(16, 3, 2, 1.5, 5, "gelu", "avg", norm="batch", skip=True, hidden=(256, 128))
    assert (
        label_of(full)
        == "width 16, depth 3×2, growth 1.5, 5×5, batch norm, skip, gelu, average pooling"
    )
    assert (hidden_of(full), hidden_of(A)) == ("256 and 128", "none")
    plain = ConvNet(16, 3, block_depth=2)
    changes: Sequence[dict[str, Any]] = (
        {"width": 8},
        {"depth": 2},
        {"block_depth": 3},
        {"growth": 1.0},
        {"kernel": 5},
        {"activation": "identity"},
        {"pool": "none"},
        {"pool": "stride"},
        {"norm": "affine"},
        {"norm": "group"},
        {"skip": True},
        {"head": "gap"},
        {"order": "reversed"},
        {"order": "per-sample"},
        {"pixels": "random"},
    )
    names: list[Model] = [plain, *(replace(plain, **change) for change in changes)]
    assert len({label_of(model) for model in names}) == len(names)
