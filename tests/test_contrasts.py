"""Contrasts of several configurations: their error by hand and by simulation; Holm; chance."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats as scipy_stats

from convscope.data.loading import load
from convscope.recipe.labels import label_of
from convscope.recipe.networks import ConvNet
from convscope.statistics.comparisons import Difference
from convscope.statistics.configuration import configurations, grouped
from convscope.statistics.contrasts import (
    beats_chance,
    contrast,
    contrast_of,
    holm,
    p_above,
    p_outside,
)
from convscope.training.runs import Run

Right = list[list[np.ndarray]]


def arms_of(draw: np.random.Generator, accuracies: list[float], seeds: int, images: int) -> Right:
    """Answers that arms share: each image is as hard for all of them, for some a little more."""
    hard = draw.normal(size=images)
    arms = []
    for accuracy in accuracies:
        level = 1.4 * scipy_stats.norm.ppf(accuracy)
        own = 0.7 * draw.normal(size=images)
        arms.append(
            [
                hard + own + 0.7 * draw.normal(size=images) < level + 0.03 * draw.normal()
                for _ in range(seeds)
            ]
        )
    return [[seed.astype(float) for seed in arm] for arm in arms]


def test_a_contrast_by_hand() -> None:
    a = [np.array([1.0, 1.0, 0.0, 1.0]), np.array([1.0, 0.0, 0.0, 1.0])]
    b = [np.array([0.0, 1.0, 0.0, 1.0]), np.array([0.0, 0.0, 0.0, 1.0])]
    found = contrast_of([a, b], [1.0, -1.0])
    assert found.mean == pytest.approx(0.25) and found.n == (2, 2)
    # by images the seed means differ by 1, 0, 0, 0: variance 1/4 over 4 images
    # between seeds: (3/4 − 1/2)² / 2 in each arm, less what 4 images leave there
    between = 0.25**2 / 2
    rest = np.stack(a) - np.stack(a).mean(0) - np.stack(a).mean(1, keepdims=True)
    left = float(np.square(rest + np.stack(a).mean()).sum()) / 3 / 4
    seeds = max(0.0, between - left) * (1 / 2 + 1 / 2)
    assert found.se == pytest.approx(math.sqrt(0.25 / 4 + seeds))
    assert contrast_of([[a[0]], [b[0]]], [1.0, -1.0]).degrees == 0  # one seed each


def test_intervals_of_an_interaction_hold_the_truth_as_often_as_stated() -> None:
    draw, accuracies = np.random.default_rng(0), [0.75, 0.73, 0.70, 0.42]
    truth, missed, repeats = 0.75 - 0.73 - 0.70 + 0.42, 0, 300
    for _ in range(repeats):
        found = contrast_of(arms_of(draw, accuracies, 2, 500), [1.0, -1.0, -1.0, 1.0])
        missed += not found.low <= truth <= found.high
    # seeds move the level, which bends the truth a little: 5 % and two standard errors of it
    assert missed / repeats <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / repeats)


def test_one_unstable_arm_does_not_widen_the_others() -> None:
    draw = np.random.default_rng(1)
    steady = arms_of(draw, [0.7, 0.6], 5, 2000)
    wild = [(draw.random(2000) < p).astype(float) for p in (0.2, 0.9, 0.3, 0.8, 0.5)]
    alone = contrast_of(steady, [1.0, -1.0])
    beside = contrast_of([*steady, wild], [1.0, -1.0, 0.0])
    assert beside.se < 1.5 * alone.se


def test_p_values_are_those_of_t_tests() -> None:
    t = float(scipy_stats.t.ppf(0.975, 7))
    found = Difference(0.02, 0.01, 0.02 - 0.01 * t, 0.02 + 0.01 * t, 7, (4, 4))
    assert p_above(found, 0.0) == pytest.approx(scipy_stats.t.sf(2, 7))
    assert p_outside(found, 0.03) == pytest.approx(scipy_stats.t.sf(1, 7))
    unknown = replace(found, degrees=0)
    assert p_above(unknown, -1.0) == 1.0 == p_outside(unknown, 1.0)


def test_holms_method() -> None:
    assert holm({"a": 0.01, "b": 0.04}) == ["a", "b"] and holm({"a": 0.03, "b": 0.04}) == []
    assert holm({"a": 0.2, "b": 0.012, "c": 0.03}) == ["b"] and holm({}) == []


def test_chance_is_the_most_frequent_class(
    make_run: Callable[..., Run], micro: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, rates = load(micro), {4: 0.1, 8: 0.8}
    runs = [
        make_run(ConvNet(width, 2), [1.0], [1.0], accuracy=rate + 0.01 * seed, seed=seed)
        for width, rate in rates.items()
        for seed in range(3)
    ]

    def told() -> list[bool]:
        found = configurations(grouped(runs, lambda run: run.recipe.model), data, label_of)
        low, high = found.values()
        assert contrast({high: 1.0, low: -1.0}, [low, high]).mean == pytest.approx(0.7)
        return [beats_chance(one, [low, high]) for one in (low, high)]

    assert told() == [False, True]  # of accuracies alone, 20 images of ten classes
    share = {run.id: round(20 * rates[run.recipe.model.width]) for run in runs}  # type: ignore[union-attr]
    monkeypatch.setattr(
        "convscope.statistics.configuration.right_by_image",
        lambda run, _: (np.arange(20) < share[run.id]).astype(float),
    )
    assert told() == [False, True]
