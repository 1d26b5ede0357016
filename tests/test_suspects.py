"""Suspected wrong labels: planted ones are found on real images, and most suspects are planted."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from commands import Cli
from refusing import refused

from convscope import data
from convscope.chapters.best.doubts import doubts_of
from convscope.planning.context import Context
from convscope.recipe.networks import ConvNet
from convscope.recipe.recipe import Recipe
from convscope.statistics.configuration import configurations
from convscope.statistics.suspects import accuracy_without, suspected, suspects_of
from convscope.training.evidence import missing_evidence
from convscope.training.main_path import train
from convscope.training.runs import Run

FROG, SHIP = 6, 8  # of CIFAR-10: classes that a small network tells apart
PLANTED = 0.1


@pytest.fixture(scope="module")
def planted(session_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, set[int]]:
    """Frogs and ships, a tenth of the labels wrong, in training too; the wrong test images."""
    whole, rng = data.load("cifar10", val=0), np.random.default_rng(0)
    arrays, wrong = {}, set()
    for split, count in (("train", 1200), ("test", 300)):
        part = getattr(whole, split)
        rows = np.concatenate(
            [np.flatnonzero(part.labels.numpy() == label)[:count] for label in (FROG, SHIP)]
        )
        labels = (part.labels.numpy()[rows] == SHIP).astype(np.int64)
        flipped = rng.choice(len(rows), int(PLANTED * len(rows)), replace=False)
        labels[flipped] = 1 - labels[flipped]
        arrays |= {f"x_{split}": part.images[rows].permute(0, 2, 3, 1).numpy()}
        arrays |= {f"y_{split}": labels}
        if split == "test":
            wrong = set(flipped.tolist())
    path = tmp_path_factory.mktemp("planted") / "planted.npz"
    np.savez(path, **arrays, classes=np.array(["frog", "ship"]))
    return path, wrong


@pytest.fixture(scope="module")
def run(planted: tuple[Path, set[int]], tmp_path_factory: pytest.TempPathFactory) -> Run:
    recipe = Recipe(
        data=str(planted[0]), model=ConvNet(8, 3), epochs=5, batch=64, lr=0.004, schedule="onecycle"
    )
    return train(recipe, tmp_path_factory.mktemp("runs"))


@pytest.mark.slow
def test_planted_labels_are_found_on_real_images(run: Run, planted: tuple[Path, set[int]]) -> None:
    path, wrong = planted
    loaded = data.load(path)
    found = suspects_of([run], loaded)
    tests = {one.index for one in found if one.split == "test"}
    recall, precision = len(tests & wrong) / len(wrong), len(tests & wrong) / len(tests)
    assert recall > 0.55 and precision > 0.8, (recall, precision)  # by chance: 0.1 each
    surest = [one.index for one in found if one.split == "test"][: len(wrong) // 2]
    assert np.mean([index in wrong for index in surest]) > 0.8
    assert any(one.split == "val" for one in found)
    assert [one.margin for one in found] == sorted((one.margin for one in found), reverse=True)
    right = np.ones(len(loaded.test))
    right[sorted(wrong)] = 0
    without = accuracy_without([run], [right], found)
    assert without is not None and without > right.mean()


def test_thresholds_allow_for_a_class_of_which_the_network_is_less_sure() -> None:
    labels = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    sure = np.array([0.95, 0.9, 0.95, 0.4, 0.45, 0.4, 0.3, 0.1])  # of class 0
    probabilities = np.stack([sure, 1 - sure], 1)
    # class 0's threshold is 0.8, class 1's 0.69: 0.6 of class 1 is not enough
    assert suspected(probabilities, labels) == []
    sure[3], sure[4] = 0.05, 0.97
    found = suspected(np.stack([sure, 1 - sure], 1), labels)
    assert [(one.index, one.label, one.suggested) for one in found] == [(4, 1, 0), (3, 0, 1)]
    assert found[0].margin == pytest.approx(0.94)
    # a class without images is suggested to nobody
    third = np.concatenate([0.1 * np.stack([sure, 1 - sure], 1), np.full((8, 1), 0.9)], 1)
    assert all(one.suggested != 2 for one in suspected(third, labels))


def test_the_command_lists_them(cli: Cli, run: Run, tmp_path: Path) -> None:
    answer = cli("data", "suspects", run.path, "--most", 5)
    assert answer.code == 0 and len(answer.out.splitlines()) == 6, answer
    assert "suspected wrong labels: " in answer.err and "% of the test images" in answer.err
    tree = json.loads(cli("data", "suspects", run.path, "--json", "--most", 0).out)
    assert tree["runs"] == [run.id] and 0.05 < tree["shares"]["test"] < 0.25
    assert {one["label"] for one in tree["suspects"]} == {"frog", "ship"}
    rows = list(csv.DictReader(io.StringIO(cli("data", "suspects", run.path, "--csv").out)))
    assert len(rows) == 20 and rows[0]["split"] in ("val", "test")


def test_the_chapter_shows_them_from_standard_on(run: Run, planted: tuple[Path, set[int]]) -> None:
    loaded = data.load(planted[0])
    outcome: Any = SimpleNamespace(winner=configurations({0: [run]}, loaded, lambda _: "small")[0])
    context = Context(loaded, "standard", (0,), run.recipe, ("best",))
    numbers, (shown,), (text,) = doubts_of(context, outcome, ["frog", "<ship>"])
    found = suspects_of([run], loaded)
    shares = numbers["suspects"]["shares"]
    assert shares["test"] == sum(one.split == "test" for one in found) / len(loaded.test)
    assert len(numbers["suspects"]["images"]) == len(found) and len(shown.items) == 12
    assert f"{100 * shares['test']:.1f} % of the test images" in text, text
    assert numbers["suspects"]["test_accuracy_without"] > outcome.winner.test_accuracy.mean
    assert text.startswith("Suspected wrong labels. ") and " of its " not in text, text
    assert doubts_of(replace(context, preset="quick"), outcome, ["frog", "ship"]) == ({}, [], [])
    gone = replace(run, path=Path("/nowhere") / run.id)
    lost: Any = SimpleNamespace(winner=replace(outcome.winner, runs=(gone,)))
    context = Context(loaded, "standard", (0,), run.recipe, ("best",))  # nothing is kept in it
    with missing_evidence() as notes:
        assert doubts_of(context, lost, ["frog", "ship"]) == ({}, [], [])
    assert notes == [f"suspected labels of run {run.id}: images.json is missing"]


def test_what_cannot_be_suspected_is_one_line(
    cli: Cli, run: Run, micro: Path, tmp_path: Path
) -> None:
    other = data.load(micro)
    assert "have changed since" in refused(lambda: suspects_of([run], other))
    for words, part in (
        (("nowhere",), "'nowhere'"),
        ((run.path, "--most", -1), "most = -1"),
        ((tmp_path,), "no finished run"),
    ):
        answer = cli("data", "suspects", *words)
        assert answer.code == 2 and part in answer.err and len(answer.err.splitlines()) == 1
