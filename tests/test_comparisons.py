"""Differences: equivalence against two one-sided t tests, coverage by simulation, weights."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from convscope.data.dataset import Dataset
from convscope.data.loading import load
from convscope.recipe.labels import label_of
from convscope.recipe.networks import ConvNet
from convscope.statistics.comparisons import (
    Difference,
    accuracy_difference,
    equivalence,
    paired_difference,
)
from convscope.statistics.configuration import Configuration, configurations, grouped
from convscope.statistics.estimation import estimates
from convscope.training.runs import Run
from convscope.words import one_seed_caveat

Maker = Callable[..., Run]


@pytest.fixture(scope="module")
def data(micro: Path) -> Dataset:
    return load(micro)


# --- equivalence and paired differences


@given(st.floats(-0.1, 0.1), st.floats(1e-4, 0.05), st.integers(1, 60))
def test_equivalence_is_two_one_sided_t_tests(mean: float, se: float, degrees: int) -> None:
    margin, t95 = 0.03, float(scipy_stats.t.ppf(0.975, degrees))
    found = Difference(mean, se, mean - t95 * se, mean + t95 * se, degrees, (3, 3), 4)
    above = scipy_stats.t.sf((mean + margin) / se, degrees)  # H0: mean ≤ −margin
    below = scipy_stats.t.cdf((mean - margin) / se, degrees)  # H0: mean ≥ margin
    two_sided = 2 * scipy_stats.t.sf(abs(mean) / se, degrees)
    if min(abs(max(above, below) - 0.05), abs(two_sided - 0.05)) < 1e-9:
        return
    unequal = "different" if two_sided < 0.05 else "cannot tell"
    expected = "equivalent" if max(above, below) < 0.05 else unequal
    assert equivalence(found, margin) == expected


def test_one_seed_each_is_never_equivalent_or_different() -> None:
    right = np.array([1.0, 1.0, 0.0, 1.0] * 50)
    same = paired_difference([right], [right])
    assert (same.mean, same.se, equivalence(same, 0.03)) == (0.0, 0.0, "cannot tell")
    far = paired_difference([right], [0 * right])
    assert far.low > 0.5 and equivalence(far, 0.03) == "cannot tell"


def test_one_seed_each_is_scipys_paired_test() -> None:
    draw = np.random.default_rng(0)
    a, b = (draw.random((n, 300)) for n in (1, 1))
    found = paired_difference(list(a), list(b))
    paired = scipy_stats.ttest_rel(a[0], b[0])
    assert found.mean / found.se == pytest.approx(paired.statistic)
    half = 1.959963984540054 * found.se  # 97.5 % point of the normal distribution
    assert (found.low, found.high) == pytest.approx((found.mean - half, found.mean + half))


def simulated(draw: np.random.Generator, truth: float, seeds: int, images: int = 400) -> Difference:
    """Two configurations of mean difference `truth`.

    Images are hard or easy for both, more for one of them, and seeds scatter.
    """
    hard, mine = draw.normal(0, 0.5, images), draw.normal(0, 0.2, images)
    a = [
        truth + hard + mine + draw.normal(0, 0.02) + draw.normal(0, 0.1, images)
        for _ in range(seeds)
    ]
    b = [hard + draw.normal(0, 0.02) + draw.normal(0, 0.1, images) for _ in range(seeds)]
    return paired_difference(a, b)


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
    a, b = ([hard + draw.normal(0, 0.1, 500) for _ in range(2)] for _ in range(2))
    alone = estimates(
        {"a": [float(x.mean()) for x in a], "b": [float(x.mean()) for x in b]},
        {"a": 1 / 500**0.5, "b": 1 / 500**0.5},
    )
    assert paired_difference(a, b).se < 0.2 * math.hypot(alone["a"].se, alone["b"].se)


# --- of configurations

A, B = ConvNet(4, 2), ConvNet(8, 2)


def made(runs: list[Run], data: Dataset) -> list[Configuration]:
    groups = grouped(runs, lambda run: run.recipe.model)
    return list(configurations(groups, data, label_of).values())


def test_without_weights_shared_images_are_ignored(make_run: Maker, data: Dataset) -> None:
    runs = [
        make_run(B, [1.0], [1.0], accuracy=0.7),
        make_run(A, [1.0], [1.0], accuracy=0.5, seed=0),
        make_run(A, [1.0], [1.0], accuracy=0.6, seed=1),
    ]
    b, a = made(runs, data)
    assert [len(seed) for seed in (*a.right, *b.right)] == [0, 0, 0]
    found = accuracy_difference(b, a, [a, b])
    se = math.hypot(a.test_accuracy.se, b.test_accuracy.se)
    assert (found.mean, found.se) == (pytest.approx(0.15), pytest.approx(se))
    assert (found.degrees, found.n) == (1, (1, 2)) and found.low < 0 < found.high
    t_1 = 12.706204736432095  # 97.5 % point of t with 1 degree of freedom (tables)
    assert found.high - found.mean == pytest.approx(t_1 * se)
    assert json.loads(json.dumps(found.numbers(), allow_nan=False)) == {
        "difference": found.mean,
        "interval": [found.low, found.high],
        "se": found.se,
        "degrees_of_freedom": 1,
        "seeds": [1, 2],
        "replication": None,
    }


def test_with_weights_images_are_paired(
    make_run: Maker, data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    accuracies = {A: (0.5, 0.75), B: (0.75, 0.75)}
    runs = [
        make_run(model, [1.0], [1.0], accuracy=accuracy, seed=seed)
        for model, pair in accuracies.items()
        for seed, accuracy in enumerate(pair)
    ]
    answers = [[1, 1, 0, 0], [1, 1, 1, 0], [1, 1, 1, 0], [1, 1, 1, 0]]
    right = {run.id: np.array(seed, float) for run, seed in zip(runs, answers, strict=True)}
    monkeypatch.setattr(
        "convscope.statistics.configuration.right_by_image", lambda run, _: right[run.id]
    )
    a, b = made(runs, data)
    found = accuracy_difference(a, b, [a, b])
    expected = paired_difference(a.right, b.right)
    assert replace(found, replication=None) == expected
    assert found.mean == pytest.approx(-1 / 8) and found.replication is not None
    right[runs[-1].id] = np.zeros(0)  # the weights of one seed are missing
    a, b = made(runs, data)
    alone = math.hypot(a.test_accuracy.se, b.test_accuracy.se)
    assert accuracy_difference(a, b, [a, b]).se == pytest.approx(alone)


def test_one_seed_everywhere_gives_plain_finite_figures(make_run: Maker, data: Dataset) -> None:
    a, b = made([make_run(model, [1.0], [1.0]) for model in (A, B)], data)
    difference = accuracy_difference(a, b, [a, b])
    assert difference.degrees == 0 and "one seed" in one_seed_caveat(difference.degrees)
    json.dumps([a.numbers(), difference.numbers()], allow_nan=False)
