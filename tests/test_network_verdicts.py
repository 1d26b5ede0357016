"""Verdicts on networks, from learning curves made to have them.

They are tried at their borders, and without a look at the test set.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from imaged import with_images

from convscope.chapters import capacity
from convscope.chapters.capacity.analysis import numbers_of_network
from convscope.chapters.capacity.words import changes_of_accuracy
from convscope.data.dataset import Dataset
from convscope.data.loading import load
from convscope.planning import pilots as plans
from convscope.planning.context import Context
from convscope.recipe.labels import label_of
from convscope.recipe.networks import ConvNet
from convscope.recipe.recipe import Recipe
from convscope.statistics.estimation import estimates
from convscope.statistics.learning_curves import course_of, course_of_means, fall_per_epoch
from convscope.statistics.network_verdicts import FALL, judged
from convscope.training.runs import Run

Maker = Callable[..., Run]
SMALL, LARGE = ConvNet(2, 1), ConvNet(16, 1)


@pytest.fixture(scope="module")
def data(micro: Path) -> Dataset:
    return load(micro)


# --- slopes and rises


@pytest.mark.parametrize(
    ("train", "fall"),
    [
        ([4.0, 2.0, 1.0], 0.5),
        ([9.0, 9.0, 8.0, 4.0, 2.0, 1.0], 0.5),
        ([1.0, 1.0, 1.0], 0.0),
        ([1.0, 2.0, 4.0], -1.0),
        ([2.0, 1.0], None),
        ([1.0], None),
        ([0.0, 0.0, 0.0], None),
    ],
)
def test_fall_per_epoch_is_the_slope_of_the_logarithm(
    train: list[float], fall: float | None
) -> None:
    assert fall_per_epoch(train) == (None if fall is None else pytest.approx(fall))


def test_a_fall_is_per_epoch_where_only_every_second_one_is_evaluated() -> None:
    assert fall_per_epoch([4.0, 2.0, 1.0], [2, 4, 6]) == pytest.approx(1 - 0.5**0.5)


def histories(
    draw: np.random.Generator, truth: list[float], seeds: int, images: int, jitter: float
) -> list[np.ndarray]:
    """Losses epochs × images of each seed; an epoch has a deviation of its own in each seed."""
    hard = draw.normal(0, 0.5, images)
    return [
        np.array(
            [loss + hard + draw.normal(0, jitter) + draw.normal(0, 0.1, images) for loss in truth]
        )
        for _ in range(seeds)
    ]


@pytest.mark.parametrize("seeds", [2, 5])
def test_a_flat_curve_is_not_said_to_rise_more_than_once_in_twenty_times(seeds: int) -> None:
    """The last epoch always lies above the lowest one of the same run: that is chance."""
    draw = np.random.default_rng(seeds)
    flat = [1.0, 0.6, 0.5, 0.5, 0.5, 0.5]
    turns, lies_above = 0, 0
    for _ in range(200):
        found = histories(draw, flat, seeds, 150, jitter=0.02)
        turns += course_of(found).turn() is not None
        means = np.mean([one.mean(1) for one in found], axis=0)
        lies_above += means[-1] > means.min()
    assert lies_above > 100
    assert turns / 200 <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / 200)


def test_a_rise_is_found_with_the_epoch_where_it_begins() -> None:
    draw = np.random.default_rng(0)
    found = histories(draw, [1.0, 0.6, 0.5, 0.6, 0.7, 0.8], 5, 200, jitter=0.005)
    course = course_of(found)
    assert course.turn() == 3
    assert course.shown().mean == pytest.approx(0.3, abs=0.03)
    assert course_of_means([one.mean(1).tolist() for one in found], 1e-6).turn() == 3
    alone = course_of(found[:1])
    assert alone.turn() is None and alone.shown().degrees == 0


# --- networks and their verdicts


def verdicts_of(
    make_run: Maker, data: Dataset, *curves_of: tuple[list[float], list[float]], noise: float = 0.0
) -> list[str]:
    """Verdicts of networks of growing width, three seeds each, that scatter by `noise`."""
    runs = []
    for i, (train, val) in enumerate(curves_of):
        for seed, shift in enumerate((-noise, 0.0, noise)):
            model = ConvNet(2 ** (i + 1), 1)
            run = make_run(
                model,
                [t + shift for t in train],
                [v + shift for v in val],
                seed=seed,
                accuracy=0.97,
            )
            runs.append(with_images(run, data))
    swept, beside = judged(runs, [], data)
    assert beside == [] and [n.convnet.width for n in swept] == [
        2 ** (i + 1) for i in range(len(curves_of))
    ]
    return [n.verdict for n in swept]


FLAT = [1.0, 0.5, 0.5, 0.5, 0.5]
BEST = (FLAT, [1.1, 0.6, 0.6, 0.6, 0.6])


def test_each_verdict(make_run: Maker, data: Dataset) -> None:
    overfits = ([1.0, 0.8, 0.6, 0.4, 0.2], [1.0, 0.9, 1.2, 1.5, 1.8])
    undertrained = ([2.0, 1.8, 1.5, 1.2, 0.9], [2.0, 1.8, 1.5, 1.2, 0.95])
    underfits = ([2.0, 1.5, 1.5, 1.5, 1.5], [2.0, 1.55, 1.55, 1.55, 1.55])
    fits = ([2.0, 1.5, 1.5, 1.5, 1.5], [2.0, 1.9, 1.9, 1.9, 1.9])  # a gap of 21 %
    verdicts = verdicts_of(
        make_run, data, overfits, undertrained, underfits, fits, BEST, noise=0.005
    )
    assert verdicts == ["overfits from epoch 3", "undertrained", "underfits", "fits", "fits"]


def test_no_training_is_too_short_while_validation_rises(make_run: Maker, data: Dataset) -> None:
    both = ([2.0, 1.0, 0.7, 0.5, 0.2], [1.5, 1.0, 1.5, 1.8, 2.0])
    fall = fall_per_epoch(both[0])
    assert fall is not None and fall > FALL
    assert verdicts_of(make_run, data, both, BEST, noise=0.005)[0] == "overfits from epoch 3"


def test_what_lies_at_a_border_cannot_be_told(make_run: Maker, data: Dataset) -> None:
    """A training loss that falls by 1.94 % per epoch is neither converged nor undertrained."""
    train = [1.0 * 0.9806**i for i in range(6)]
    val = [1.2 * 0.9806**i for i in range(6)]
    assert verdicts_of(make_run, data, (train, val), BEST, noise=0.01)[0] == "cannot tell"


def test_nothing_is_said_of_a_network_at_chance(make_run: Maker, data: Dataset) -> None:
    chance = 1 / data.num_classes
    runs = [
        make_run(SMALL, [1.0, 0.8, 0.4], [1.0, 0.9, 1.8], seed=seed, accuracy=chance)
        for seed in (0, 1, 2)
    ]
    (network,), _ = judged([with_images(run, data) for run in runs], [], data)
    assert network.verdict == "did not learn"


def test_one_seed_allows_no_verdict(make_run: Maker, data: Dataset) -> None:
    rising = ([1.0, 0.8, 0.6, 0.4, 0.2], [1.0, 0.9, 1.2, 1.5, 1.8])
    run = with_images(make_run(SMALL, *rising, accuracy=1.0), data)
    (network,), _ = judged([run], [], data)
    assert network.verdict == "cannot tell" and network.replication is None
    assert network.rise is not None and network.rise.mean == pytest.approx(0.9, abs=0.05)


def test_a_verdict_says_how_often_it_would_come_out_again(make_run: Maker, data: Dataset) -> None:
    rising = ([1.0, 0.8, 0.6, 0.4, 0.2], [1.0, 0.9, 1.2, 1.5, 1.8])
    runs = [
        with_images(make_run(SMALL, *rising, seed=seed, accuracy=1.0), data) for seed in range(5)
    ]
    (network,), _ = judged(runs, [], data)
    assert network.verdict == "overfits from epoch 3"
    assert network.replication is not None and network.replication > 0.95


def test_networks_are_measured_against_the_best_by_validation_not_by_test(
    make_run: Maker, data: Dataset
) -> None:
    low = [2.0, 1.55, 1.55, 1.55, 1.55]
    sweep = {
        ConvNet(2, 1): ([2.0, 1.5, 1.5, 1.5, 1.5], low, None),
        ConvNet(4, 1): (*BEST, None),
        # lowest on the test set, with the highest training loss
        ConvNet(8, 1): ([2.0, 1.8, 1.8, 1.8, 1.8], [2.0, 1.82, 1.82, 1.82, 1.82], [0.1] * 5),
    }
    runs = [
        with_images(make_run(model, *curves, seed=seed, accuracy=0.97), data)
        for model, curves in sweep.items()
        for seed in range(3)
    ]
    swept, _ = judged(runs, [], data)
    assert [n.verdict for n in swept] == ["underfits", "fits", "underfits"]


def test_figures_of_a_network_are_means_over_its_seeds(make_run: Maker, data: Dataset) -> None:
    runs = [
        make_run(SMALL, [1.0, 0.5, 0.25], [1.0, 0.5, 0.75], seed=0, sd=0.3, accuracy=0.5),
        make_run(SMALL, [1.0, 0.75, 0.25], [1.0, 0.75, 0.5], seed=1, sd=0.2, accuracy=0.75),
        make_run(LARGE, [0.5, 0.5, 0.5], [0.5, 0.5, 0.5], seed=0, sd=0.1),
        make_run(LARGE, [9.0], [9.0], seed=1, status="diverged"),
    ]
    (small, large), _ = judged(runs, [], data)
    assert [run.best["epoch"] for run in small.runs] == [2, 3] and small.best_epochs == "2, 3"
    assert (
        small.val_loss.mean == 0.5
        and small.val_last.mean == 0.625
        and small.train_loss.mean == 0.375
    )
    assert small.test_loss.mean == pytest.approx(0.51) and small.test_accuracy.mean == 0.625
    assert small.gap == 0.125 and small.gap_last == 0.375
    assert small.curve("train") == [1.0, 0.625, 0.25] and small.curve("val") == [1.0, 0.625, 0.625]
    assert (small.val_loss.n, large.val_loss.n, len(large.runs)) == (
        2,
        1,
        1,
    )  # the run that diverged is left out
    assert small.val_last.sampling_se == pytest.approx(0.3 / math.sqrt(len(data.val)))
    assert small.test_loss.sampling_se == pytest.approx(0.3 / math.sqrt(len(data.test)))
    expected = estimates(
        {"s": [0.75, 0.5], "l": [0.5]},
        {"s": small.val_last.sampling_se, "l": large.val_last.sampling_se},
    )
    assert small.val_last == expected["s"] and large.val_last == expected["l"]
    assert numbers_of_network(small, 90, changes_of_accuracy([small])[small])["best"][
        "val_loss"
    ] == {
        "mean": 0.5,
        "se": small.val_loss.se,
        "low": small.val_loss.low,
        "high": small.val_loss.high,
    }
    assert label_of(ConvNet(4, 2, block_depth=3, norm="batch")) == "width 4, depth 2×3, batch norm"


def test_no_finished_run_gives_no_network(make_run: Maker, data: Dataset) -> None:
    assert judged([make_run(SMALL, [1.0], [1.0], status="diverged")], [], data) == ([], [])
    assert judged([], [make_run(LARGE, [1.0], [1.0])], data) == ([], [])


# --- nothing is chosen by the test set


def study_runs(make_run: Maker, draw: random.Random) -> tuple[list[Run], list[Run], list[Run]]:
    """(pilots, sweep, strong) with curves at random."""

    def losses() -> tuple[list[float], list[float]]:
        start = draw.uniform(1, 2)
        train = [start - 0.2 * i * draw.random() for i in range(4)]
        return train, [t + 0.1 * i * draw.random() for i, t in enumerate(train)]

    models = [ConvNet(width, depth) for depth in (1, 2) for width in (2, 4, 8)]
    pilots = [
        make_run(model, [1.0], [draw.random()], lr=lr)
        for model in models
        for lr in (1e-3, 2e-3, 4e-3)
    ]
    sweep = [make_run(model, *losses(), seed=seed, sd=0.05) for model in models for seed in (0, 1)]
    return pilots, sweep, [make_run(ConvNet(4, 2, block_depth=2), *losses(), sd=0.05)]


def other_test_figures(run: Run, draw: random.Random) -> Run:
    rows = [
        row
        | {
            "test_loss": draw.random(),
            "test_accuracy": draw.random(),
            "test_loss_sd": draw.random(),
        }
        for row in run.rows
    ]
    return replace(run, rows=tuple(rows))


def chosen(finding: Any) -> Any:
    """Everything that is chosen or judged, without the test figures that are only quoted."""
    numbers = finding.numbers
    picked = {
        key: numbers[key]["network"] for key in ("best", "smallest_within_margin", "best_of_all")
    }
    networks = [
        (n["network"], n["verdict"], n["best"]["val_loss"], n["lr"], n["runs"])
        for n in numbers["networks"] + numbers["beside"]
    ]
    return finding.verdict, picked, networks, numbers["verdicts"]


@pytest.mark.usefixtures("few_draws")
@pytest.mark.parametrize(
    "seed", [0, 1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, 8))]
)
def test_no_choice_reads_the_test_columns(make_run: Maker, data: Dataset, seed: int) -> None:
    draw = random.Random(seed)
    pilots, sweep, strong = study_runs(make_run, draw)
    context = Context(data, "quick", (0, 1), Recipe())
    first = capacity.finding(context, pilots, sweep, strong, 0)
    pilots_changed, sweep_changed, strong_changed = (
        [other_test_figures(run, draw) for run in runs] for runs in (pilots, sweep, strong)
    )
    second = capacity.finding(context, pilots_changed, sweep_changed, strong_changed, 0)
    assert chosen(first) == chosen(second)
    assert plans.chosen_rates(pilots) == plans.chosen_rates(pilots_changed)
    assert plans.beyond_the_grid(pilots) == plans.beyond_the_grid(pilots_changed)
    assert first.numbers["best"]["best"]["test_loss"] != second.numbers["best"]["best"]["test_loss"]


# --- learning rates


def test_the_rate_with_the_lowest_validation_loss_is_chosen_and_the_grid_extended_at_its_ends(
    make_run: Maker,
) -> None:
    inner, low, high = ConvNet(2, 1), ConvNet(4, 1), ConvNet(8, 1)
    losses = {inner: (0.5, 0.4, 0.6), low: (0.3, 0.4, 0.5), high: (0.5, 0.4, 0.3)}
    pilots = [
        make_run(model, [1.0], [loss], lr=lr)
        for model, all_of in losses.items()
        for loss, lr in zip(all_of, (1e-3, 2e-3, 4e-3), strict=True)
    ]
    assert plans.chosen_rates(pilots) == {inner: 2e-3, low: 1e-3, high: 4e-3}
    assert [(recipe.model, recipe.lr) for recipe in plans.beyond_the_grid(pilots)] == [
        (low, 5e-4),
        (high, 8e-3),
    ]
    failed = [replace(run, status="diverged") if run.recipe.lr == 1e-3 else run for run in pilots]
    assert plans.chosen_rates(failed)[low] == 2e-3


def test_a_sentence_shows_no_control_characters(make_run: Maker, data: Dataset) -> None:
    """The name of a folder is the user's, and the sentence goes to a terminal and a page."""
    pilots, sweep, strong = study_runs(make_run, random.Random(0))
    context = Context(replace(data, name="a\x1b[31m\u202eb\nc"), "quick", (0, 1), Recipe())
    assert capacity.finding(context, pilots, sweep, strong, 0).sentence.isprintable()


def test_when_nothing_finished_the_finding_says_so(make_run: Maker, data: Dataset) -> None:
    context = Context(data, "quick", (0, 1), Recipe())
    failed = [make_run(SMALL, [1.0], [1.0], status="diverged")]
    finding = capacity.finding(context, failed, failed, [], 1)
    assert finding.verdict == "cannot tell" and "(diverged)" in finding.sentence
    assert (
        "()" not in capacity.finding(context, [], [], [], 0).sentence
    )  # interrupted before the first


def test_a_network_of_one_epoch_has_figures_that_json_can_hold(
    make_run: Maker, data: Dataset
) -> None:
    (network,), _ = judged([make_run(SMALL, [1.5], [1.6])], [], data)
    numbers = numbers_of_network(network, 90, changes_of_accuracy([network])[network])
    assert numbers["fall_per_epoch"] is None and json.dumps(numbers, allow_nan=False)
