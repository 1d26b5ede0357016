"""What belongs to the caller stays as it was: torch's settings, random generators, allocator."""

from __future__ import annotations

import ctypes
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import convscope as cs
from convscope.machine import choosing, measurement
from convscope.training import caller, network, train
from convscope.training.caller import own_settings, seed_generators

RECIPE = cs.Recipe(model=cs.ConvNet(width=2, depth=1), epochs=1, batch=30)


@pytest.fixture
def recipe(micro: Path) -> cs.Recipe:
    return replace(RECIPE, data=str(micro))


@pytest.fixture
def expected(recipe: cs.Recipe, tmp_path: Path) -> list[dict[str, Any]]:
    """The rows of the run by a caller who has changed nothing."""
    return figures(train(recipe, tmp_path / "expected"))


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    yield
    torch.set_default_dtype(torch.float32)
    torch.set_default_device(None)


def figures(run: cs.Run) -> list[dict[str, Any]]:
    return [{key: value for key, value in row.items() if "seconds" not in key} for row in run.rows]


def state() -> dict[str, Any]:
    """All that belongs to the caller, in values that compare."""
    kind, keys, *rest = np.random.get_state()
    return {
        "threads": torch.get_num_threads(),
        "dtype": torch.get_default_dtype(),
        "device": torch.get_default_device(),
        "gradients": torch.is_grad_enabled(),
        "inference": torch.is_inference_mode_enabled(),
        "torch": torch.get_rng_state().numpy().tobytes(),
        "numpy": (kind, np.asarray(keys).tobytes(), *rest),
        "python": random.getstate(),
    }


def nothing() -> None:
    pass


CALLERS: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
    "threads": (lambda: torch.set_num_threads(2), nothing),
    "float64": (lambda: torch.set_default_dtype(torch.float64), nothing),
    "bfloat16": (lambda: torch.set_default_dtype(torch.bfloat16), nothing),
    "another device": (lambda: torch.set_default_device("meta"), nothing),
    "seeds": (
        lambda: (torch.manual_seed(5), np.random.seed(6), random.seed(7)),
        nothing,
    ),
    "no_grad": (nothing, torch.no_grad),
    "inference mode": (nothing, torch.inference_mode),
}


@pytest.mark.parametrize("name", CALLERS)
def test_a_caller_finds_everything_as_it_was(
    recipe: cs.Recipe, expected: list[dict[str, Any]], tmp_path: Path, name: str
) -> None:
    change, context = CALLERS[name]
    change()
    with context() or own_settings():
        before = state()
        run = train(recipe, tmp_path / "runs", data=cs.load(recipe.data))
        assert state() == before
        net = network(run)
        assert state() == before
    assert figures(run) == expected
    assert {value.dtype for value in net.state_dict().values()} == {torch.float32}
    assert all(value.requires_grad for value in net.parameters())


class Unruly(nn.Module):
    """Draws from every generator, and has bad manners itself."""

    def __init__(self, in_shape: tuple[int, int, int], num_classes: int) -> None:
        super().__init__()
        self.fc = nn.Linear(in_shape[0] * in_shape[1] * in_shape[2], num_classes)

    def forward(self, x: Tensor) -> Tensor:
        torch.set_num_threads(2)
        torch.rand(1), np.random.rand(1), random.random()
        return self.fc(nn.functional.dropout(x.flatten(1), 0.1, self.training))


def test_a_module_of_the_user_may_draw_and_set_what_it_likes(
    recipe: cs.Recipe, tmp_path: Path
) -> None:
    unruly = replace(recipe, model=cs.Custom(f"{__name__}:Unruly"))
    before = state()
    one = train(unruly, tmp_path / "one")
    assert state() == before
    torch.manual_seed(1)
    assert figures(train(unruly, tmp_path / "two")) == figures(one)


class Stop(Exception):
    pass


def test_everything_is_as_it_was_after_an_error_too(recipe: cs.Recipe, tmp_path: Path) -> None:
    def stop(_row: Any) -> None:
        raise Stop

    torch.set_num_threads(2)
    torch.set_default_dtype(torch.float64)
    with torch.no_grad():
        before = state()
        with pytest.raises(Stop):
            train(recipe, tmp_path, log=stop)
        with pytest.raises(cs.UserError, match="batch"):
            train(replace(recipe, batch=10_000), tmp_path)
        assert state() == before


# --- GPUs, by fakes


class FakeCuda:
    """Two GPUs, each with a generator."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, used: bool) -> None:
        self.states, self.asked, current = [torch.tensor([1]), torch.tensor([2])], 0, [0]

        def all_states() -> list[Tensor]:
            self.asked += 1
            return [value.clone() for value in self.states]

        class Device:
            def __init__(self, name: str) -> None:
                self.index = int(name.partition(":")[2])

            def __enter__(self) -> None:
                current.append(self.index)

            def __exit__(self, *_: object) -> None:
                current.pop()

        def seed(value: int) -> None:
            self.states[current[-1]] = torch.tensor([value])

        for name, fake in {
            "is_available": lambda: True,
            "is_initialized": lambda: used,
            "get_rng_state_all": all_states,
            "set_rng_state_all": lambda states: setattr(self, "states", states),
            "manual_seed": seed,
            "device": Device,
        }.items():
            monkeypatch.setattr(torch.cuda, name, fake)


def test_generators_of_gpus_are_kept_and_those_of_other_gpus_never_seeded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cuda = FakeCuda(monkeypatch, used=False)
    with own_settings("cuda:1"):
        seed_generators("cuda:1", 9)
        assert [int(value) for value in cuda.states] == [1, 9]
    assert [int(value) for value in cuda.states] == [1, 2] and cuda.asked == 1


def test_training_on_the_cpu_does_not_start_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = FakeCuda(monkeypatch, used=False)
    with own_settings("cpu"):
        seed_generators("cpu", 9)
    assert cuda.asked == 0 and [int(value) for value in cuda.states] == [1, 2]
    cuda = FakeCuda(monkeypatch, used=True)
    with own_settings("cpu"):
        cuda.states = [torch.tensor([8]), torch.tensor([8])]
    assert [int(value) for value in cuda.states] == [1, 2]


def test_seeds_on_the_cpu_are_those_of_torch() -> None:
    for seed in (0, 5, 2**56 - 1):
        torch.manual_seed(seed)
        expected = torch.rand(3)
        seed_generators("cpu", seed)
        assert torch.equal(torch.rand(3), expected)


# --- measurements


def test_a_tuned_recipe_is_what_was_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    numerics = measurement.Numerics("bfloat16", "contiguous", "library", {})
    asked: list[tuple[str, object]] = []
    monkeypatch.setattr(choosing, "best_numerics", lambda d: asked.append(("how", d)) or numerics)
    monkeypatch.setattr(choosing, "best_threads", lambda d, n: asked.append((d, n)) or 3)
    recipe = replace(RECIPE, seed=4, lr=0.5)
    assert cs.tuned(recipe) == replace(
        recipe, precision="bfloat16", layout="contiguous", kernels="library", threads=3
    )
    assert asked == [("how", "cpu"), ("cpu", numerics)]


def test_a_recipe_for_a_device_that_is_not_there_is_not_tuned() -> None:
    with pytest.raises(cs.UserError, match="device 'cuda:7'"):
        cs.tuned(replace(RECIPE, device="cuda:7"))


@pytest.mark.slow
def test_measuring_leaves_everything_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measurement, "WINDOW", 0.0)  # one step each
    monkeypatch.setattr(measurement, "ROUNDS", 1)
    monkeypatch.setattr(measurement, "is_accurate", lambda device, precision: False)
    monkeypatch.setattr(measurement, "why_no_kernels", lambda *_: "not asked for")
    torch.set_num_threads(2)
    torch.set_default_dtype(torch.float64)
    with torch.inference_mode():
        before = state()
        tuned = cs.tuned(RECIPE)
        assert state() == before
    changed = {"precision", "layout", "kernels", "threads"}
    assert replace(tuned, **{name: getattr(RECIPE, name) for name in changed}) == RECIPE


# --- the allocator


@pytest.mark.slow
def test_only_processes_of_our_own_have_their_allocator_tuned(
    recipe: cs.Recipe, tmp_path: Path
) -> None:
    if not hasattr(ctypes.CDLL(None), "mallopt"):
        pytest.skip("this C library has no mallopt")
    code = f"""
from convscope.training import memory, train_job, train
from convscope import Recipe, ConvNet
from convscope.machine import measurement
measurement.WINDOW, measurement.ROUNDS = 0.0, 1
recipe = {recipe!r}
train(recipe, {str(tmp_path / "a")!r})
measurement.windows("cpu", [(("float32", "contiguous", "library"), 1)])
print(memory.keep_freed_memory.cache_info().misses)
train_job(lambda row: None, recipe, {str(tmp_path / "b")!r})
print(memory.keep_freed_memory.cache_info().misses)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.split() == ["0", "1"], done.stderr


def test_the_default_device_costs_nothing_where_nobody_set_one() -> None:
    """A device context slows every call of torch."""
    with own_settings():
        assert not isinstance(caller.new_tensors_on_cpu(), torch.device)
    with torch.device("meta"):
        assert isinstance(caller.new_tensors_on_cpu(), torch.device)
