"""One class for a configuration over its seeds: estimates, rows, tables, and answers by image."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from convscope.data.dataset import Dataset
from convscope.data.loading import load
from convscope.recipe.labels import label_of
from convscope.recipe.networks import ConvNet, Model, SoftmaxRegression
from convscope.recipe.recipe import Recipe
from convscope.report.configurations import configurations_table
from convscope.statistics import pooled
from convscope.statistics.answers import losses_by_image, right_by_image
from convscope.statistics.configuration import Configuration, configurations, grouped
from convscope.training.evidence import missing_evidence
from convscope.training.main_path import train
from convscope.training.runs import Run
from convscope.training.tensor_files import read_tensors, write_tensors

Maker = Callable[..., Run]
A, B = ConvNet(4, 2), ConvNet(8, 2)


@pytest.fixture(scope="module")
def data(micro: Path) -> Dataset:
    return load(micro)


def model_of(run: Run) -> Model:
    return run.recipe.model


@pytest.fixture
def runs(make_run: Maker) -> list[Run]:
    """B with one seed, A with two, and runs that do not count."""
    return [
        make_run(B, [1.0, 0.9], [1.0, 0.9], accuracy=0.7, sd=0.5),
        make_run(A, [0.8, 0.6], [1.0, 1.25], accuracy=0.5, sd=0.5, seed=3, lr=2e-3),
        make_run(A, [0.9, 0.7], [1.5, 1.0], accuracy=0.6, sd=0.25, seed=1, lr=2e-3),
        *(
            make_run(A, [9.0], [9.0], seed=5 + i, status=status)
            for i, status in enumerate(("diverged", "out_of_memory", "failed"))
        ),
    ]


@pytest.fixture
def found(runs: list[Run], data: Dataset) -> dict[Model, Configuration]:
    return configurations(grouped(runs, model_of), data, label_of)


def test_finished_runs_are_grouped_in_their_order(runs: list[Run]) -> None:
    groups = grouped(runs, model_of)
    assert list(groups) == [B, A] and groups == {B: runs[:1], A: runs[1:3]}
    assert grouped(runs[3:], model_of) == {} == grouped([], model_of)


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_runs_that_missed_a_split_do_not_count(runs: list[Run], split: str) -> None:
    """Pilots see validation alone."""
    rows = tuple(
        {key: value for key, value in row.items() if not key.startswith(split)}
        for row in runs[0].rows
    )
    assert list(grouped([replace(runs[0], rows=rows), runs[1]], model_of)) == [A]


def test_no_groups_give_no_configurations(data: Dataset) -> None:
    assert configurations({}, data, label_of) == {}


def test_estimates_are_those_of_all_groups_together(
    runs: list[Run], found: dict[Model, Configuration], data: Dataset
) -> None:
    groups: dict[Model, list[Run]] = {B: runs[:1], A: runs[1:3]}
    for model, one in found.items():
        for split in ("train", "val", "test"):
            best, last = (pooled.losses(groups, data, split, when) for when in ("best", "last"))
            assert getattr(one, f"{split}_loss") == best[model]
            assert getattr(one, f"{split}_last") == last[model]
        for split in ("val", "test"):
            accuracy = pooled.accuracies(groups, data, split)[model]
            assert getattr(one, f"{split}_accuracy") == accuracy
    a, b = found[A], found[B]
    assert a.val_loss.mean == 1.0 and a.val_last.mean == 1.125 and a.train_loss.mean == 0.75
    assert a.gap == 0.25 and a.gap_last == pytest.approx(0.475)
    assert a.test_accuracy.mean == pytest.approx(0.55) == a.train_accuracy
    # one seed has the others' spread: of the two seeds of A
    assert b.test_accuracy.seed_sd == a.test_accuracy.seed_sd == pytest.approx(0.1 / 2**0.5)
    assert a.val_loss.sampling_se == pytest.approx(0.5 / len(data.val) ** 0.5)
    sampling = (0.6 * 0.5 / len(data.test)) ** 0.5
    assert a.test_accuracy.sampling_se == pytest.approx(sampling)


def test_what_a_configuration_says_of_its_runs(
    runs: list[Run], found: dict[Model, Configuration]
) -> None:
    a = found[A]
    assert (a.runs, a.recipe, a.model, a.convnet) == (tuple(runs[1:3]), runs[1].recipe, A, A)
    assert (a.label, a.rate, a.verdict, a.chapters) == (label_of(A), 2e-3, "", "")
    assert (a.filters, a.parameters, a.flops) == (12, 1200, 4000)
    assert a.best_epochs == "1, 2" and a.curve("val") == [1.25, 1.125]
    assert a.run is runs[2]  # of equal loss, the lower seed
    best = [row for row in a.curve_rows() if row["best"]]
    assert len(a.curve_rows()) == 6 and len(best) == 1
    assert (best[0]["split"], best[0]["epoch"], best[0]["loss"]) == ("validation", 2, 1.125)
    seldom = [
        replace(run, rows=tuple({**row, "epoch": 3 * row["epoch"]} for row in run.rows))
        for run in a.runs
    ]
    rows = replace(a, runs=tuple(seldom)).curve_rows()  # evaluated after epochs 3 and 6
    assert [row["epoch"] for row in rows] == [3, 6] * 3 and seldom[0].epochs == 6
    softmax = replace(a, runs=(replace(runs[1], recipe=Recipe(model=SoftmaxRegression())),))
    with pytest.raises(AssertionError):
        _ = softmax.convnet


def test_configurations_are_equal_only_to_themselves(found: dict[Model, Configuration]) -> None:
    a = found[A]
    assert a == a and a != replace(a) and len({a: 1, replace(a): 2}) == 2


def test_rows_are_plain_json(found: dict[Model, Configuration]) -> None:
    for one in found.values():
        row, numbers, point = one.row(), one.numbers(), one.point()
        assert json.loads(json.dumps([row, numbers, point], allow_nan=False))
        e = one.test_accuracy
        assert row["interval"] == e.high - e.mean
        assert numbers["test_accuracy_interval"] == [e.low, e.high]
        assert numbers["runs"] == [run.id for run in one.runs]
        assert (point["low"], point["high"]) == (max(0, e.low), min(1, e.high))


def test_a_table_has_a_row_per_configuration(found: dict[Model, Configuration]) -> None:
    def seeds(one: Configuration) -> dict[str, Any]:
        return {"x": len(one.runs)} if one is found[A] else {}

    table = configurations_table("t", "T", found.values(), [("x", "x", "int")], seeds, "More.")
    assert [key for key, *_ in table.columns[:3]] == ["network", "x", "parameters"]
    assert table.rows[1]["x"] == 2 and "x" not in table.rows[0]
    assert table.caption.startswith("More. Means over seeds")
    plain = configurations_table("t", "T", found.values())
    assert plain.rows == [one.row() for one in found.values()]
    assert {key for key, *_ in plain.columns} == set(plain.rows[0])


# --- answers by image


@pytest.fixture(params=["natural", "per-sample"])
def trained(request: pytest.FixtureRequest, micro: Path, data: Dataset, tmp_path: Path) -> Run:
    model = ConvNet(4, 1, order=request.param)
    return train(Recipe(data=str(micro), model=model, epochs=2, batch=8), tmp_path, data=data)


def test_answers_by_image_are_those_that_were_recorded(trained: Run, data: Dataset) -> None:
    answers = right_by_image(trained, data)
    assert set(answers.tolist()) <= {0.0, 1.0} and len(answers) == len(data.test)
    assert answers.mean() == pytest.approx(trained.best["test_accuracy"], abs=1e-12)
    weights = trained.path / "best.safetensors"
    kept, metadata = read_tensors(weights)
    without = {key: value for key, value in kept.items() if key.startswith("net.")}
    write_tensors(weights, without, metadata)  # as earlier versions wrote it
    early = replace(trained, files={})
    assert (answers == right_by_image(early, data)).all()
    (one,) = configurations({"a": [early]}, data, str).values()
    assert (one.right[0] == answers).all() and one.right is one.right  # read once


def test_answers_are_empty_where_weights_cannot_be_read(trained: Run, data: Dataset) -> None:
    weights = trained.path / "best.safetensors"
    whole = weights.read_bytes()
    kept, metadata = read_tensors(weights)
    early = replace(trained, files={})

    def missing(run: Run) -> str:
        with missing_evidence() as notes:
            assert len(right_by_image(run, data)) == len(right_by_image(run, data)) == 0
        (note,) = notes  # said once
        assert note.startswith(f"right answers of run {run.id}: ") and str(run.path) not in note
        return note

    write_tensors(weights, {**kept, "right.test": kept["right.test"][1:]}, metadata)
    assert missing(trained).endswith("best.safetensors was altered")
    assert "booleans are not packed" in missing(early)
    weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert missing(trained).endswith("best.safetensors was altered")
    assert missing(early).endswith("best.safetensors: the content does not agree with its hash")
    with missing_evidence() as notes:
        assert len(losses_by_image(trained, "test")) == 0
        assert len(losses_by_image(trained, "test", "last")) == len(data.test)  # another file
    assert notes == [f"losses by image of run {trained.id}: best.safetensors was altered"]
    weights.unlink()
    assert missing(trained).endswith("best.safetensors is missing")


def test_answers_are_empty_without_the_device(trained: Run, data: Dataset) -> None:
    """The report is written again on a machine without it."""
    weights = trained.path / "best.safetensors"
    kept, metadata = read_tensors(weights)
    without = {key: value for key, value in kept.items() if key.startswith("net.")}
    elsewhere = replace(trained, recipe=replace(trained.recipe, device="cuda:7"), files={})
    assert len(right_by_image(elsewhere, data)) == len(data.test)  # they are recorded
    write_tensors(weights, without, metadata)
    assert len(right_by_image(elsewhere, data)) == 0
