"""Recipes become runs through an engine: finished ones are read, each is trained once, the longest first."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from convscope import device
from convscope.engines.local import Job, LocalEngine
from convscope.evaluate import autocast
from convscope.fit import eval_batch, place, step
from convscope.memory import keep_freed_memory
from convscope.models import build
from convscope.optim import optimiser
from convscope.recipe import ConvNet, Recipe
from convscope.record import Run, RunFolder, read_run
from convscope.training import finished_run, resident, train

Report = Callable[[Any], None]


class Watcher:
    """Who sees a study go by: this one looks away, a progress bar and lines are in screen.py. Costs are seconds of one worker, as measured at the start."""

    def say(self, text: str) -> None: ...
    def step(self, description: str, done: int, total: int | None) -> None: ...
    def plan(self, runs: int, cost: float, workers: int) -> None: ...
    def skipped(self, cost: float) -> None: ...
    def started(self, recipe: Recipe) -> None: ...
    def epoch(self, recipe: Recipe, row: dict[str, Any], cost: float) -> None: ...
    def ended(self, recipe: Recipe, run: Run) -> None: ...


# jobs: called in workers, with arguments that pickle


def train_job(report: Report, recipe: Recipe, root: str) -> str:
    return str(train(recipe, root, log=report).path)


def precision_job(_report: Report, name: str) -> tuple[str, str, dict[str, float]]:
    return device.best_precision(name)


def throughput_job(_report: Report, name: str, precision: str, layout: str, threads: int) -> float:
    return device.throughput(name, precision, layout, threads)


def warm_job(_report: Report, recipe: Recipe) -> None:
    resident(recipe)


def time_job(_report: Report, recipe: Recipe) -> float:
    """Seconds of one epoch with its evaluations, extrapolated from a few steps and evaluation batches."""
    import torch

    keep_freed_memory()
    torch.set_num_threads(recipe.threads)
    tensors = resident(replace(recipe, limit=None, evaluate=("train", "val", "test")))
    net = place(build(recipe.model, tensors.in_shape, tensors.num_classes), recipe)
    optimizer = optimiser(net, recipe)
    count = tensors.count("train")
    batch, evaluated = min(recipe.batch, count), min(eval_batch(recipe), count)
    index = torch.arange(batch, device=recipe.device)
    labels = tensors.labels["train"][index]

    def one_step() -> None:
        step(net, optimizer, tensors.inputs("train", index), labels, recipe).item()

    def one_evaluation() -> None:
        net.eval()
        with torch.no_grad(), autocast(recipe.device, recipe.precision):
            net(tensors.inputs("train", slice(0, evaluated))).sum().item()
        net.train()

    trained = min(recipe.limit or count, count)
    images = sum(trained if name == "train" else tensors.count(name) for name in recipe.evaluate)
    return seconds_of(one_step) * trained / batch + seconds_of(one_evaluation) * images / evaluated


def seconds_of(call: Callable[[], None], turns: int = 6) -> float:
    """The median of a few calls after a warm-up."""
    call()
    times = []
    for _ in range(turns):
        started = time.perf_counter()
        call()
        times.append(time.perf_counter() - started)
    return sorted(times)[turns // 2]


# the parent's side


def choose(engine: LocalEngine, device_name: str, workers: int | None) -> device.Choice:
    """Resolve precision, layout, processes × threads by a short measurement in the engine's workers (seconds)."""
    cores = device.cores()
    precision, layout, measured = engine.gather([Job("precision", precision_job, (device_name,))])["precision"]
    if device_name != "cpu":
        return device.Choice(device_name, precision, layout, 1, workers or 1, measured)
    if workers is None and cores > 1:
        alone = engine.gather([Job("alone", throughput_job, (device_name, precision, layout, cores))])["alone"]
        engine.resize(cores)
        together = sum(
            engine.gather([Job(str(i), throughput_job, (device_name, precision, layout, 1)) for i in range(cores)]).values()
        )
        measured |= {f"1 process × {cores} threads": round(alone), f"{cores} processes × 1 thread": round(together)}
        workers = cores if together > alone else 1
    workers = workers or 1
    return device.Choice(device_name, precision, layout, max(1, cores // workers), workers, measured)


def resolve(recipe: Recipe, choice: device.Choice) -> Recipe:
    return replace(recipe, device=choice.device, precision=choice.precision, layout=choice.layout, threads=choice.threads)  # pyright: ignore[reportArgumentType]


def cost_key(recipe: Recipe) -> Recipe:
    """Recipes with the same key cost the same an epoch."""
    return replace(recipe, seed=0, epochs=1, lr=1.0, schedule="constant", weight_decay=0.0, label_smoothing=0.0)


def epoch_costs(engine: LocalEngine, recipes: Sequence[Recipe]) -> dict[Recipe, float]:
    """Seconds an epoch of each distinct cost key, measured in the workers as they will train."""
    keys = list(dict.fromkeys(cost_key(recipe) for recipe in recipes))
    if keys:  # each worker loads the data before anything is timed
        engine.gather([Job(f"warm {i}", warm_job, (replace(keys[0], limit=None),)) for i in range(len(engine.workers))])
    found = engine.gather([Job(str(i), time_job, (key,)) for i, key in enumerate(keys)])
    return {key: found[str(i)] for i, key in enumerate(keys)}


def run_all(
    engine: LocalEngine, recipes: Sequence[Recipe], root: Path, costs: dict[Recipe, float], watcher: Watcher
) -> list[Run]:
    """A run for each recipe, in their order. A run that fails is recorded as failed, with its reason, and the others go on."""
    distinct = {recipe.id: recipe for recipe in recipes}
    runs: dict[str, Run] = {}
    for key, recipe in distinct.items():
        run = finished_run(root / recipe.id, watcher.say)
        if run is not None:
            runs[key] = run
            watcher.skipped(recipe.epochs * costs.get(cost_key(recipe), 0.0))
    missing = [recipe for key, recipe in distinct.items() if key not in runs]
    missing.sort(key=lambda recipe: -recipe.epochs * costs.get(cost_key(recipe), 0.0))
    for event in engine.run([Job(recipe.id, train_job, (recipe, str(root))) for recipe in missing]):
        recipe = distinct[event.key]
        if event.kind == "started":
            watcher.started(recipe)
        elif event.kind == "progress":
            watcher.epoch(recipe, event.value, costs.get(cost_key(recipe), 0.0))
        else:
            if event.kind == "done":
                runs[event.key] = read_run(Path(event.value))
            else:
                try:
                    runs[event.key] = record_failure(recipe, root, event.value)
                except OSError as error:  # a disk that is full fails this run's record, not the others
                    watcher.say(f"{describe(recipe)}: {event.value}; it could not be recorded: {error.strerror}")
                    continue
            watcher.ended(recipe, runs[event.key])
    return [runs[recipe.id] for recipe in recipes if recipe.id in runs]


def record_failure(recipe: Recipe, root: Path, why: str) -> Run:
    folder = RunFolder(root / recipe.id)
    folder.begin(recipe)
    folder.resume()
    return folder.finish(recipe, "failed", {"filters": 0, "parameters": 0, "flops": 0}, why)


def describe(recipe: Recipe) -> str:
    """A short name for progress lines."""
    model = recipe.model
    if isinstance(model, ConvNet):
        return (
            f"width {model.width}, depth {model.depth}"
            + (f"×{model.block_depth}" if model.block_depth > 1 else "")
            + f", seed {recipe.seed}"
        )
    return f"{type(model).__name__}, seed {recipe.seed}"
