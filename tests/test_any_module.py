"""Modules of every kind that users have: sizes, training, trained networks, probes."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import own_modules
import pytest
import torch
from refusing import refused
from torch import nn

from convscope.data import Dataset, load
from convscope.models import build, copied, leaves, size_of
from convscope.probes import collapse, effective_field, probe, receptive_field
from convscope.recipe import Custom, Recipe
from convscope.training import Row, evaluate_splits, network, resident, train
from convscope.training.checks import batches_of
from convscope.training.extra_state import packed_value, state_dict_from
from convscope.training.steps import is_recordable

SHAPE = (3, 8, 8)
OLD_NAMES = "ignore:`torch.nn.utils.weight_norm` is deprecated:FutureWarning"
pytestmark = pytest.mark.filterwarnings(OLD_NAMES)

LINEAR = 2 * 4 * 4
CONV = 2 * 64 * 4 * 27


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """33 training images of 8×8 and 12 test images, in four classes of different brightness."""
    rng = np.random.default_rng(0)
    y = np.arange(45) % 4
    x = (rng.integers(0, 60, (45, 8, 8, 3)) + 45 * y[:, None, None, None]).astype(np.uint8)
    path = tmp_path_factory.mktemp("images") / "d.npz"
    np.savez(path, x_train=x[:33], y_train=y[:33], x_test=x[33:], y_test=y[33:])
    return path


@pytest.fixture
def data(images: Path, session_cache: Path) -> Dataset:
    return load(images, val=0.0)


def recipe_of(name: str, **changes: object) -> Recipe:
    base = Recipe(data="d.npz", model=Custom(f"own_modules:{name}"), epochs=1, batch=11, val=0.0)
    return replace(base, **{"lr": 1e-2, **changes})


def net_of(name: str) -> nn.Module:
    return getattr(own_modules, name)(SHAPE, 4)


# --- sizes


@pytest.mark.parametrize(
    ("name", "filters", "parameters", "flops"),
    [
        ("weight_norm", 4, 112 + 4 + 20, CONV + LINEAR),
        ("weight_norm_old", 4, 112 + 4 + 20, CONV + LINEAR),
        ("spectral_norm", 4, 112 + 20, CONV + LINEAR),
        ("spectral_norm_old", 4, 112 + 20, CONV + LINEAR),
        ("lora", 4, 4 + 8 + 54 + 20, CONV + LINEAR + 2 * 4 * 2 * 27),
        ("lazy", 4, 112 + 8 + 4 * 36 * 4 + 4, 2 * 36 * 4 * 27 + 2 * 144 * 4),
        ("OwnLazy", 4, 112 + 256 * 4 + 4, CONV + 2 * 256 * 4),
        ("Shared", 3, 84 + 9 + 3 + 3 + 16, 2 * 2 * 64 * 3 * 27 + 2 * (9 + 9 + 12)),
        ("Functional", 0, 108 + 16, 2 * 36 * 4 * 27 + LINEAR),
        ("in_float64", 4, 112 + 20, CONV + LINEAR),
    ],
)
def test_sizes_are_exact(name: str, filters: int, parameters: int, flops: int) -> None:
    size = size_of(Custom(f"own_modules:{name}"), SHAPE, 4)
    assert (size.filters, size.parameters, size.flops) == (filters, parameters, flops)
    assert size.flops == sum(layer.flops for layer in size.layers)


@pytest.mark.parametrize("name", ["weight_norm", "lora", "spectral_norm_old"])
def test_a_layer_with_computed_weights_has_a_row(name: str) -> None:
    first, *_ = size_of(Custom(f"own_modules:{name}"), SHAPE, 4).layers
    assert (first.name, first.shape, first.filters) == ("0", (4, 8, 8), 4) and first.flops >= CONV
    assert list(leaves(net_of(name)).values()) == ["0", "1", "2", "3", "4"]


# --- training, and what was trained


@pytest.mark.parametrize(
    ("name", "optimizer"),
    [
        *(("weight_norm_old", "adam"), ("spectral_norm", "sgd"), ("lora", "muon")),
        *(("lazy", "adam"), ("OwnLazy", "adam"), ("Fourier", "adam"), ("Fourier", "sgd")),
        ("ComplexConv", "muon"),
    ],
)
def test_a_trained_network_computes_what_training_measured(
    name: str, optimizer: str, data: Dataset, tmp_path: Path
) -> None:
    run = train(recipe_of(name, optimizer=optimizer), tmp_path, data=data)
    net = network(run, "last", data=data)
    row, _ = evaluate_splits(net, resident(run.recipe, data), run.recipe)
    assert run.status == "finished"
    assert row["test_loss"] == pytest.approx(run.last["test_loss"], abs=1e-5)


def test_complex_weights_are_trained_in_both_parts(data: Dataset, tmp_path: Path) -> None:
    recipe = recipe_of("Fourier", optimizer="muon")
    before = build(recipe.model, SHAPE, 4, seed=0).get_parameter("weight")
    for precision, dtype in (("float32", torch.complex64), ("float64", torch.complex128)):
        run = train(replace(recipe, precision=precision), tmp_path, data=data)
        after = network(run, "last", data=data).get_parameter("weight")
        assert after.is_complex() and not torch.allclose(after.imag, before.imag, atol=1e-4)
        stored = train(replace(recipe, precision=precision), tmp_path, data=data)
        assert stored.rows == run.rows and dtype.is_complex


def test_lazy_weights_belong_to_the_seed(data: Dataset, tmp_path: Path) -> None:
    for name in ("lazy", "OwnLazy"):
        recipe = recipe_of(name)
        losses = []
        for root, seed in (("a", 0), ("b", 0), ("c", 1)):
            torch.rand(3)
            run = train(replace(recipe, seed=seed), tmp_path / root, data=data)
            losses.append(run.last["train_loss"])
        assert losses[0] == losses[1] != losses[2]


def test_a_broken_off_run_goes_on_with_complex_and_extra_state(
    data: Dataset, tmp_path: Path
) -> None:
    for name in ("Fourier", "Counting"):
        recipe = recipe_of(name, epochs=3)
        whole = train(recipe, tmp_path / "whole", data=data)

        def stop(row: Row) -> None:
            if row["epoch"] == 2:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            train(recipe, tmp_path / "parts", data=data, log=stop)
        again = train(recipe, tmp_path / "parts", data=data)
        columns = [{k: v for k, v in row.items() if "seconds" not in k} for row in whole.rows]
        resumed = [{k: v for k, v in row.items() if "seconds" not in k} for row in again.rows]
        assert columns == resumed
    net = network(again, "last", data=data)
    assert isinstance(net, own_modules.Counting) and net.loaded and net.calls == 9


def test_state_beside_tensors_comes_back_as_it_was() -> None:
    value = {"a": [1, 2.5, True, None, "é"], (1, "b"): {3, 4}, 5: b"\x00\xff", "c": 1 + 2j}
    tensors = packed_value("x._extra_state", {**value, "t": torch.ones(2), "n": np.arange(3)})
    found = state_dict_from(tensors)["x._extra_state"]
    assert torch.equal(found.pop("t"), torch.ones(2)) and found.pop("n").tolist() == [0, 1, 2]
    assert found == value and all(isinstance(t, torch.Tensor) for t in tensors.values())


def test_parametrised_and_complex_steps_are_not_recorded() -> None:
    assert is_recordable(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()))
    for name in ("weight_norm", "weight_norm_old", "lora", "Fourier", "Counting"):
        assert not is_recordable(net_of(name))
    assert not is_recordable(nn.Sequential(nn.Linear(2, 2, dtype=torch.cfloat)))


# --- refusals: one line before anything is written


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("FailsInTraining", ["KeyError: 'only in training'", "own_modules.py:"]),
        ("FailsLater", ["AttributeError: after two steps", "own_modules.py:"]),
        ("Wordless", ["AssertionError: assert x.shape[1] == 99", "own_modules.py:"]),
        ("TwoAnswers", ["in training mode", "returns tuple for two images, expected 2×4 logits"]),
        ("Unrecordable", ["_extra_state", "builtin_function_or_method", "cannot be recorded"]),
        ("leaves", ["SystemExit: no network for 4 classes", "own_modules.py:"]),
    ],
)
def test_what_a_network_raises_is_one_line(
    name: str, parts: list[str], data: Dataset, tmp_path: Path
) -> None:
    message = refused(lambda: train(recipe_of(name), tmp_path, data=data))
    assert [part for part in parts if part not in message] == []
    if name != "FailsLater":
        assert not list(tmp_path.iterdir())


def test_a_probe_names_the_line_that_raised() -> None:
    for call in (probe, receptive_field, collapse, effective_field):
        message = refused(lambda call=call: call(net_of("Wordless").eval(), SHAPE))
        assert (
            "AssertionError: assert x.shape[1] == 99 (" in message and "own_modules.py:" in message
        )


# --- batches of one


def test_a_last_batch_of_one_joins_the_one_before(data: Dataset, tmp_path: Path) -> None:
    run = train(recipe_of("normalised_vector", batch=2), tmp_path, data=data)
    assert run.status == "finished"
    assert [batches_of(33, 2), batches_of(33, 2, least=2), batches_of(34, 2, least=2)] == [
        17,
        16,
        17,
    ]


@pytest.mark.parametrize("changes", [{"batch": 1}, {"batch": 11, "micro_batch": 1}])
def test_batches_of_one_are_refused_where_the_network_cannot(
    changes: dict[str, int], data: Dataset, tmp_path: Path
) -> None:
    message = refused(lambda: train(recipe_of("normalised_vector", **changes), tmp_path, data=data))
    assert " = 1: " in message and "a batch of one image" in message
    assert not list(tmp_path.iterdir())
    assert train(recipe_of("Shared", **changes), tmp_path, data=data).status == "finished"


# --- probes


@pytest.mark.parametrize(
    "name",
    [
        *("weight_norm", "weight_norm_old", "spectral_norm", "spectral_norm_old", "lora", "lazy"),
        *("Fourier", "ComplexConv", "Counting", "Shared", "Functional", "Uncopiable", "upsampled"),
    ],
)
def test_every_probe_takes_every_module(name: str) -> None:
    net = net_of(name)
    table = receptive_field(net, SHAPE, check=True)
    assert table and all(row.agrees for row in table)
    net.eval()
    assert probe(net, SHAPE, trials=8).linearity == "nonlinear"
    assert effective_field(net, SHAPE, samples=2).area > 0
    assert "nonlinear" in refused(lambda: collapse(net, SHAPE))
    again = receptive_field(net, SHAPE, check=True)  # the user's own module is as it was
    assert again.layers == table.layers


def test_an_affine_network_with_computed_weights_collapses() -> None:
    net = net_of("affine").eval()
    found = collapse(net, SHAPE)
    x = torch.randn(3, *SHAPE)
    assert found.rank == 4 and torch.allclose(found(x).float(), net(x), atol=1e-5)


def test_copies_share_no_weights() -> None:
    for name in ("weight_norm_old", "Uncopiable", "lazy"):
        net = net_of(name)
        own = copied(net)
        assert not {id(p) for p in own.parameters()} & {id(p) for p in net.parameters()}
    net = net_of("Uncopiable")
    assert isinstance(net, own_modules.Uncopiable) and isinstance(net.lock, type(threading.Lock()))
    own = copied(net)
    own(torch.zeros(1, *SHAPE))
    assert isinstance(own, own_modules.Uncopiable) and (net.seen, own.seen) == (0, 1)
    assert net.draws is not own.draws
    kept = nn.Linear(8, 8)
    kept.cached = kept.weight * 2  # which deepcopy refuses, as it has a gradient's history
    assert probe(kept, (1, 8), trials=8).linearity == "affine"


@pytest.mark.slow
def test_compiled_modules_are_taken_as_what_they_were_made_of(
    data: Dataset, tmp_path: Path
) -> None:
    plain = size_of(Custom("own_modules:in_float64"), SHAPE, 4)
    for name in ("compiled", "compiled_inside", "compiled_in_place"):
        assert size_of(Custom(f"own_modules:{name}"), SHAPE, 4) == plain
        net = net_of(name)
        table = receptive_field(net, SHAPE, check=True)
        assert [row.name for row in table] == ["0", "1", "2", "3", "4"]
        assert all(row.agrees for row in table)
        assert "1 (ReLU)" in refused(lambda net=net: collapse(net, SHAPE))
        assert ("OptimizedModule" in str(net)) == (name != "compiled_in_place")
    run = train(recipe_of("compiled"), tmp_path, data=data)
    assert "0.weight" in network(run, data=data).state_dict()
