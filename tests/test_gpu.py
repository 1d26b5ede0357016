"""What a GPU asks of the code, by fakes where there is none; and bench/gpu.py, tiny, on the CPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import convscope as cs
from convscope.errors import UserError
from convscope.machine import costs
from convscope.models import build
from convscope.recipe import ConvNet, Recipe
from convscope.training import checks, clock, is_out_of_memory, loop, metrics, step
from convscope.training.checks import check_device, check_precision, trains
from convscope.training.evaluation import eval_batch
from convscope.training.metrics import metrics_of
from convscope.training.muon import muon
from convscope.training.optimisers import optimiser, set_rate
from convscope.training.state import load_state, state_of
from convscope.training.steps import are_graphs_on, is_recordable
from convscope.training.tensors import to_device

BENCH = Path(__file__).parent.parent / "bench"


# --- resuming: each tensor of the optimiser's state goes where the optimiser looks for it


def devices_of(optimizer: torch.optim.Optimizer) -> dict[str, set[str]]:
    """Where the values of an optimiser's state are."""
    found: dict[str, set[str]] = {}
    for values in optimizer.state.values():
        for key, value in values.items():
            found.setdefault(key, set()).add(value.device.type)
    return found


def one_step(net: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    net(torch.ones(2, 3, 4, 4)).square().sum().backward()
    optimizer.step()


@pytest.mark.parametrize(
    ("kind", "fused", "expected"),
    [
        ("adam", True, {"step": {"meta"}, "exp_avg": {"meta"}, "exp_avg_sq": {"meta"}}),
        ("adam", False, {"step": {"cpu"}, "exp_avg": {"meta"}, "exp_avg_sq": {"meta"}}),
        ("sgd", True, {"momentum_buffer": {"meta"}}),
        (
            "muon",
            False,
            {
                "momentum": {"meta"},
                "step": {"cpu"},
                "exp_avg": {"meta"},
                "exp_avg_sq": {"meta"},
            },
        ),
    ],
)
@pytest.mark.filterwarnings("ignore:for .*a no-op:UserWarning")  # copies to "meta" are none
def test_a_resumed_optimiser_finds_its_state_on_its_device(
    kind: str, fused: bool, expected: dict[str, set[str]]
) -> None:
    """The device "meta" stands for the GPU."""
    makers: dict[str, Callable[[nn.Module], torch.optim.Optimizer]] = {
        "adam": lambda net: torch.optim.Adam(net.parameters()),
        "sgd": lambda net: torch.optim.SGD(net.parameters(), momentum=0.9),
        "muon": lambda net: muon(net, 0.1, 0.0, low=False),
    }
    net = nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten(), nn.Linear(8, 2))
    optimizer = makers[kind](net)
    one_step(net, optimizer)
    state = state_of(net, optimizer, 1)
    there = nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten(), nn.Linear(8, 2)).to("meta")
    resumed = makers[kind](there)
    for group in resumed.param_groups:
        group["fused"] = fused
    load_state(there, resumed, state)
    assert devices_of(resumed) == expected


# --- memory, devices, float64


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("MPS backend out of memory (MPS allocated: 9.05 GB)"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError("CUDA error: out of memory"),
    ],
)
def test_memory_that_runs_out_is_known_by_its_words(error: Exception) -> None:
    assert is_out_of_memory(error)


@pytest.mark.parametrize(
    "text", ["CUDA error: an illegal memory access was encountered", "shape mismatch", ""]
)
def test_other_errors_are_not_taken_for_it(text: str) -> None:
    assert not is_out_of_memory(RuntimeError(text))


@pytest.mark.parametrize(
    ("device", "shape", "batch"),
    [
        ("cpu", (3, 32, 32), 125),
        ("cpu", (1, 28, 28), 125),  # small images: as ever
        ("cpu", (3, 64, 64), 31),
        ("cpu", (1, 36, 36), 125),  # no more than ever
        ("cuda:0", (3, 32, 32), 2000),
        ("cuda:1", (3, 224, 224), 40),
        ("cuda:0", (1, 28, 28), 7836),
        ("mps", (3, 64, 64), 250),
        ("cuda:0", (3, 4096, 4096), 1),
    ],
)
def test_larger_images_are_evaluated_in_smaller_batches(
    device: str, shape: tuple[int, int, int], batch: int
) -> None:
    assert eval_batch(Recipe(device=device), shape) == batch
    narrow = Recipe(device=device, model=ConvNet(width=4))
    assert eval_batch(narrow, shape) // 4 == batch or batch == 1


def have_mps(monkeypatch: pytest.MonkeyPatch, works: bool) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(checks, "trains", lambda device: works)


def test_auto_takes_mps_only_where_it_trains(monkeypatch: pytest.MonkeyPatch) -> None:
    have_mps(monkeypatch, works=True)
    assert check_device("auto") == "mps"
    have_mps(monkeypatch, works=False)
    assert check_device("auto") == "cpu" and check_device("mps") == "mps"
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert check_device("auto") == check_device("cuda") == "cuda:0"


def test_a_device_that_is_missing_or_lacks_an_operation_does_not_train(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert trains("cpu")
    assert not trains("mps")  # no machine of ours has it
    trains.cache_clear()

    def lacking(*_: object) -> Tensor:
        raise NotImplementedError("The operator 'aten::x' is not implemented for the MPS device")

    monkeypatch.setattr(checks, "metrics_of", lacking)
    assert not trains("cpu")
    trains.cache_clear()


class OnMps(Tensor):
    """A tensor that calls itself one of MPS, and refuses float64 as long as it does."""

    @property
    def device(self) -> Any:
        return torch.device("mps")

    def cpu(self) -> Tensor:
        return self.as_subclass(Tensor)

    def double(self) -> Tensor:
        raise TypeError("Cannot convert a MPS Tensor to float64 dtype")


def test_metrics_need_no_float64_of_their_device() -> None:
    generator = torch.Generator().manual_seed(0)
    logits, labels = torch.randn(50, 10, generator=generator), torch.arange(50) % 10
    there = metrics_of(logits.as_subclass(OnMps), labels)
    assert there == metrics_of(logits, labels)
    with pytest.raises(TypeError, match="float64"):
        logits.as_subclass(OnMps).double()
    assert metrics.in_float64(labels).dtype == torch.float64


def test_float64_is_refused_where_the_device_has_none() -> None:
    check_precision("cuda:0", "float64")
    check_precision("mps", "float32")
    with pytest.raises(UserError, match="float64"):
        check_precision("mps", "float64")


# --- clocks


def test_the_clock_waits_for_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[str] = []
    monkeypatch.setattr(torch.cuda, "synchronize", waited.append)
    monkeypatch.setattr(torch.mps, "synchronize", lambda: waited.append("mps"))
    before = time.perf_counter()
    for device in ("cpu", "cuda:1", "mps"):
        assert clock.seconds_now(device) >= before
    assert waited == ["cuda:1", "mps"]
    times = iter(range(100))
    monkeypatch.setattr(costs, "seconds_now", lambda device: next(times) * (device == "cuda:0"))
    assert costs.seconds_of(lambda: None, device="cuda:0") == 1.0


def test_an_epoch_is_timed_by_a_clock_that_waits(
    micro: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clock is read before the epoch, after training and after evaluation, as the work ends."""
    from convscope.data import load
    from convscope.models import build

    recipe = Recipe(model=ConvNet(width=2, depth=1), epochs=2, batch=30)
    tensors = to_device(load(micro), recipe)
    times = iter([10.0, 13.0, 17.0, 20.0, 25.0, 26.0])
    monkeypatch.setattr(loop, "seconds_now", lambda device: next(times))
    rows: list[dict[str, Any]] = []
    net = build(recipe.model, tensors.in_shape, tensors.num_classes)
    loop.fit(net, tensors, recipe, lambda row, _: rows.append(dict(row)))
    assert [(row["train_seconds"], row["seconds"]) for row in rows] == [(3.0, 7.0), (5.0, 6.0)]


# --- recorded steps


def test_what_may_be_recorded() -> None:
    """Torch's layers and ours, without hooks: a user's layer may decide something in Python."""

    class Own(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x

    assert is_recordable(build(cs.ConvNet(norm="batch", skip=True, block_depth=2), (3, 8, 8), 10))
    assert is_recordable(build(cs.Custom("convscope.recipes.strong:network"), (3, 32, 32), 10))
    assert is_recordable(nn.Sequential(nn.Flatten(), nn.Dropout(), nn.Linear(12, 2)))
    assert not is_recordable(nn.Sequential(nn.Flatten(), Own()))
    hooked = nn.Linear(2, 2)
    hooked.register_forward_hook(lambda *_: None)
    assert not is_recordable(hooked)
    hooked = nn.Linear(2, 2)
    hooked.weight.register_hook(lambda gradient: gradient)
    assert not is_recordable(hooked)


def test_recording_is_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    assert are_graphs_on()
    monkeypatch.setenv("CONVSCOPE_CUDA_GRAPHS", "off")
    assert not are_graphs_on()
    monkeypatch.setenv("CONVSCOPE_CUDA_GRAPHS", "no")
    with pytest.raises(cs.UserError, match="CONVSCOPE_CUDA_GRAPHS = no: not off"):
        are_graphs_on()


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw", "muon"])
def test_a_rate_that_lies_on_the_device_trains_alike(name: Any) -> None:
    """As recorded steps need it: rates and counts are read and written where they lie."""
    recipe = cs.Recipe(model=cs.ConvNet(width=4), optimizer=name, weight_decay=0.01)
    trained = []
    for on_device in (False, True):
        net = build(recipe.model, (3, 8, 8), 10)
        optimizer = optimiser(net, recipe)
        for group in optimizer.param_groups if on_device else []:
            group["lr"] = torch.tensor(group["lr"])
            group["capturable"] = name == "muon"  # torch's own know no capturable CPU
        rates = [group["lr"] for group in optimizer.param_groups]
        for i in range(4):
            set_rate(optimizer, 0.01 * (4 - i))
            x = torch.randn(8, 3, 8, 8, generator=torch.Generator().manual_seed(i))
            step(net, optimizer, x, torch.arange(8), recipe)
        assert not on_device or all(
            group["lr"] is rate for group, rate in zip(optimizer.param_groups, rates, strict=True)
        )
        trained.append(torch.cat([p.detach().flatten() for p in net.parameters()]))
    torch.testing.assert_close(trained[1], trained[0], rtol=1e-4, atol=1e-6)


# --- bench/gpu.py


BARE = """
import sys
MISSING = "altair optuna pandas pooch platformdirs PIL requests rich scipy typer vl_convert".split()
sys.modules.update(dict.fromkeys(MISSING))  # importing them fails, as where they are missing
"""


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCH))
    import gpu

    return gpu


@pytest.fixture
def steps(gpu: ModuleType) -> ModuleType:
    import gpu_steps

    return gpu_steps


@pytest.mark.parametrize(
    "only",
    [("machine", "agreement", "clock", "train small"), pytest.param((), marks=pytest.mark.slow)],
)
def test_what_a_gpu_is_asked_is_sound(
    tmp_path: Path, gpu: ModuleType, steps: ModuleType, only: tuple[str, ...]
) -> None:
    """Some steps, or all."""
    out = tmp_path / "gpu.jsonl"
    command = [sys.executable, str(BENCH / "gpu.py"), "--device", "cpu", "--quick"]
    command += ["--only", *only] if only else []
    (tmp_path / "sitecustomize.py").write_text(BARE, encoding="utf-8")
    done = subprocess.run(
        [*command, "--out", str(out)],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
    )
    results = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert {r["step"]: r["status"] for r in results} == {
        name: "good" for name in only or gpu.LIMITS if name not in steps.NOT_QUICK
    }, done.stdout + done.stderr
    assert done.returncode == 0 and steps.STEPS.keys() == gpu.LIMITS.keys()
    assert torch.__version__ in done.stdout
    for result in results:
        assert result["peak_mb"] > 0
        assert result["step"] == "machine" or f"| {result['step']} | good |" in done.stdout
    rows = [r["rows"][-1] for r in results if r["step"].startswith("train")]
    assert len(rows) == (1 if only else 3) and all(0 <= row["test_accuracy"] <= 1 for row in rows)


def test_a_step_that_hangs_dies_or_raises_costs_itself_alone(
    gpu: ModuleType, steps: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fault(_device: str, _quick: bool) -> None:
        raise RuntimeError("CUDA error: unspecified\nlaunch failure")

    faults = {
        "hangs": lambda *_: time.sleep(60),
        "dies": lambda *_: os._exit(3),
        "raises": fault,
        "works": lambda *_: {"status": "good", "result": "a | b", "images_per_second": 1234.5},
    }
    monkeypatch.setattr(steps, "STEPS", faults)
    results = [{"step": name, **gpu.run(name, "cpu", True, 1.5)} for name in faults]
    assert [(r["status"], r["result"]) for r in results] == [
        ("timed out", "stopped after 2 s"),
        ("failed", "its process ended with 3"),
        ("failed", "RuntimeError: CUDA error: unspecified launch failure"),
        ("good", "a | b"),
    ]
    assert gpu.run("works", "cpu", True, 0.5)["status"] == "left out"
    last = gpu.table(results).splitlines()[-1]
    assert "| 1,234 |" in last and last.endswith("| a / b |")


def test_numbers_that_disagree_are_bad(steps: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    assert steps.agreement("cpu", True)["status"] == "good"
    monkeypatch.setattr(steps, "LOGITS", 1e-9)
    assert steps.agreement("cpu", True)["status"] == "bad"
    monkeypatch.setattr(steps, "RATES", {"adam": 1e-3})
    losses, seeds = steps.losses, iter([0, 0, 0, 1])
    monkeypatch.setattr(
        steps, "losses", lambda recipe, images: losses(replace(recipe, seed=next(seeds)), images)
    )
    assert steps.optimisers("cpu", True)["status"] == "good"
    assert steps.optimisers("cpu", True)["status"] == "bad"
    weights, seeds = steps.weights, iter([0, 0, 1])
    monkeypatch.setattr(
        steps,
        "weights",
        lambda recipe, *more, **how: weights(replace(recipe, seed=next(seeds)), *more, **how),
    )
    assert steps.resume("cpu", True)["status"] == "bad"


@pytest.mark.slow
def test_steps_on_a_gpu_run_in_fresh_processes(gpu: ModuleType) -> None:
    found = gpu.run("machine", "cuda:99", False, 100)
    assert found["status"] == "failed" and "device 'cuda:99'" in found["result"]
