"""Verdicts without some images: figures are those of the images that are left."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from commands import Cli
from refusing import refused

from convscope import data
from convscope.cli.suspecting import rethought, tell
from convscope.data import near_duplicate_rows, near_duplicates
from convscope.statistics import Suspect
from convscope.studies import Without, verdicts_without
from convscope.training import (
    data_without,
    image_losses,
    read_finished,
    read_run,
    right_answers,
    without_images,
)

LEFT_OUT = {"val": [0, 3], "test": list(range(0, 150, 7))}


def test_rows_are_those_of_the_images_that_are_left(finished_study: Path) -> None:
    rows = {"val": [0, 3], "test": list(range(0, 200, 7))}
    kept = np.setdiff1d(np.arange(200), rows["test"])
    seen = 0
    for path in sorted(finished_study.glob("runs/*")):
        run = read_run(path)
        losses = image_losses(run, "test")
        if losses is None:  # a pilot, which sees validation images alone
            continue
        right = right_answers(run, 200, "test")
        assert right is not None
        with without_images(rows):
            part = read_finished(path)
            assert part is not None and part.best["epoch"] == run.best["epoch"]
            left, answered = image_losses(part, "test"), right_answers(part, len(kept), "test")
        assert left is not None and torch.equal(left, losses[kept])
        assert answered is not None and torch.equal(answered, right[kept])
        assert part.best["test_loss"] == pytest.approx(losses[kept].double().mean().item())
        assert part.best["test_accuracy"] == pytest.approx(right[kept].double().mean().item())
        assert part.best["train_loss"] == run.best["train_loss"]
        assert read_finished(path) == run  # nothing stays
        seen += 1
    assert seen >= 3


def test_the_data_lose_the_same_images(cifar_slice: Path) -> None:
    whole = data.load(cifar_slice)
    part = data_without(whole, LEFT_OUT)
    assert len(part.val) == len(whole.val) - 2 and part.hash == whole.hash
    assert torch.equal(part.test.images[0], whole.test.images[1])
    assert torch.equal(part.test.labels[:6], whole.test.labels[1:7])
    assert part.train is whole.train


@pytest.mark.slow
def test_a_study_is_asked_again(finished_study: Path) -> None:
    known = json.loads((finished_study / "results.json").read_text())["chapters"]
    before = {path: path.stat().st_mtime_ns for path in finished_study.rglob("*")}
    nothing, half = verdicts_without(
        finished_study, {"nothing": {"test": []}, "half": {"test": range(100)}}
    )
    assert nothing.changed == [] and half.images == {"test": 100}
    assert {name: pair[0] for name, pair in half.verdicts.items()} == {
        name: chapter["verdict"] for name, chapter in known.items()
    }
    assert {path: path.stat().st_mtime_ns for path in finished_study.rglob("*")} == before
    told = refused(lambda: verdicts_without(finished_study, {"odd": {"test": range(199)}}))
    assert "199 of 200 test images are odd" in told


@pytest.mark.slow
def test_the_command_says_how_many_words_change(
    finished_study: Path, small_images: Path, capsys: pytest.CaptureFixture[str], cli: Cli
) -> None:
    loaded = data.load(small_images)
    found = rethought(finished_study, [Suspect("test", 5, 0, 1, 0.9)], loaded, False)
    assert [one.reason for one in found] == ["suspected labels", "near-duplicates"]
    assert found[0].images == {"val": 0, "test": 1}
    capsys.readouterr()
    pairs = {"capacity": ("a", "a"), "best": ("b", "c")}
    tell(Without("suspected labels", {"val": 0, "test": 1}, pairs))
    assert capsys.readouterr().err.splitlines() == [
        "without suspected labels (0 val, 1 test images): 1 of 2 verdicts are the same words",
        "  best: 'b' becomes 'c'",
    ]
    answer = cli("data", "suspects", next(finished_study.glob("runs/*")), "--verdicts")
    assert answer.code == 2 and "asks for a study's folder" in answer.err


def test_rows_of_near_duplicates_are_as_many_as_are_counted(cifar_slice: Path) -> None:
    whole = data.load(cifar_slice)
    twins = data.Dataset(
        **{
            **vars(whole),
            "test": data.Split(
                torch.cat([whole.test.images[:20], whole.train.images[:3]]),
                torch.cat([whole.test.labels[:20], whole.train.labels[:3]]),
            ),
        }
    )
    rows = near_duplicate_rows(twins)
    assert {20, 21, 22} <= set(rows["test"])
    assert {near.split: near.found for near in near_duplicates(twins)} == {
        split: len(found) for split, found in rows.items()
    }
