"""The steps of bench/gpu.py: each takes a device and whether to be quick, and returns a finding.

A finding has `status` ("good" or "bad"), `result` (in words) and, where images were trained on,
`images_per_second`. Which numbers are good is stated beside each step.
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
import torch._dynamo  # optimisers import it in their first step: the clocks should not see that
from gpu_images import NARROW_STRONG, NINE, SMALL, STRONG, Finding, data_here, found, noise
from gpu_speed import speed
from torch import Tensor, nn

import convscope as cs
from convscope.data import Dataset
from convscope.machine import this_machine
from convscope.models import build
from convscope.recipes import named
from convscope.training import (
    check_device,
    keep_freed_memory,
    optimiser,
    place,
    step,
    to_device,
)
from convscope.training.clock import seconds_now
from convscope.training.evaluation import eval_batch, predict
from convscope.training.loop import fit, prepare
from convscope.training.tensor_files import read_tensors

RATES: dict[Literal["sgd", "adam", "adamw", "muon"], float] = {
    "sgd": 0.01,
    "adam": 1e-3,
    "adamw": 1e-3,
    "muon": 0.02,
}

NOT_QUICK = ("data", "tuned")  # steps


def peak_mb(device: str) -> float:
    """The most memory so far: allocated on a GPU, resident on a CPU."""
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated(device) / 2**20
    if device == "mps":
        return torch.mps.driver_allocated_memory() / 2**20
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def machine(device: str, quick: bool) -> Finding:
    name, versions = check_device(device), ""
    if name.startswith("cuda"):
        card = torch.cuda.get_device_properties(name)
        versions = (
            f"; {card.name}, {card.total_memory / 2**30:.0f} GB, "
            f"CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}"
        )
    return found(True, f"{name}{versions}; {this_machine()}")


def data(device: str, quick: bool) -> Finding:
    """Shapes are generated where CIFAR-10 is not in the cache."""
    if data_here(quick).name == "noise":
        cs.load("shapes", val=0.0)
    return found(True, str(data_here(quick)))


# --- agreement: errors relative to the norm, which may be at most LOGITS and GRADIENTS

LOGITS, GRADIENTS = 1e-4, 1e-3
WITH_TF32 = 100  # times as much where convolutions round their inputs to 10 bits


def agreement(device: str, quick: bool) -> Finding:
    """Float32 on the device against float64 on the CPU: logits and one step's gradients."""
    models = {"small": SMALL, "nine": NINE, "strong": STRONG}
    images = to_device(noise(32, 2), cs.Recipe(val=0.0))
    x, labels = images.inputs("train", slice(None)), images.labels["train"]
    good, texts = True, []
    for name in ("small",) if quick else tuple(models):
        recipe = cs.Recipe(model=models[name], val=0.0, optimizer="sgd", momentum=0.0)
        net = build(recipe.model, (3, 32, 32), 10)
        prepare(net, images)
        exact = answers(copy.deepcopy(net), x, labels, replace(recipe, precision="float64"))
        for tf32 in (False, True) if device.startswith("cuda") else (False,):
            torch.backends.cudnn.allow_tf32 = tf32
            there = answers(copy.deepcopy(net), x, labels, replace(recipe, device=device))
            errors = [float((a - b).norm() / b.norm()) for a, b in zip(there, exact, strict=True)]
            times = WITH_TF32 if tf32 else 1
            good &= errors[0] <= times * LOGITS and errors[1] <= times * GRADIENTS
            texts.append(f"{name}{' with TF32' if tf32 else ''} {errors[0]:.1e}, {errors[1]:.1e}")
    return found(good, f"relative errors of logits, gradients: {'; '.join(texts)}")


def answers(net: nn.Module, x: Tensor, labels: Tensor, recipe: cs.Recipe) -> tuple[Tensor, Tensor]:
    """Logits and all gradients of one step, in float64 on the CPU."""
    place(net, recipe)
    dtype = torch.float64 if recipe.precision == "float64" else torch.float32
    x = x.to(recipe.device, dtype).contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        logits = net.eval()(x)
    step(net.train(), optimiser(net, recipe), x, labels.to(recipe.device), recipe)
    gradients = [p.grad.flatten() for p in net.parameters() if p.grad is not None]
    return logits.cpu().double(), torch.cat(gradients).cpu().double()


def optimisers(device: str, quick: bool) -> Finding:
    """The training loss after two epochs agrees within 2 % with that on the CPU."""
    images = noise(64 if quick else 500, 2)
    good, texts = True, []
    for name, rate in RATES.items():
        model = cs.ConvNet(width=4 if quick else 8, depth=2, norm="batch")
        recipe = cs.Recipe(
            model=model, optimizer=name, lr=rate, epochs=2, batch=32, val=0.0, evaluate=("train",)
        )
        here, there = (losses(replace(recipe, device=d), images)[-1] for d in ("cpu", device))
        good &= abs(there - here) <= 0.02 * here
        texts.append(f"{name} {there:.4f} (CPU {here:.4f})")
    return found(good, f"training loss: {', '.join(texts)}")


def losses(recipe: cs.Recipe, images: Dataset) -> list[float]:
    with tempfile.TemporaryDirectory() as root:
        run = cs.train(recipe, root, data=images)
    assert run.status == "finished", run.message
    return [row["train_loss"] for row in run.rows]


# --- resuming


class Stop(Exception):
    pass


def resume(device: str, quick: bool) -> Finding:
    """Broken off after the first epoch and resumed: at most as far off as a repetition is."""
    torch.backends.cudnn.deterministic = True
    images = noise(48 if quick else 500, 20)
    model = cs.ConvNet(width=4 if quick else 8, depth=2, norm="batch")
    good, texts = True, []
    for name, rate in RATES.items():
        for precision in ("float32",) if quick else ("float32", "bfloat16"):
            recipe = cs.Recipe(
                model=model, optimizer=name, lr=rate, precision=precision, epochs=2, batch=24,
                val=0.0, flip=True, crop=2, device=device,
            )  # fmt: skip
            with tempfile.TemporaryDirectory() as root:
                whole, again = (weights(recipe, Path(root) / part, images) for part in "ab")
                resumed = weights(recipe, Path(root) / "c", images, stop=True)
            repeated, off = apart(whole, again), apart(whole, resumed)
            good &= off <= 10 * repeated
            same = "equal to the bit" if off == 0 else f"{off:.1e} (repeated {repeated:.1e})"
            texts.append(f"{name} {precision} {same}")
    return found(good, "; ".join(texts))


def weights(
    recipe: cs.Recipe, root: Path, images: Dataset, stop: bool = False
) -> dict[str, Tensor]:
    """All tensors that the last epoch leaves behind."""

    def log(_row: object) -> None:
        raise Stop

    if stop:
        try:
            cs.train(recipe, root, data=images, log=log)
        except Stop:
            pass
        else:
            raise AssertionError("the run was not broken off")
    run = cs.train(recipe, root, data=images)
    assert run.status == "finished", run.message
    return read_tensors(run.path / "checkpoint.safetensors")[0]


def apart(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    """The largest difference of any value."""
    assert one.keys() == other.keys()
    return max(float((one[k].double() - other[k].double()).abs().max()) for k in one)


# --- memory, clock, evaluation

ALLOWED = 128 << 20  # bytes, for a network whose weights need 196 MB


def out_of_memory(device: str, quick: bool) -> Finding:
    """Memory that runs out is a result of the run, and the next run in the process finishes."""
    images = noise(64, 20)
    small = cs.Recipe(model=cs.ConvNet(width=4, depth=1), epochs=1, val=0.0, batch=32)
    model = cs.ConvNet(width=7_000, depth=2, growth=1.0, pool="none", head="gap", kernel=1)
    small = replace(small, device=device)
    with tempfile.TemporaryDirectory() as root:
        cs.train(small, Path(root) / "before", data=images)
        free = limit_memory(device)
        status = cs.train(replace(small, model=model), root, data=images).status
        free()
        then = cs.train(small, Path(root) / "after", data=images).status
    good = status == "out_of_memory" and then == "finished"
    return found(good, f"too large a network: {status}; the next run: {then}")


def limit_memory(device: str) -> Callable[[], None]:
    """Allow this process ALLOWED bytes more than it has; returns what lifts the limit."""
    if device.startswith("cuda"):
        total = torch.cuda.get_device_properties(device).total_memory
        share = (torch.cuda.memory_reserved(device) + ALLOWED) / total
        torch.cuda.set_per_process_memory_fraction(share, device)
        return lambda: torch.cuda.set_per_process_memory_fraction(1.0, device)
    import resource

    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + ALLOWED, before[1]))
    return lambda: resource.setrlimit(resource.RLIMIT_AS, before)


def clock(device: str, quick: bool) -> Finding:
    """An epoch's seconds are those of a clock that waits for the device, spent in training."""
    count = 48 if quick else 20_000
    recipe = cs.Recipe(
        model=SMALL if quick else NINE, epochs=2, batch=min(500, count // 3), val=0.0,
        evaluate=("test",), device=device,
    )  # fmt: skip
    tensors = to_device(noise(count, 10), recipe)
    net = build(recipe.model, tensors.in_shape, tensors.num_classes)
    rows: list[dict[str, Any]] = []
    started = seconds_now(device)
    fit(net, tensors, recipe, lambda row, _state: rows.append(dict(row)))
    whole = seconds_now(device) - started
    rows_seconds, last = sum(row["seconds"] for row in rows), rows[-1]
    good = rows_seconds <= 1.01 * whole and last["train_seconds"] >= 0.5 * last["seconds"]
    return found(
        good,
        f"two epochs of {count:,} images: {whole:.3f} s, by their rows {rows_seconds:.3f} s; "
        f"the second {last['seconds']:.3f} s, of it training {last['train_seconds']:.3f} s",
        images_per_second=count / last["train_seconds"],
    )


def evaluation_batch(device: str, quick: bool) -> Finding:
    """Images of any size are evaluated, in batches that hold about as many pixels."""
    texts, fastest = [], 0.0
    for side in (16, 48) if quick else (32, 64, 128, 224):
        recipe = cs.Recipe(model=SMALL, device=device, val=0.0)
        batch = eval_batch(recipe, (3, side, side))
        count = 20 if quick else 2 * batch
        tensors = to_device(noise(20, count, side), recipe)
        net = place(build(SMALL, tensors.in_shape, 10), recipe)
        predict(net, tensors, "test", recipe)
        started = seconds_now(device)
        logits = predict(net, tensors, "test", recipe)
        rate = count / (seconds_now(device) - started)
        assert logits.shape == (count, 10) and bool(logits.isfinite().all())
        fastest = max(fastest, rate)
        texts.append(f"{side}×{side} in batches of {batch:,}: {rate:,.0f}/s")
    return found(True, "; ".join(texts), images_per_second=fastest)


# --- training


def tuned(device: str, quick: bool) -> Finding:
    recipe = cs.tuned(cs.Recipe(device=device))
    return found(
        True,
        f"{recipe.precision}, {recipe.layout}, {recipe.kernels} kernels, {recipe.threads} threads",
    )


def trained(recipe: cs.Recipe, device: str, quick: bool, images: Dataset) -> Finding:
    """A finished run: the last epoch's figures, and training images per second."""
    keep_freed_memory()
    recipe = replace(recipe, device=device, val=0.0)
    if not quick:
        recipe = cs.tuned(recipe)
    with tempfile.TemporaryDirectory() as root:
        run = cs.train(recipe, root, data=images)
    if run.status != "finished":
        return found(False, f"{run.status}: {run.message}")
    row = run.last
    accuracy = row.get("test_views_accuracy", row["test_accuracy"])
    seconds = sum(row["train_seconds"] for row in run.rows)
    return found(
        True,
        f"{images.name}, {len(images.train):,} images, {recipe.precision}: {len(run.rows)} epochs "
        f"in {run.seconds:.1f} s, test accuracy {100 * accuracy:.2f} %",
        images_per_second=len(run.rows) * len(images.train) / seconds,
        rows=run.rows,
    )


def train_small(device: str, quick: bool) -> Finding:
    recipe = cs.Recipe(model=SMALL, epochs=1 if quick else 8, batch=32 if quick else 128)
    return trained(recipe, device, quick, data_here(quick))


def train_nine(device: str, quick: bool) -> Finding:
    recipe = cs.Recipe(model=NINE, epochs=1 if quick else 8, batch=32 if quick else 128)
    return trained(recipe, device, quick, data_here(quick))


def train_strong(device: str, quick: bool) -> Finding:
    images = data_here(quick)
    recipe = named("strong", len(images.train))
    if quick:
        recipe = replace(recipe, model=NARROW_STRONG, epochs=1)
    return trained(recipe, device, quick, images)


STEPS: dict[str, Callable[[str, bool], Finding]] = {
    "machine": machine,
    "data": data,
    "agreement": agreement,
    "optimisers": optimisers,
    "resume": resume,
    "out of memory": out_of_memory,
    "clock": clock,
    "evaluation batch": evaluation_batch,
    "steps small": speed("small"),
    "steps nine": speed("nine"),
    "steps strong": speed("strong"),
    "tuned": tuned,
    "train small": train_small,
    "train nine": train_nine,
    "train strong": train_strong,
}
