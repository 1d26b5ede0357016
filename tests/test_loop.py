"""The loop against plain torch: losses, evaluation, schedules, resuming, ends."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from fitting import SMALL, cut, figures, plain_loop, run
from hypothesis import given
from hypothesis import strategies as st

from convscope import data
from convscope.data.dataset import Dataset, Split
from convscope.errors import UserError
from convscope.models.building import build
from convscope.recipe.networks import ConvNet, SoftmaxRegression
from convscope.recipe.recipe import Recipe
from convscope.training.evaluation import evaluate_splits
from convscope.training.loop import fit
from convscope.training.metrics import unpacked
from convscope.training.optimisers import learning_rate, optimiser
from convscope.training.runs import best_row
from convscope.training.state import RIGHT, State
from convscope.training.tensor_files import read_tensors, write_tensors
from convscope.training.tensors import derived_seed, stratified_subset, to_device


@pytest.fixture(scope="module")
def loaded(cifar_slice: Path) -> Dataset:
    return cut(cifar_slice)


@pytest.fixture(scope="module")
def small(loaded: Dataset) -> Dataset:
    """Of each image the middle 16×16 pixels: a quarter of the work."""

    def middle(split: Split) -> Split:
        return Split(split.images[..., 8:24, 8:24].contiguous(), split.labels)

    return replace(
        loaded, train=middle(loaded.train), val=middle(loaded.val), test=middle(loaded.test)
    )


# --- one run against a plain loop


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize(
    ("optimizer", "precision", "lr", "decay", "smoothing"),
    [
        pytest.param("adam", "float64", 3e-3, 0.0, 0.0, marks=pytest.mark.slow),
        ("adam", "float64", 3e-3, 0.01, 0.1),
        pytest.param("adamw", "float64", 3e-3, 0.1, 0.0, marks=pytest.mark.slow),
        pytest.param("sgd", "float64", 0.02, 0.01, 0.1, marks=pytest.mark.slow),
        pytest.param("adam", "float32", 1e-3, 0.0, 0.0, marks=pytest.mark.slow),
        ("sgd", "float32", 0.01, 0.01, 0.0),
    ],
)
def test_a_run_is_plain_torch(
    loaded: Dataset,
    layout: str,
    optimizer: str,
    precision: str,
    lr: float,
    decay: float,
    smoothing: float,
) -> None:
    recipe = Recipe(
        model=SMALL,
        epochs=2,
        batch=50,
        optimizer=optimizer,
        precision=precision,
        lr=lr,
        weight_decay=decay,
        schedule="cosine",
        label_smoothing=smoothing,
        layout=layout,
        seed=3,
    )
    _, rows, _, status = run(loaded, recipe)
    expected = plain_loop(loaded, recipe)
    assert status == "finished" and [row["epoch"] for row in rows] == [1, 2]
    tolerance = (
        1e-9 if precision == "float64" else 2e-5
    )  # float32: the kernels of the two layouts round differently
    for row, want in zip(rows, expected, strict=True):
        for name in ("train", "val", "test"):
            for key in (f"{name}_loss", f"{name}_loss_sd"):
                assert row[key] == pytest.approx(want[key], rel=tolerance), key
            count = len(getattr(loaded, name))
            wrong = 0 if precision == "float64" else 1 / count
            assert row[f"{name}_accuracy"] == pytest.approx(
                want[f"{name}_accuracy"], abs=wrong + 1e-12
            )


def test_batches_show_every_image_once_and_none_is_small(loaded: Dataset) -> None:
    order = torch.randperm(1080, generator=torch.Generator().manual_seed(derived_seed(0, 1)))
    parts = order.tensor_split(math.ceil(1080 / 64))
    assert sorted(torch.cat(parts).tolist()) == list(range(1080))
    assert {len(part) for part in parts} == {63, 64}
    assert (
        derived_seed(0, 1) != derived_seed(1, 1) != derived_seed(1, 0)
        and derived_seed(0, 1) < 2**56
    )


def test_the_same_seed_gives_the_same_bits_and_another_other_ones(loaded: Dataset) -> None:
    recipe = Recipe(model=SMALL, epochs=1, flip=True, crop=2, cutout=6)
    (_, rows, states, _), (_, again, states2, _), (_, other, _, _) = (
        run(loaded, replace(recipe, seed=seed)) for seed in (0, 0, 1)
    )
    assert figures(rows[0]) == figures(again[0]) != figures(other[0])
    assert all(torch.equal(states[0].tensors[k], states2[0].tensors[k]) for k in states[0].tensors)


def test_evaluation_is_a_full_batch_in_eval_mode(loaded: Dataset) -> None:
    recipe = Recipe(model=replace(SMALL, norm="batch"), epochs=1, precision="float64")
    net, rows, _, _ = run(loaded, recipe)
    tensors = to_device(loaded, recipe)
    with torch.no_grad():
        for name, labels in tensors.labels.items():
            logits = net.eval()(tensors.inputs(name, slice(None)))
            assert rows[0][f"{name}_loss"] == pytest.approx(
                F.cross_entropy(logits, labels).item(), rel=1e-12
            )
            assert (
                rows[0][f"{name}_accuracy"] == (logits.argmax(1) == labels).double().mean().item()
            )
    net.train()
    expected = {key: value for key, value in figures(rows[0]).items() if key not in ("epoch", "lr")}
    figures_again, right = evaluate_splits(net, tensors, recipe)
    assert figures_again == expected
    answers = unpacked(right[f"{RIGHT}.test"], len(tensors.labels["test"]))
    assert answers.double().mean().item() == rows[0]["test_accuracy"]
    assert torch.equal(
        answers, net.eval()(tensors.inputs("test", slice(None))).argmax(1) == tensors.labels["test"]
    )
    net.train()
    assert net.training


def test_a_sample_of_the_training_images_can_be_evaluated(loaded: Dataset) -> None:
    recipe = Recipe(model=SMALL, epochs=2, precision="float64", train_sample=37)
    net, rows, _, _ = run(loaded, recipe)
    tensors = to_device(loaded, recipe)
    keep = stratified_subset(tensors.labels["train"], 37, recipe.split_seed)
    with torch.no_grad():
        logits = net.eval()(tensors.inputs("train", keep))
    labels = tensors.labels["train"][keep]
    assert rows[1]["train_loss"] == pytest.approx(F.cross_entropy(logits, labels).item(), rel=1e-12)
    assert rows[1]["train_accuracy"] == (logits.argmax(1) == labels).double().mean().item()
    _, whole, _, _ = run(loaded, replace(recipe, train_sample=None))
    _, more, _, _ = run(loaded, replace(recipe, train_sample=10**6))
    assert figures(whole[1]) == figures(more[1])
    assert all(
        figures(whole[1])[key] == figures(rows[1])[key]
        for key in ("val_loss", "test_loss", "test_accuracy")
    )


def test_only_the_splits_asked_for_are_evaluated(loaded: Dataset, cifar_slice: Path) -> None:
    _, rows, _, _ = run(loaded, Recipe(model=SMALL, epochs=1, evaluate=("val",)))
    assert {key.partition("_")[0] for key in rows[0] if key.endswith("loss")} == {"val"}
    _, rows, _, _ = run(data.load(cifar_slice, val=0), Recipe(model=SMALL, epochs=1, val=0))
    assert {key.partition("_")[0] for key in rows[0] if key.endswith("loss")} == {"train", "test"}
    assert (
        best_row([{"epoch": 1, "train_loss": 0.1}, {"epoch": 2, "train_loss": 0.3}])["epoch"] == 2
    )


# --- schedules and optimisers


def test_schedules_at_their_corners() -> None:
    def rates(name: str, steps: int = 100) -> list[float]:
        recipe = Recipe(lr=0.5, schedule=name)
        return [learning_rate(recipe, step, steps) for step in range(steps + 1)]

    assert rates("constant") == [0.5] * 101
    cosine = rates("cosine")
    assert (cosine[0], cosine[50], cosine[100]) == pytest.approx((0.5, 0.25, 0.0), abs=1e-15)
    assert cosine[33] == pytest.approx(0.25 * (1 + math.cos(math.pi * 0.33)), rel=1e-14)
    assert cosine == sorted(cosine, reverse=True)
    onecycle = rates("onecycle")
    assert (onecycle[0], onecycle[25], onecycle[100]) == pytest.approx((0.02, 0.5, 0.0), abs=1e-15)
    assert np.diff(onecycle[:26]) == pytest.approx(0.48 / 25)  # a straight rise …
    assert np.diff(onecycle[25:]) == pytest.approx(-0.5 / 75)  # … and a straight fall
    assert np.diff(rates("linear")) == pytest.approx(-0.5 / 100) and rates("linear")[100] == 0
    assert [
        learning_rate(Recipe(lr=0.5, schedule=name), 0, 1) for name in ("constant", "cosine")
    ] == [0.5, 0.5]


def test_a_row_tells_the_rate_of_its_last_step(loaded: Dataset) -> None:
    recipe = Recipe(
        model=SMALL, epochs=3, batch=31, schedule="onecycle", lr=0.01, evaluate=("val",)
    )
    _, rows, _, _ = run(loaded, recipe)
    assert [row["lr"] for row in rows] == [
        learning_rate(recipe, 10 * epoch - 1, 30) for epoch in (1, 2, 3)
    ]


@pytest.mark.parametrize(
    ("optimizer", "decoupled"), [("sgd", False), ("adam", False), ("adamw", True)]
)
def test_weight_decay_acts_on_weights_alone(optimizer: str, decoupled: bool) -> None:
    net = build(ConvNet(width=4, depth=1, norm="batch", hidden=(6,)), (3, 8, 8), 4)
    for p in net.parameters():
        p.data.add_(0.5)
        p.grad = torch.zeros_like(p)
    before = {name: p.detach().clone() for name, p in net.named_parameters()}
    optimiser(net, Recipe(optimizer=optimizer, momentum=0.0, lr=0.1, weight_decay=0.2)).step()
    for name, p in net.named_parameters():
        if before[name].ndim == 1:
            assert torch.equal(p, before[name]), name  # biases, and the weights of normalisation
        elif optimizer == "sgd" or decoupled:
            torch.testing.assert_close(p.detach(), before[name] * (1 - 0.1 * 0.2))
        else:  # through Adam's normalisation the first step is lr × the sign of the gradient
            torch.testing.assert_close(
                p.detach(), before[name] - 0.1 * before[name].sign(), rtol=1e-4, atol=1e-4
            )


def test_frozen_parameters_stay(loaded: Dataset) -> None:
    recipe = Recipe(model=SMALL, epochs=1)
    tensors = to_device(loaded, recipe)
    net = build(SMALL, (3, 32, 32), 10)
    frozen = net.get_parameter("blocks.0.convs.0.weight").requires_grad_(False)
    before = frozen.clone()
    fit(net, tensors, recipe, lambda *_: None)
    assert torch.equal(frozen, before)


# --- resuming


@pytest.mark.parametrize(
    ("optimizer", "precision", "layout", "norm", "more"),
    [
        ("sgd", "float32", "channels_last", "batch", {"lr": 0.01}),
        ("sgd", "float32", "contiguous", "none", {"lr": 0.01, "momentum": 0.0}),
        ("adam", "float32", "contiguous", "none", {"schedule": "onecycle"}),
        (
            "adam",
            "bfloat16",
            "channels_last",
            "none",
            {"flip": True, "crop": 3, "cutout": 5, "label_noise": 0.2},
        ),
        pytest.param(
            "adamw",
            "bfloat16",
            "channels_last",
            "batch",
            {"weight_decay": 0.1, "schedule": "cosine", "limit": 200},
            marks=pytest.mark.slow,
        ),
        ("adamw", "float64", "channels_last", "group", {"label_smoothing": 0.1}),
        pytest.param(
            "muon",
            "float32",
            "contiguous",
            "none",
            {"lr": 0.02, "weight_decay": 0.1, "schedule": "linear"},
            marks=pytest.mark.slow,
        ),
        (
            "muon",
            "bfloat16",
            "channels_last",
            "batch",
            {
                "lr": 0.1,
                "flip": True,
                "alternate": True,
                "micro_batch": 24,
                "small_share": 0.5,
                "views": "flip",
            },
        ),
    ],
)
def test_resuming_after_each_epoch_is_identical_to_the_bit(
    small: Dataset,
    tmp_path: Path,
    optimizer: str,
    precision: str,
    layout: str,
    norm: str,
    more: dict[str, Any],
) -> None:
    head = "gap" if "small_share" in more else "flatten"
    model = ConvNet(width=8, depth=2, block_depth=2, skip=True, norm=norm, hidden=(12,), head=head)
    recipe = Recipe(
        model=model,
        epochs=3,
        batch=64,
        optimizer=optimizer,
        precision=precision,
        layout=layout,
        **more,
    )
    _, rows, states, _ = run(small, recipe)
    assert [state.epoch for state in states] == [1, 2, 3]
    kinds = {name.rpartition(".")[2] for name in states[0].tensors if name.startswith("optimizer.")}
    adam = {"exp_avg", "exp_avg_sq", "step"}
    expected = {
        "sgd": {"momentum_buffer"} if recipe.momentum else set(),
        "muon": adam | {"momentum"},
    }
    assert kinds == expected.get(optimizer, adam)
    for stop in (1, 2):
        write_tensors(tmp_path / "state", states[stop - 1].tensors, {})
        _, later, after, status = run(
            small, recipe, State(stop, read_tensors(tmp_path / "state")[0])
        )
        assert status == "finished"
        assert [figures(row) for row in later] == [figures(row) for row in rows[stop:]]
        assert after[-1].tensors.keys() == states[-1].tensors.keys()
        assert [
            name
            for name, value in states[-1].tensors.items()
            if not torch.equal(value, after[-1].tensors[name])
        ] == []


# --- ends


def test_a_rate_that_is_too_high_diverges(loaded: Dataset) -> None:
    recipe = Recipe(
        model=ConvNet(width=4, depth=2, activation="identity"), epochs=4, optimizer="sgd", lr=1e3
    )
    _, rows, _, status = run(loaded, recipe)
    assert status == "diverged" and len(rows) < 4
    assert rows[-1]["train_loss"] is None and rows[-1]["val_loss"] is None
    assert all(row["train_loss"] is not None for row in rows[:-1])


def test_a_batch_larger_than_the_data_is_refused(loaded: Dataset) -> None:
    with pytest.raises(UserError, match=r"batch = 311.* 310 "):
        run(loaded, Recipe(model=SoftmaxRegression(), batch=311))
    assert run(loaded, Recipe(model=SoftmaxRegression(), batch=310, epochs=1))[3] == "finished"


@given(
    st.lists(st.floats(0, 10) | st.none(), min_size=1, max_size=12).filter(any),
    st.randoms(use_true_random=False),
)
def test_the_best_epoch_is_found_without_the_test_columns(
    losses: list[float | None], random: Any
) -> None:
    rows = [
        {
            "epoch": i,
            "val_loss": loss,
            "test_loss": random.random(),
            "test_accuracy": random.random(),
        }
        for i, loss in enumerate(losses, 1)
    ]
    best = best_row(rows)
    assert best["val_loss"] == min(loss for loss in losses if loss is not None)
    assert best["epoch"] == 1 + losses.index(best["val_loss"])
    columns = [(row["test_loss"], row["test_accuracy"]) for row in rows]
    random.shuffle(columns)
    shuffled = [
        {**row, "test_loss": a, "test_accuracy": b}
        for row, (a, b) in zip(rows, columns, strict=True)
    ]
    assert best_row(shuffled)["epoch"] == best["epoch"]
