"""The loop against plain torch: losses, evaluation, schedules, resuming, noise, augmentation."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

import convscope.training.tensors
from convscope import data
from convscope.data.dataset import Dataset, Split
from convscope.errors import UserError
from convscope.models.building import build
from convscope.recipe.networks import ConvNet, SoftmaxRegression
from convscope.recipe.recipe import Recipe
from convscope.training import augmentation as augment
from convscope.training.evaluation import evaluate_splits
from convscope.training.loop import fit
from convscope.training.main_path import train
from convscope.training.metrics import unpacked
from convscope.training.optimisers import learning_rate, optimiser
from convscope.training.runs import best_row
from convscope.training.state import RIGHT, Row, State
from convscope.training.tensor_files import read_tensors, write_tensors
from convscope.training.tensors import (
    derived_seed,
    noisy,
    pixel_statistics,
    stratified_subset,
    tensors_key,
    to_device,
)

SMALL = ConvNet(width=4, depth=2)


@pytest.fixture(scope="module")
def loaded(cifar_slice: Path) -> Dataset:
    """The slice, cut to 310 training, 60 validation and 100 test images: float64 is slow."""
    whole = data.load(cifar_slice)
    parts = {"train": whole.train, "val": whole.val, "test": whole.test}
    counts = {"train": 310, "val": 60, "test": 100}
    return replace(
        whole,
        **{
            name: Split(part.images[: counts[name]], part.labels[: counts[name]])
            for name, part in parts.items()
        },
    )


def figures(row: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in row.items() if "seconds" not in key}


def run(
    loaded: Dataset, recipe: Recipe, resume: State | None = None
) -> tuple[nn.Module, list[Row], list[State], str]:
    tensors = to_device(loaded, recipe)
    net = build(recipe.model, tensors.in_shape, tensors.num_classes, recipe.seed)
    rows: list[Row] = []
    states: list[State] = []
    status = fit(
        net, tensors, recipe, lambda row, state: (rows.append(row), states.append(state)), resume
    )
    return net, rows, states, status


# --- one run against a loop written here


def plain_loop(loaded: Dataset, recipe: Recipe) -> list[dict[str, float]]:
    """The documented training in plain torch, with full-batch evaluation; nothing of ours."""
    dtype = torch.float64 if recipe.precision == "float64" else torch.float32
    pixels = loaded.train.images.permute(0, 2, 3, 1).reshape(-1, 3).numpy().astype(np.float64)
    mean = torch.tensor(pixels.mean(0)).float().reshape(3, 1, 1)
    scale = torch.tensor(1 / pixels.std(0)).float().reshape(3, 1, 1)
    splits = {"train": loaded.train, "val": loaded.val, "test": loaded.test}
    x = {
        name: ((split.images.float() - mean) * scale).to(dtype).contiguous()
        for name, split in splits.items()
    }
    y = {name: split.labels for name, split in splits.items()}

    net = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(4, 8, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(8 * 64, 10),
    ).to(dtype)
    drawn = build(recipe.model, (3, 32, 32), 10, recipe.seed).to(dtype).state_dict().values()
    net.load_state_dict(dict(zip(net.state_dict(), drawn, strict=True)))
    groups = [
        {
            "params": [p for p in net.parameters() if p.ndim > 1],
            "weight_decay": recipe.weight_decay,
        },
        {"params": [p for p in net.parameters() if p.ndim == 1], "weight_decay": 0.0},
    ]
    kinds: dict[str, Any] = {
        "sgd": lambda: torch.optim.SGD(groups, lr=1, momentum=recipe.momentum, nesterov=True),
        "adam": lambda: torch.optim.Adam(groups, lr=1),
        "adamw": lambda: torch.optim.AdamW(groups, lr=1),
    }
    optimizer = kinds[recipe.optimizer]()

    count = len(y["train"])
    batches = -(-count // recipe.batch)
    rows, step = [], 0
    for epoch in range(1, recipe.epochs + 1):
        seed = int.from_bytes(
            hashlib.sha256(repr((recipe.seed, epoch)).encode()).digest()[:7], "big"
        )
        order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
        for index in torch.tensor_split(order, batches):
            for group in optimizer.param_groups:
                group["lr"] = (
                    recipe.lr * 0.5 * (1 + math.cos(math.pi * step / (recipe.epochs * batches)))
                )
            step += 1
            optimizer.zero_grad()
            loss = F.cross_entropy(
                net(x["train"][index]), y["train"][index], label_smoothing=recipe.label_smoothing
            )
            loss.backward()
            optimizer.step()
        row = {}
        with torch.no_grad():
            for name in splits:
                out = net(x[name])
                losses = -out.log_softmax(1)[torch.arange(len(out)), y[name]].double()
                row[f"{name}_loss"] = losses.mean().item()
                row[f"{name}_loss_sd"] = losses.std().item()
                row[f"{name}_accuracy"] = (out.argmax(1) == y[name]).double().mean().item()
        rows.append(row)
    return rows


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize(
    ("optimizer", "precision", "lr", "decay", "smoothing"),
    [
        ("adam", "float64", 3e-3, 0.0, 0.0),
        ("adam", "float64", 3e-3, 0.01, 0.1),
        ("adamw", "float64", 3e-3, 0.1, 0.0),
        ("sgd", "float64", 0.02, 0.01, 0.1),
        ("adam", "float32", 1e-3, 0.0, 0.0),
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
    answers = unpacked(right[RIGHT], len(tensors.labels["test"]))
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
        (
            "adamw",
            "bfloat16",
            "channels_last",
            "batch",
            {"weight_decay": 0.1, "schedule": "cosine", "limit": 200},
        ),
        ("adamw", "float64", "channels_last", "group", {"label_smoothing": 0.1}),
        (
            "muon",
            "float32",
            "contiguous",
            "none",
            {"lr": 0.02, "weight_decay": 0.1, "schedule": "linear"},
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
    loaded: Dataset,
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
    _, rows, states, _ = run(loaded, recipe)
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
            loaded, recipe, State(stop, read_tensors(tmp_path / "state")[0])
        )
        assert status == "finished"
        assert [figures(row) for row in later] == [figures(row) for row in rows[stop:]]
        assert after[-1].tensors.keys() == states[-1].tensors.keys()
        assert [
            name
            for name, value in states[-1].tensors.items()
            if not torch.equal(value, after[-1].tensors[name])
        ] == []


# --- data on the device


def test_normalisation_gives_mean_0_and_standard_deviation_1(loaded: Dataset) -> None:
    recipe = Recipe(precision="float64")
    x = to_device(loaded, recipe).inputs("train", slice(None))
    assert x.dtype == torch.float64 and x.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(
        x.mean((0, 2, 3)), torch.zeros(3, dtype=torch.float64), atol=1e-6, rtol=0
    )
    torch.testing.assert_close(
        x.std((0, 2, 3), correction=0), torch.ones(3, dtype=torch.float64), atol=1e-6, rtol=0
    )


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float64"])
@pytest.mark.parametrize("resident_bytes", [600_000_000, 0])
def test_inputs_are_the_normalised_images_in_any_order(
    loaded: Dataset,
    monkeypatch: pytest.MonkeyPatch,
    layout: str,
    precision: str,
    resident_bytes: int,
) -> None:
    monkeypatch.setattr(
        convscope.training.tensors, "RESIDENT_BYTES", resident_bytes
    )  # too large a set is normalised a batch at a time
    recipe = Recipe(precision=precision, layout=layout)
    tensors = to_device(loaded, recipe)
    index = torch.tensor([5, 0, 309, 5])
    memory = torch.channels_last if layout == "channels_last" else torch.contiguous_format
    for split in ("train", "val", "test"):
        images = getattr(loaded, split).images
        for rows in (index % len(images), slice(3, 9), slice(len(images) - 2, len(images))):
            expected = ((images[rows].float() - tensors.mean) * tensors.scale).to(
                getattr(torch, precision)
            )
            x = tensors.inputs(split, rows)
            assert torch.equal(x, expected) and x.dtype == expected.dtype
            assert x.is_contiguous(memory_format=memory)
        assert tensors.count(split) == len(images) and torch.equal(
            tensors.labels[split], getattr(loaded, split).labels
        )


@pytest.mark.parametrize("shape", [(3, 2, 1, 1), (251, 3, 5, 7), (2, 1, 96, 96)])
@pytest.mark.parametrize("lowest", [0, 255])
def test_pixel_statistics_are_those_of_exact_sums(shape: tuple[int, ...], lowest: int) -> None:
    images = torch.randint(lowest, 256, shape, generator=torch.Generator().manual_seed(0)).byte()
    mean, sd = pixel_statistics(images)
    channels = images.transpose(0, 1).flatten(1).double()
    assert torch.allclose(mean, channels.mean(1), rtol=1e-14) and torch.allclose(
        sd, channels.std(1, correction=0), rtol=1e-12
    )


def test_pixel_statistics_of_cifar10_are_the_published_ones(cifar_slice: Path) -> None:
    mean, sd = pixel_statistics(data.load("cifar10", val=0, verify=False).train.images)
    assert (mean / 255).tolist() == pytest.approx([0.49139968, 0.48215841, 0.44653091], abs=1e-8)
    assert (sd / 255).tolist() == pytest.approx([0.24703223, 0.24348513, 0.26158784], abs=1e-8)


@given(st.lists(st.integers(0, 4), min_size=20, max_size=200), st.data())
def test_a_stratified_subset_has_each_class_with_its_share(
    drawn: list[int], pick: st.DataObject
) -> None:
    labels = torch.tensor([*range(5), *drawn])
    count = pick.draw(st.integers(1, len(labels)))
    chosen = stratified_subset(labels, count, seed=1)
    assert len(chosen) == count == len(set(chosen.tolist())) and chosen.tolist() == sorted(
        chosen.tolist()
    )
    shares = torch.bincount(labels, minlength=5).double() * count / len(labels)
    assert (torch.bincount(labels[chosen], minlength=5) - shares).abs().max() < 1
    assert torch.equal(chosen, stratified_subset(labels, count, seed=1))


def test_label_noise_replaces_its_share_once() -> None:
    labels = torch.arange(50_000) % 10
    recipe = Recipe(label_noise=0.3, seed=2)
    drawn = noisy(labels, 10, recipe)
    changed = (drawn != labels).double().mean().item()
    assert changed == pytest.approx(
        0.3 * 0.9, abs=4 * math.sqrt(0.27 * 0.73 / 50_000)
    )  # one drawn class of ten is the old one
    assert torch.bincount(drawn, minlength=10).min() > 4_700
    assert torch.equal(drawn, noisy(labels, 10, recipe)) and not torch.equal(
        drawn, noisy(labels, 10, replace(recipe, seed=3))
    )
    assert torch.equal(noisy(labels, 10, replace(recipe, label_noise=0.0)), labels)


def test_only_training_labels_are_noisy(loaded: Dataset) -> None:
    tensors = to_device(loaded, Recipe(label_noise=1.0))
    assert torch.equal(tensors.labels["val"], loaded.val.labels) and torch.equal(
        tensors.labels["test"], loaded.test.labels
    )
    assert not torch.equal(tensors.labels["train"], loaded.train.labels)


def test_tensors_are_shared_only_by_recipes_that_may_share_them() -> None:
    base = tensors_key(Recipe())
    assert base == tensors_key(Recipe(seed=1, lr=0.1, model=SMALL, epochs=1, batch=1))
    for other in (
        Recipe(val=0.2),
        Recipe(split_seed=1),
        Recipe(limit=10),
        Recipe(label_noise=0.1),
        Recipe(data="x"),
        Recipe(size=8),
    ):
        assert tensors_key(other) != base
    assert tensors_key(Recipe(label_noise=0.1)) != tensors_key(Recipe(label_noise=0.1, seed=1))


def test_data_that_were_split_otherwise_than_the_recipe_says_are_refused(
    loaded: Dataset, cifar_slice: Path, tmp_path: Path
) -> None:
    """A run is a pure function of its recipe, so of no split that the recipe does not name."""
    recipe = Recipe(data=str(cifar_slice), model=SMALL, epochs=1, evaluate=("val",))
    run = train(recipe, tmp_path / "a")
    other = data.load(cifar_slice, val=0.5)
    with pytest.raises(UserError, match="val"):
        assert (
            train(recipe, tmp_path / "b", data=other).rows[0]["val_loss"] == run.rows[0]["val_loss"]
        )


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


# --- augmentation


def pictures(
    count: int = 64, height: int = 9, width: int = 12, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Every pixel of an image is another number, never 0, that bfloat16 can hold."""
    return (
        (
            torch.arange(1, height * width + 1).reshape(1, 1, height, width)
            + 128 * torch.arange(2).reshape(1, 2, 1, 1)
        )
        .expand(count, -1, -1, -1)
        .to(dtype)
        .clone()
    )


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
def test_augmentation_repeats_with_its_generator_and_keeps_form(
    dtype: torch.dtype, memory: torch.memory_format
) -> None:
    x = pictures(dtype=dtype).contiguous(memory_format=memory)
    for name, change in (
        ("flip", augment.flip),
        ("crop", lambda x, g: augment.crop(x, 3, g)),
        ("cutout", lambda x, g: augment.cutout(x, 4, g)),
    ):
        before = x.clone()
        one, same, other = (change(x, generator(seed)) for seed in (1, 1, 2))
        assert one.shape == x.shape and one.dtype == dtype, name
        assert torch.equal(one, same) and not torch.equal(one, other) and torch.equal(x, before), (
            name
        )


def test_a_flip_mirrors_about_half_of_the_images() -> None:
    x = pictures(400)
    out = augment.flip(x, generator())
    mirrored = [torch.equal(a, b.flip(-1)) for a, b in zip(out, x, strict=True)]
    kept = [torch.equal(a, b) for a, b in zip(out, x, strict=True)]
    assert all(a != b for a, b in zip(mirrored, kept, strict=True)) and 160 <= sum(mirrored) <= 240


@pytest.mark.parametrize(("pixels", "mode"), [(1, "reflect"), (4, "reflect"), (10, "constant")])
def test_a_crop_is_one_of_the_windows_of_the_padded_image(pixels: int, mode: str) -> None:
    x = pictures(300, 9, 12)
    padded = F.pad(x[:1], (pixels,) * 4, mode=mode)[0]
    windows = {
        padded[:, i : i + 9, j : j + 12].numpy().tobytes(): (i, j)
        for i in range(2 * pixels + 1)
        for j in range(2 * pixels + 1)
    }
    found = Counter(
        windows[image.contiguous().numpy().tobytes()]
        for image in augment.crop(x, pixels, generator())
    )
    for axis in (
        (0, 1) if mode == "reflect" else ()
    ):  # every offset occurs, both axes on their own; windows in the padding look alike
        assert {place[axis] for place in found} == set(range(2 * pixels + 1))
    assert len(found) > 2 * pixels + 1


@pytest.mark.parametrize("side", [1, 4, 5])
def test_cutout_sets_one_square_to_zero(side: int) -> None:
    x = pictures(500, 9, 12)
    out = augment.cutout(x, side, generator())
    centres = set()
    for before, after in zip(x, out, strict=True):
        hit = after == 0
        assert torch.equal(after[~hit], before[~hit]) and torch.equal(hit[0], hit[1])
        rows, columns = (
            hit[0].any(1).nonzero().flatten().tolist(),
            hit[0].any(0).nonzero().flatten().tolist(),
        )
        assert (
            hit[0].sum() == len(rows) * len(columns)
            and 1 <= len(rows) <= side
            and 1 <= len(columns) <= side
        )
        assert rows == list(range(rows[0], rows[-1] + 1)) and columns == list(
            range(columns[0], columns[-1] + 1)
        )
        assert len(rows) == side or rows[0] == 0 or rows[-1] == 8
        assert len(columns) == side or columns[0] == 0 or columns[-1] == 11
        centres.add((rows[0], columns[0]))
    assert {row for row, _ in centres} >= set(range(9 - side)) and {
        column for _, column in centres
    } >= set(range(12 - side))
