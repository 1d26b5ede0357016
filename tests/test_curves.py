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

import pytest

from convscope.chapters import capacity
from convscope.chapters.capacity.analysis import numbers_of_network
from convscope.data.dataset import Dataset
from convscope.data.loading import load
from convscope.planning import pilots as plans
from convscope.planning.context import Context
from convscope.recipe.labels import label_of
from convscope.recipe.networks import ConvNet
from convscope.recipe.recipe import Recipe
from convscope.statistics.estimation import estimates
from convscope.statistics.learning_curves import (
    FALL,
    fall_per_epoch,
    judged,
    overfits_from,
    verdict_of,
)
from convscope.training.runs import Run

Maker = Callable[..., Run]
SMALL, LARGE = ConvNet(2, 1), ConvNet(16, 1)


@pytest.fixture(scope="module")
def data(micro: Path) -> Dataset:
    return load(micro)


# --- overfitting


@pytest.mark.parametrize(
    ("train", "val", "se", "epoch"),
    [
        ([1.0, 0.75, 0.5, 0.25], [1.0, 0.5, 0.75, 1.0], 0.01, 3),
        (
            [1.0, 0.75, 0.5, 0.25],
            [1.0, 0.5, 0.75, 1.0],
            0.125,
            4,
        ),  # 0.75 is exactly 2 SE above: not yet
        ([1.0, 0.75, 0.5, 0.25], [1.0, 0.5, 0.75, 1.0], 0.1249, 3),
        ([1.0, 0.75, 0.5, 0.25], [1.0, 0.5, 0.75, 1.0], 0.25, None),
        ([1.0, 0.75, 0.5, 0.25], [1.0, 0.5, 0.5, 0.5], 0.01, None),
        ([1.0, 0.8, 0.6, 0.4], [1.0, 0.9, 0.8, 0.7], 0.0, None),  # the minimum is at the end
        ([5, 4, 3, 2, 1], [1.0, 0.5, 0.9, 0.55, 0.9], 0.1, 5),  # back near the minimum at epoch 4
        ([5, 4, 3, 2, 1], [0.5, 0.9, 0.9, 0.9, 0.9], 0.1, 2),
        (
            [5, 4, 3, 4, 4],
            [1.0, 0.5, 0.9, 0.9, 0.9],
            0.1,
            None,
        ),  # the training loss has risen with it: no overfitting
        ([5, 4, 4, 3, 2], [1.0, 0.5, 0.9, 0.9, 0.9], 0.1, 4),  # lower from epoch 4 on
        ([1.0], [1.0], 0.1, None),
    ],
)
def test_overfitting_begins_where_it_stays(
    train: list[float], val: list[float], se: float, epoch: int | None
) -> None:
    assert overfits_from(train, val, se) == epoch


@pytest.mark.parametrize(
    ("train", "fall"),
    [
        ([4.0, 2.0, 1.0], 0.5),
        ([9.0, 9.0, 4.0, 2.0, 1.0], 0.5),
        ([2.0, 1.0], 0.5),
        ([4.0, 4.0, 1.0], 0.5),  # geometric mean of no fall and three quarters
        ([1.0, 1.0, 1.0], 0.0),
        ([1.0, 2.0, 4.0], -1.0),
        ([1.0], math.inf),
        ([0.0, 0.0, 0.0], 0.0),
        ([1.0, 1.0, 0.0], 1.0),
    ],
)
def test_fall_per_epoch_is_a_geometric_mean(train: list[float], fall: float) -> None:
    assert fall_per_epoch(train) == pytest.approx(fall)


# --- networks and their verdicts


def verdicts_of(
    make_run: Maker, data: Dataset, *curves_of: tuple[list[float], list[float]], noise: float = 0.0
) -> list[str]:
    """Verdicts of networks of growing width, three seeds each, that scatter by `noise`."""
    runs = []
    for i, (train, val) in enumerate(curves_of):
        for seed, shift in enumerate((-noise, 0.0, noise)):
            model = ConvNet(2 ** (i + 1), 1)
            runs.append(
                make_run(model, [t + shift for t in train], [v + shift for v in val], seed=seed)
            )
    swept, beside = judged(runs, [], data)
    assert beside == [] and [n.convnet.width for n in swept] == [
        2 ** (i + 1) for i in range(len(curves_of))
    ]
    return [n.verdict for n in swept]


FLAT = [1.0, 0.5, 0.5, 0.5]
BEST = (FLAT, [1.1, 0.6, 0.6, 0.6])


def test_each_verdict(make_run: Maker, data: Dataset) -> None:
    overfits = ([1.0, 0.8, 0.4, 0.2], [1.0, 0.9, 1.2, 1.5])
    undertrained = ([2.0, 1.6, 1.2, 0.9], [2.0, 1.6, 1.2, 0.95])
    underfits = ([2.0, 1.5, 1.5, 1.5], [2.0, 1.55, 1.55, 1.55])
    fits = (
        [2.0, 1.5, 1.5, 1.5],
        [2.0, 1.9, 1.9, 1.9],
    )  # as high a training loss, but a gap of 21 %
    verdicts = verdicts_of(
        make_run, data, overfits, undertrained, underfits, fits, BEST, noise=0.02
    )
    assert verdicts == ["overfits from epoch 3", "undertrained", "underfits", "fits", "fits"]


def test_overfitting_is_told_before_training_too_short(make_run: Maker, data: Dataset) -> None:
    both = ([2.0, 1.0, 0.5, 0.2], [1.5, 1.0, 1.5, 2.0])
    assert fall_per_epoch(both[0]) > FALL
    assert verdicts_of(make_run, data, both, BEST)[0] == "overfits from epoch 3"


@pytest.mark.parametrize(("last", "verdict"), [(0.9605, "underfits"), (0.9603, "undertrained")])
def test_two_percent_an_epoch_is_the_border_of_training_too_short(
    make_run: Maker, data: Dataset, last: float, verdict: str
) -> None:
    assert pytest.approx(0.9604) == 0.98**2
    assert (
        verdicts_of(make_run, data, ([1.5, 1.0, 1.0, last], [1.5, 1.0, 1.0, 0.97]), BEST)[0]
        == verdict
    )


@pytest.mark.parametrize(("last", "verdict"), [(1.125, "fits"), (1.126, "underfits")])
def test_ten_percent_of_the_validation_loss_is_the_border_of_a_small_gap(
    make_run: Maker, data: Dataset, last: float, verdict: str
) -> None:
    train = [1.5, last, last, last]
    assert verdicts_of(make_run, data, (train, [1.5, 1.25, 1.25, 1.25]), BEST)[0] == verdict


def test_two_standard_errors_of_the_difference_are_the_border_of_underfitting(
    make_run: Maker, data: Dataset
) -> None:
    train, val = [1.5, 1.5, 1.5, 1.5], [1.6, 1.6, 1.6, 1.6]
    (network, reference), _ = judged(
        [make_run(SMALL, train, val), make_run(LARGE, FLAT, [0.6] * 4)], [], data
    )
    network = replace(network, train_last=replace(network.train_last, mean=1.5, se=0.3))
    reference = replace(reference, train_last=replace(reference.train_last, mean=0.5, se=0.4))
    assert verdict_of(network, reference) == "fits"  # 1.0 above, two standard errors of 0.5
    assert (
        verdict_of(
            replace(network, train_last=replace(network.train_last, mean=1.5 + 1e-9)), reference
        )
        == "underfits"
    )


def test_networks_are_measured_against_the_best_by_validation_not_by_test(
    make_run: Maker, data: Dataset
) -> None:
    flat = [2.0, 1.5, 1.5, 1.5]
    runs = [
        make_run(ConvNet(2, 1), flat, [2.0, 1.55, 1.55, 1.55]),
        make_run(ConvNet(4, 1), *BEST),
        make_run(
            ConvNet(8, 1), flat, [2.0, 1.9, 1.9, 1.9], [0.1, 0.1, 0.1, 0.1]
        ),  # lowest on the test set
    ]
    swept, _ = judged(runs, [], data)
    assert [n.verdict for n in swept] == ["underfits", "fits", "fits"]


def test_the_best_network_never_underfits(make_run: Maker, data: Dataset) -> None:
    for seed in range(20):
        draw = random.Random(seed)
        made = [sorted((draw.uniform(0.5, 2) for _ in range(4)), reverse=True) for _ in range(4)]
        runs = [
            make_run(ConvNet(2 + i, 1), losses, [x + 0.01 for x in losses])
            for i, losses in enumerate(made)
        ]
        swept, _ = judged(runs, [], data)
        assert min(swept, key=lambda n: n.val_loss.mean).verdict != "underfits"


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
    assert numbers_of_network(small, 90)["best"]["val_loss"] == {
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


@pytest.mark.parametrize("seed", range(8))
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
    numbers = numbers_of_network(network, 90)
    assert numbers["fall_per_epoch"] is None and json.dumps(numbers, allow_nan=False)
