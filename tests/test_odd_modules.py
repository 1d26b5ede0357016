"""A user's module with bad manners: right results all the same, or one line that says why not."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import odd_modules
import own_modules
import pytest
import torch
from commands import Cli
from refusing import refused
from torch import nn

from convscope.data import Dataset, load
from convscope.models import build, copied, size_of
from convscope.models.sizes import size_of_module
from convscope.probes import receptive_field
from convscope.recipe import Custom, Recipe
from convscope.training import Row, doubts, evaluate_splits, network, resident, train

SHAPE = (3, 8, 8)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 training, 14 validation and 15 test images of 8×8, in four classes."""
    rng = np.random.default_rng(0)
    y = np.arange(69) % 4
    x = (rng.integers(0, 60, (69, 8, 8, 3)) + 45 * y[:, None, None, None]).astype(np.uint8)
    path = tmp_path_factory.mktemp("images") / "d.npz"
    splits = {"train": slice(40), "val": slice(40, 54), "test": slice(54, None)}
    arrays: dict[str, Any] = {f"x_{name}": x[part] for name, part in splits.items()}
    arrays |= {f"y_{name}": y[part] for name, part in splits.items()}
    np.savez(path, **arrays)
    return path


@pytest.fixture
def data(images: Path, session_cache: Path) -> Dataset:
    return load(images)


@pytest.fixture(autouse=True)
def _said_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doubts, "_told", set())


def recipe_of(name: str, **changes: object) -> Recipe:
    module = name if ":" in name else f"odd_modules:{name}"
    base = Recipe(data="d.npz", model=Custom(module), epochs=3, batch=10, lr=1e-2)
    return replace(base, **changes)


def figures(rows: object) -> list[Row]:
    assert isinstance(rows, tuple)
    return [{key: row[key] for key in row if "seconds" not in key} for row in rows]


# --- results


def test_a_module_that_writes_into_its_input_changes_no_image(
    data: Dataset, tmp_path: Path
) -> None:
    recipe = recipe_of("WritesIntoImages")
    run = train(recipe, tmp_path, data=data)
    tensors = resident(run.recipe, data)
    for split in ("train", "val", "test"):
        fresh = tensors.normalise(getattr(data, split).images)
        assert torch.equal(tensors.inputs(split, slice(None)), fresh), split
    row, _ = evaluate_splits(network(run, "last", data=data), tensors, run.recipe)
    assert row["test_loss"] == pytest.approx(run.last["test_loss"], abs=1e-6)


def test_a_module_that_returns_one_tensor_each_time_is_evaluated_right(
    data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("convscope.training.evaluation.EVAL_BATCH", {"cpu": 5})
    kept = train(recipe_of("OneAnswer"), tmp_path, data=data)
    assert figures(kept.rows) == figures(train(recipe_of("Plain"), tmp_path, data=data).rows)


def test_numpy_and_python_draw_by_the_seed_too(data: Dataset, tmp_path: Path) -> None:
    recipe = recipe_of("DrawsElsewhere")

    def stop(row: Row) -> None:
        if row["epoch"] == 2:
            raise KeyboardInterrupt

    whole = train(recipe, tmp_path / "whole", data=data)
    np.random.rand(3)
    with pytest.raises(KeyboardInterrupt):
        train(recipe, tmp_path / "parts", data=data, log=stop)
    parts = train(recipe, tmp_path / "parts", data=data)
    assert figures(parts.rows) == figures(whole.rows)
    other = train(replace(recipe, seed=1), tmp_path / "whole", data=data)
    assert figures(other.rows) != figures(whole.rows)


def test_what_a_factory_sets_is_put_back(data: Dataset, tmp_path: Path) -> None:
    def state() -> list[object]:
        return [
            *(torch.get_default_dtype(), torch.get_num_threads(), torch.is_grad_enabled()),
            *(torch.are_deterministic_algorithms_enabled(), torch.get_default_device()),
            *(torch.get_float32_matmul_precision(), Path.cwd()),
        ]

    before = state()
    size_of(Custom("odd_modules:sets_everything"), SHAPE, 4)
    assert state() == before
    run = train(recipe_of("sets_everything"), tmp_path, data=data)
    assert state() == before and run.status == "finished"
    weights = network(run, data=data).parameters()
    assert {p.dtype for p in weights} == {torch.float32} and state() == before


def test_attention_and_recurrent_layers_have_their_flops() -> None:
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
    products = 2 * 9 * (16 * 48 + 16 * 16 + 2 * 16 * 32) + 2 * 2 * 9 * 9 * 16
    assert size_of_module(nn.TransformerEncoder(layer, 1), (9, 16)).flops == products
    recurrent = nn.LSTM(5, 7, batch_first=True)
    assert size_of_module(recurrent, (4, 5)).flops == 2 * 4 * 4 * 7 * (5 + 7)


def test_a_copy_computes_by_its_own_weights() -> None:
    net = odd_modules.ByClosure(SHAPE, 4)
    own, x = copied(net), torch.ones(1, *SHAPE)
    with torch.no_grad():
        before = net(x)
        for p in own.parameters():
            p.zero_()
        assert torch.equal(own(x), torch.zeros(1, 4)) and torch.equal(net(x), before)
    assert isinstance(own, odd_modules.ByClosure) and own.call is not net.call
    table = receptive_field(net, SHAPE, check=True)
    assert len(table) == 5 and all(row.agrees for row in table)
    assert len(receptive_field(odd_modules.TrainsForNothing(SHAPE, 4), SHAPE, check=True)) == 5


def test_what_a_callback_raises_is_not_the_networks(data: Dataset, tmp_path: Path) -> None:
    class Enough(Exception):
        pass

    def stop(_row: Row) -> None:
        raise Enough

    with pytest.raises(Enough):
        train(recipe_of("Plain"), tmp_path, data=data, log=stop)


# --- what is said


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("Probabilities", "return the logits"),
        ("DropsAlways", "training=self.training"),
        ("CountsInSecret", "outside its state dict"),
        ("LearnsInPassing", "outside its state dict"),
        ("sets_the_seed", "leave torch.manual_seed out"),
        ("Unregistered", "layers has weights that are not registered"),
        ("Normalised", ""),
        ("TrainsForNothing", ""),
        ("ByClosure", ""),
        ("own_modules:Counting", ""),
        ("own_modules:OwnLazy", ""),
        ("own_modules:Uncopiable", ""),
        ("own_modules:spectral_norm", ""),
    ],
)
def test_doubtful_networks_are_named_once(
    name: str, part: str, data: Dataset, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    recipe = recipe_of(name, epochs=1)
    with caplog.at_level(logging.WARNING, "convscope"):
        for seed in range(2):
            assert train(replace(recipe, seed=seed), tmp_path, data=data).status == "finished"
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == bool(part) and all(part in line and name in line for line in said), said


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("Pair", ["returns tuple for two images, expected 2×4", "return the logits alone"]),
        ("Named", ["returns dict", "return the logits alone"]),
        ("Nothing", ["returns nothing", "return the logits alone"]),
        ("Classes", ["returns int64", "floating-point logits"]),
        ("Squeezed", ["returns 4 for one image, expected 1×4 logits"]),
        ("Detached", ["while training", "does not require grad"]),
        ("SparseGradients", ["while training", "sparse gradients"]),
        ("fixed", ["no parameter to train (all its parameters are fixed)"]),
        ("own_modules:Parameterless", ["no parameter to train (has none)"]),
        ("without_values", ["on the meta device"]),
        ("NoModes", ["cannot be put into evaluation and training mode", "NotImplementedError"]),
        ("gives_class", ["gave the class Plain; return Plain(…)"]),
        ("gives_pair", ["gave tuple; return one torch.nn.Module"]),
        ("gives_nothing", ["gave nothing; return one"]),
        ("swapped", ["TypeError", "in_shape = (3, 8, 8), num_classes = 4", "odd_modules.py:"]),
        ("Wide", ["takes (width: 'int')", "called with (in_shape, num_classes)", "too many"]),
        ("network", ["is a network, and a factory is expected"]),
        ("number", ["is of type int, and a factory is expected"]),
    ],
)
def test_refusals_say_what_to_do(
    name: str, parts: list[str], data: Dataset, tmp_path: Path
) -> None:
    message = refused(lambda: train(recipe_of(name), tmp_path, data=data))
    assert [part for part in parts if part not in message] == [], message


def test_arguments_that_a_factory_does_not_take_are_named() -> None:
    model = Custom("odd_modules:Plain", {"depth": 3})
    message = refused(lambda: build(model, SHAPE, 4))
    assert "called with (in_shape, num_classes, depth=…)" in message and "'depth'" in message


# --- the command line


def test_what_a_network_prints_does_not_mix_with_results(cli: Cli) -> None:
    done = cli("inspect", "odd_modules:prints", "--input", "3x8x8", "--classes", 4, "--json")
    assert done.code == 0 and json.loads(done.out)["parameters"] == 112 + 20
    assert "building a network" in done.err


def test_probe_takes_factories(cli: Cli) -> None:
    done = cli("probe", "own_modules:affine", "--shape", "3x8x8")
    assert done.code == 0 and "affine" in done.out, done.err
    assert cli("probe", "odd_modules:Plain", "--shape", "3x8x8").code == 0
    assert own_modules.affine(SHAPE, 4) is not None
