"""Unequal classes: balanced accuracy stands beside accuracy from a ratio of 3:1 on."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import Cli
from recording import blink

from convscope import data
from convscope.chapters.best.outcome import figures
from convscope.chapters.best.words import TEXTS
from convscope.data.class_balance import ratio_of
from convscope.report.configurations import configurations_table
from convscope.statistics.by_class import balanced_accuracy, imbalance
from convscope.statistics.configuration import Configuration, configurations
from convscope.training.main_path import train


def unequal(path: Path, source: Path, counts: tuple[int, ...]) -> Path:
    """So many images of each of the first classes, training and test alike."""
    with np.load(source) as file:
        found: dict[str, Any] = {}
        for split in ("train", "test"):
            labels = file[f"y_{split}"]
            rows = np.concatenate(
                [np.flatnonzero(labels == i)[:count] for i, count in enumerate(counts)]
            )
            found |= {f"x_{split}": file[f"x_{split}"][rows, 12:20, 12:20]}
            found |= {f"y_{split}": labels[rows]}
    np.savez(path, **found)
    return path


@pytest.fixture(scope="module")
def rare(cifar_slice: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty images of one class, ten of each of two others."""
    return unequal(tmp_path_factory.mktemp("rare") / "rare.npz", cifar_slice, (40, 10, 10))


def test_ratio_leaves_out_classes_without_images() -> None:
    assert ratio_of([30, 10]) == 3 and ratio_of([30, 0, 20]) == 1.5
    assert ratio_of([]) == ratio_of([0]) == ratio_of([4, 1, 2]) == 1


def test_balanced_accuracy_is_the_mean_of_the_classes() -> None:
    labels = np.array([0] * 90 + [2] * 10)
    right = np.r_[np.ones(90), np.ones(4), np.zeros(6)]
    found = balanced_accuracy([right], labels)
    assert found is not None and found.mean == pytest.approx(0.7)  # (1 + 0.4) / 2
    # the binomial errors of two classes, each of which weighs a half
    expected = math.sqrt(0.25 * 0.4 * 0.6 / 10)
    assert found.sampling_se == pytest.approx(expected, rel=0.06)
    perfect = balanced_accuracy([np.ones(100)], labels)
    assert perfect is not None and (perfect.mean, perfect.se) == (pytest.approx(1), 0)
    assert balanced_accuracy([right, np.zeros(0)], labels) is None
    two = balanced_accuracy([right, np.ones(100)], labels)
    assert two is not None and two.mean == pytest.approx(0.85) and two.n == 2
    assert two.seed_sd > 0.1


def test_its_interval_holds_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], [300, 60, 30])
    truth = np.array([0.9, 0.6, 0.5])
    inside = 0
    for _ in range(400):
        found = balanced_accuracy([(rng.random(390) < truth[labels]).astype(float)], labels)
        assert found is not None
        inside += found.low <= truth.mean() <= found.high
    assert 0.91 <= inside / 400 <= 0.99


def test_data_info_says_it_from_three_to_one_on(
    cli: Cli, cifar_slice: Path, rare: Path, cache: Path, tmp_path: Path
) -> None:
    answer = cli("data", "info", rare)
    (line,) = [line for line in answer.out.splitlines() if line.startswith("unequal classes")]
    assert "4.0 times" in line and "66.7% of the test images" in line and "33.3%" in line
    near = cli("data", "info", unequal(tmp_path / "near.npz", cifar_slice, (28, 10, 10)))
    assert near.code == 0 and "unequal classes" not in near.out
    assert '"imbalance": 4.0' in cli("data", "info", rare, "--json").out


def configuration(source: Path, root: Path) -> Configuration:
    runs = [train(replace(blink(source), epochs=2, batch=10, seed=seed), root) for seed in (0, 1)]
    return configurations({0: runs}, data.load(source), lambda _: "small")[0]


def test_tables_numbers_and_words_have_it_where_classes_are_unequal(
    rare: Path, micro: Path, tmp_path: Path
) -> None:
    one = configuration(rare, tmp_path)
    labels = one.data.test.labels
    assert imbalance(one.data) == pytest.approx(4)
    found = one.balanced_accuracy
    assert found is not None
    by_hand = [
        np.mean([right[(labels == k).numpy()].mean() for k in range(3)]) for right in one.right
    ]
    assert found.mean == pytest.approx(np.mean(by_hand)) and found.n == 2
    table = configurations_table("t", "T", [one])
    keys = [key for key, *_ in table.columns]
    assert keys[keys.index("interval") + 1] == "balanced_accuracy" and "test_accuracy" in keys
    assert table.rows[0]["balanced_accuracy"] == found.mean
    assert figures(one, one, "")["test_balanced_accuracy"] == found.mean
    said = TEXTS.unequal(imbalance(one.data), 2 / 3, one)
    assert "4.0 times" in said and f"{100 * found.mean:.1f} %" in said, said
    equal = configuration(micro, tmp_path)
    assert equal.balanced_accuracy is None and "test_balanced_accuracy" not in figures(
        equal, equal, ""
    )
    assert "balanced_accuracy" not in str(configurations_table("t", "T", [equal]))
