"""What a run keeps of each image, after which epochs, and what happens where it is damaged."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
import torch.nn.functional as F
from recording import assert_same, blink, figures, interrupted

from convscope import data
from convscope.data.dataset import Dataset
from convscope.errors import UserError
from convscope.recipe.recipe import Recipe
from convscope.training.main_path import train
from convscope.training.metrics import halved
from convscope.training.run_folder import VAL_LOSSES
from convscope.training.runs import Run
from convscope.training.tensor_files import read_tensors, write_tensors
from convscope.training.tensors import to_device
from convscope.training.trained import (
    finished_run,
    image_losses,
    network,
    right_answers,
    validation_history,
)


@pytest.fixture(scope="module")
def recipe(micro: Path) -> Recipe:
    return replace(blink(micro), data=str(micro), epochs=5, lr=0.03)


@pytest.fixture(scope="module")
def loaded(micro: Path) -> Dataset:
    return data.load(micro)


@pytest.fixture(scope="module")
def whole(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return train(recipe, tmp_path_factory.mktemp("whole"))


@pytest.fixture
def copy(whole: Run, tmp_path: Path) -> Run:
    return replace(whole, path=Path(shutil.copytree(whole.path, tmp_path / whole.id)))


def flip(path: Path, place: int = -20) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 4
    path.write_bytes(content)


def asides(folder: Path) -> list[str]:
    """The names of what was set aside."""
    return sorted(
        path.name.split(".set-aside")[0]
        for path in folder.glob("*.set-aside-*")
        if not path.name.endswith(".why")
    )


# --- what is kept


@pytest.mark.parametrize("when", ["best", "last"])
@pytest.mark.parametrize("split", ["val", "test"])
def test_losses_and_answers_by_image_are_those_of_the_weights(
    whole: Run, loaded: Dataset, split: Literal["val", "test"], when: Literal["best", "last"]
) -> None:
    tensors = to_device(loaded, whole.recipe)
    with torch.no_grad():
        logits = network(whole, when, data=loaded)(tensors.inputs(split, slice(None)))
    labels = getattr(loaded, split).labels
    expected = F.cross_entropy(logits, labels, reduction="none")
    losses = image_losses(whole, split, when)
    assert losses is not None and losses.dtype == torch.float32
    assert (losses - expected).abs().le(expected * 2**-11 + 1e-5).all()
    right = right_answers(whole, loaded, split, when)
    assert right is not None and torch.equal(right, logits.argmax(1) == labels)
    row = getattr(whole, when)
    assert right.double().mean().item() == row[f"{split}_accuracy"]
    assert losses.double().mean().item() == pytest.approx(row[f"{split}_loss"], rel=2**-11)


def test_the_history_has_a_row_for_each_row_of_the_log(whole: Run) -> None:
    history = validation_history(whole)
    assert history is not None and history.dtype == torch.float32
    assert len(history) == len(whole.rows) == 5
    for losses, row in zip(history, whole.rows, strict=True):
        assert losses.double().mean().item() == pytest.approx(row["val_loss"], rel=2**-11)
    assert whole.best != whole.last
    for when in ("best", "last"):
        kept = image_losses(whole, "val", when)
        assert kept is not None
        assert torch.equal(history[getattr(whole, when)["epoch"] - 1], kept)


@pytest.mark.parametrize(("evaluate", "kept"), [(("val",), {"val"}), (("train",), set())])
def test_only_what_is_evaluated_is_kept(
    recipe: Recipe, loaded: Dataset, tmp_path: Path, evaluate: tuple[str, ...], kept: set[str]
) -> None:
    run = train(replace(recipe, evaluate=evaluate, epochs=2), tmp_path)
    for split in ("val", "test"):
        assert (image_losses(run, split) is not None) == (split in kept)
        assert (right_answers(run, loaded, split) is not None) == (split in kept)
    assert (validation_history(run) is not None) == ("val" in kept)
    assert (run.path / VAL_LOSSES).exists() == ("val" in kept)


def test_losses_are_rounded_as_the_documentation_says() -> None:
    losses = torch.tensor([0.0, 1e-9, 3e-6, 0.00123, 0.7, 2.302585, 17.3, 6e4, 1e9, torch.inf])
    kept = halved(losses.double()).double()
    inside = losses[:-2].double()
    assert ((kept[:-2] - inside).abs() <= (inside * 2**-11).clamp(min=3e-8)).all()
    assert kept[-2:].tolist() == [65504.0, 65504.0]


def test_a_run_of_an_earlier_version_reads_as_it_did(copy: Run, loaded: Dataset) -> None:
    """Without hashes of its files, losses and history; with right answers on the test images."""
    for name in ("best.safetensors", "checkpoint.safetensors"):
        tensors, metadata = read_tensors(copy.path / name)
        kept = {k: v for k, v in tensors.items() if "losses" not in k and k != "right.val"}
        write_tensors(copy.path / name, kept, metadata)
    (copy.path / VAL_LOSSES).unlink()
    early = replace(copy, files={})
    assert image_losses(early, "test") is validation_history(early) is None
    assert right_answers(early, loaded, "val") is None
    answers = right_answers(early, loaded)
    assert answers is not None and answers.double().mean().item() == early.best["test_accuracy"]


# --- evaluate_every


def test_evaluating_seldom_trains_the_same_network(
    whole: Run, recipe: Recipe, tmp_path: Path
) -> None:
    rows: list[dict[str, Any]] = []
    run = train(replace(recipe, evaluate_every=3), tmp_path, log=lambda row: rows.append(dict(row)))
    assert [row["epoch"] for row in rows] == [row["epoch"] for row in run.rows] == [3, 5]
    assert figures(run) == [figures(whole)[2], figures(whole)[4]] and run.epochs == 5
    last, all_last = (read_tensors(one.path / "checkpoint.safetensors")[0] for one in (run, whole))
    assert all(torch.equal(value, all_last[name]) for name, value in last.items())
    history, all_history = validation_history(run), validation_history(whole)
    assert history is not None and all_history is not None
    assert torch.equal(history, all_history[[2, 4]])
    assert f"{run.epochs} epochs" in str(run)


def test_a_run_that_is_evaluated_seldom_goes_on_to_the_bit(recipe: Recipe, tmp_path: Path) -> None:
    recipe = replace(recipe, evaluate_every=2)
    expected = train(recipe, tmp_path / "whole")
    folder = interrupted(recipe, tmp_path / "again", 4)
    run = train(recipe, folder.parent)
    assert_same(run, expected)
    assert [row["epoch"] for row in run.rows] == [2, 4, 5]


def test_seconds_are_those_since_the_row_before(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = iter([10.0, 13.0, 14.0, 20.0, 25.0, 27.0, 30.0])
    monkeypatch.setattr("convscope.training.loop.seconds_now", lambda device: next(times))
    run = train(replace(recipe, evaluate_every=3), tmp_path)
    assert [(row["train_seconds"], row["seconds"]) for row in run.rows] == [(3.0, 4.0), (5.0, 7.0)]


# --- damage


@pytest.mark.parametrize(
    "name", ["best.safetensors", "checkpoint.safetensors", VAL_LOSSES, "environment.json"]
)
@pytest.mark.parametrize("fault", ["flipped", "cut", "missing"])
def test_a_finished_run_with_a_damaged_file_is_made_again(
    whole: Run, recipe: Recipe, copy: Run, name: str, fault: str
) -> None:
    path = copy.path / name
    if fault == "flipped":
        flip(path)
    elif fault == "cut":
        path.write_bytes(path.read_bytes()[:-7])
    else:
        path.unlink()
    said: list[str] = []
    assert finished_run(copy.path, said.append) is None
    (line,) = said
    assert str(copy.path) in line and name in line and "set aside" in line
    assert_same(train(recipe, copy.path.parent), whole)
    assert "result.json" in asides(copy.path) and finished_run(copy.path) is not None
    if fault != "missing" and name != "environment.json":
        assert name in asides(copy.path)


def test_reading_a_damaged_file_names_it(copy: Run, loaded: Dataset) -> None:
    reads: dict[str, list[Callable[[], object]]] = {
        "best.safetensors": [
            lambda: image_losses(copy, "val"),
            lambda: right_answers(copy, loaded),
            lambda: network(copy, data=loaded),
        ],
        "checkpoint.safetensors": [
            lambda: image_losses(copy, "test", "last"),
            lambda: network(copy, "last", data=loaded),
        ],
        VAL_LOSSES: [lambda: validation_history(copy)],
    }
    for name, calls in reads.items():
        calls[0]()  # its hash is known now
        flip(copy.path / name)
        for call in calls:
            with pytest.raises(UserError, match=f"{name} was altered"):
                call()


def test_a_torn_row_of_losses_is_trimmed(whole: Run, recipe: Recipe, tmp_path: Path) -> None:
    folder = interrupted(recipe, tmp_path, 3)
    path = folder / VAL_LOSSES
    row = len(path.read_bytes()) // 3
    path.write_bytes(path.read_bytes() + b"?" * (row - 1))  # a row was on its way
    assert_same(train(recipe, tmp_path), whole)
    assert asides(folder) == []


@pytest.mark.parametrize("name", ["best.safetensors", VAL_LOSSES])
def test_an_unfinished_run_notices_damage_before_it_goes_on(
    whole: Run, recipe: Recipe, tmp_path: Path, name: str
) -> None:
    """Else the hash of the damaged file would stand in result.json."""
    folder = interrupted(recipe, tmp_path, 3)
    flip(folder / name)
    seen: list[Any] = []
    assert_same(train(recipe, tmp_path, log=lambda row: seen.append(row["epoch"])), whole)
    assert seen == [1, 2, 3, 4, 5]
    assert asides(folder) == sorted([name, "checkpoint.safetensors"])


def test_a_run_that_an_earlier_version_began_goes_on_without_losses(
    whole: Run, recipe: Recipe, tmp_path: Path
) -> None:
    folder = interrupted(recipe, tmp_path, 2)
    path = folder / "checkpoint.safetensors"
    tensors, metadata = read_tensors(path)
    kept = {k: v for k, v in tensors.items() if not k.startswith(("losses", "right.val"))}
    write_tensors(path, kept, {key: metadata[key] for key in ("epoch", "rows")})
    (folder / VAL_LOSSES).unlink()
    run = train(recipe, tmp_path)
    assert figures(run) == figures(whole) and validation_history(run) is None
    assert json.loads((folder / "result.json").read_text())["files"].keys() == run.files.keys()
    assert image_losses(run, "val", "last") is not None
