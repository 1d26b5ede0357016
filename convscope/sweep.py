"""Recipes become runs through an engine: finished ones are read, each is trained once, the longest first."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from convscope import device
from convscope.data import Dataset
from convscope.engines.local import Event, Job, JobQueue, LocalEngine
from convscope.evaluate import autocast
from convscope.fit import eval_batch, place, step
from convscope.kernels import using
from convscope.labels import label_of
from convscope.memory import keep_freed_memory
from convscope.models import build, size_of
from convscope.optim import optimiser
from convscope.recipe import Recipe, UserError, one_line
from convscope.record import Run, RunFolder, read_run
from convscope.training import finished_run, resident, train

Report = Callable[[Any], None]


class Watcher:
    """Who sees a study go by: this one looks away, a progress bar and lines are in screen.py. Costs are seconds of one worker, as measured at the start.

    `plan` is told what each chapter is expected to cost, `asked` what a request of it costs beside what is `skipped`, being finished from an earlier process.
    """

    def say(self, text: str) -> None: ...
    def step(self, description: str, done: int, total: int | None) -> None: ...
    def plan(self, costs: Mapping[str, float], workers: int) -> None: ...
    def asked(self, chapter: str, recipes: Sequence[Recipe], cost: float, skipped: float) -> None: ...
    def found(self, chapter: str) -> None: ...
    def started(self, recipe: Recipe) -> None: ...
    def epoch(self, recipe: Recipe, row: dict[str, Any], cost: float) -> None: ...
    def ended(self, recipe: Recipe, run: Run) -> None: ...


# jobs: called in workers, with arguments that pickle


def train_job(report: Report, recipe: Recipe, root: str) -> str:
    return str(train(recipe, root, log=report).path)


def numerics_job(_report: Report, name: str) -> device.Numerics:
    return device.best_numerics(name)


def throughput_job(_report: Report, name: str, numerics: device.Numerics, threads: int) -> float:
    return device.throughput(name, numerics.way, threads)


def warm_job(_report: Report, recipe: Recipe) -> None:
    resident(recipe)


def time_job(_report: Report, recipe: Recipe) -> tuple[float, float]:
    """Seconds of one image's training and of one image's evaluation, from a few steps and evaluation batches."""
    import torch

    keep_freed_memory()
    torch.set_num_threads(recipe.threads)
    tensors = resident(recipe)
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
        with torch.no_grad(), autocast(recipe.device, recipe.precision), using(recipe.kernels):
            net(tensors.inputs("train", slice(0, evaluated))).sum().item()
        net.train()

    return seconds_of(one_step) / batch, seconds_of(one_evaluation) / evaluated


def seconds_of(call: Callable[[], None], turns: int = 5) -> float:
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
    best: device.Numerics = engine.gather([Job("numerics", numerics_job, (device_name,))])["numerics"]
    measured = dict(best.measured)
    if device_name != "cpu":
        return device.Choice(device_name, best.precision, best.layout, 1, workers or 1, measured, best.kernels)
    if workers is None and cores > 1:
        alone = engine.gather([Job("alone", throughput_job, (device_name, best, cores))])["alone"]
        engine.resize(cores)
        together = sum(engine.gather([Job(str(i), throughput_job, (device_name, best, 1)) for i in range(cores)]).values())
        measured |= {f"1 process × {cores} threads": round(alone), f"{cores} processes × 1 thread": round(together)}
        workers = cores if together > alone else 1
    workers = workers or 1
    threads = max(1, cores // workers)
    return device.Choice(device_name, best.precision, best.layout, threads, workers, measured, best.kernels)


def resolve(recipe: Recipe, choice: device.Choice) -> Recipe:
    return replace(
        recipe, device=choice.device, precision=choice.precision, layout=choice.layout, threads=choice.threads, kernels=choice.kernels  # pyright: ignore[reportArgumentType]
    )  # fmt: skip


def kind_of(recipe: Recipe) -> Recipe:
    """Recipes of one kind cost the same an image."""
    plain = Recipe()
    return replace(
        recipe, seed=0, epochs=1, lr=1.0, schedule="constant", weight_decay=0.0, label_smoothing=0.0, limit=None, label_noise=0.0,
        evaluate=plain.evaluate, train_sample=None, flip=False, crop=0, cutout=0,
    )  # fmt: skip


class Costs:
    """Seconds that runs take in one worker: measured for some kinds of run, estimated by FLOPs for others."""

    def __init__(self, data: Dataset, seconds: Mapping[str, tuple[float, float]], kinds: Sequence[Recipe]) -> None:
        self.counts = {"train": len(data.train), "val": len(data.val), "test": len(data.test)}
        self.seconds = dict(seconds)  # kind's id -> (an image's training, an image's evaluation)
        self.flops = {kind.id: self._flops(kind, data) for kind in kinds if kind.id in self.seconds}
        self.data = data

    @staticmethod
    def _flops(recipe: Recipe, data: Dataset) -> int:
        try:
            return size_of(recipe.model, data.in_shape, data.num_classes).flops
        except UserError:  # its run will say so
            return 0

    def epoch(self, recipe: Recipe) -> float:
        """One epoch with its evaluations."""
        key = kind_of(recipe).id
        scale = 1.0
        if key not in self.seconds:
            if not self.flops:
                return 0.0
            flops = self._flops(recipe, self.data)
            key = min(self.flops, key=lambda known: abs(math.log((self.flops[known] + 1) / (flops + 1))))
            scale = (flops + 1) / (self.flops[key] + 1)
        train, evaluate = self.seconds[key]
        trained = min(recipe.limit or self.counts["train"], self.counts["train"])
        looked_at = min(trained, recipe.train_sample or trained)
        images = sum(looked_at if name == "train" else self.counts[name] for name in recipe.evaluate)
        return scale * (train * trained + evaluate * images)

    def run(self, recipe: Recipe) -> float:
        return recipe.epochs * self.epoch(recipe)


def timed(engine: LocalEngine, kinds: Sequence[Recipe]) -> dict[str, tuple[float, float]]:
    """Seconds an image of each kind of run (training, evaluation), measured in the workers as they will train."""
    if kinds:  # each worker loads the data before anything is timed
        engine.gather([Job(f"warm {i}", warm_job, (kinds[0],)) for i in range(len(engine.workers))])
    return engine.gather([Job(kind.id, time_job, (kind,)) for kind in kinds])


class Sweep:
    """Recipes become runs as they are asked for; finished ones are read, each is trained once. A run that fails is recorded with its reason, and the others go on."""

    def __init__(self, engine: LocalEngine, root: Path, costs: Costs, watcher: Watcher) -> None:
        self.engine, self.root, self.costs, self.watcher = engine, root, costs, watcher
        self.recipes: dict[str, Recipe] = {}
        self.runs: dict[str, Run | None] = {}  # of those that have ended; None where even the failure could not be recorded
        self.queue = JobQueue()
        self.events = engine.run(self.queue)

    def ask(self, recipes: Sequence[Recipe], rank: int = 0) -> tuple[float, float]:
        """Have these trained. Pilots, on which further requests wait, go first; then those of the lowest rank, and of these the longest.

        Answers with what the new ones cost, and with what those would have cost that were finished by an earlier process.
        """
        cost = skipped = 0.0
        for recipe in recipes:
            key = recipe.id
            if key in self.recipes:
                continue
            self.recipes[key] = recipe
            run = finished_run(self.root / key, self.watcher.say)
            if run is not None:
                self.runs[key] = run
                skipped += self.costs.run(recipe)
            else:
                one = self.costs.run(recipe)
                cost += one
                urgency = float("test" in recipe.evaluate), rank, -one
                self.queue.push(Job(key, train_job, (recipe, str(self.root))), urgency)
        return cost, skipped

    @property
    def idle(self) -> bool:
        """Whether all that was asked for has ended."""
        return len(self.runs) == len(self.recipes)

    def answer(self, recipes: Sequence[Recipe]) -> list[Run] | None:
        """The runs of what was asked for, in its order; None as long as one is missing."""
        if any(recipe.id not in self.runs for recipe in recipes):
            return None
        found = (self.runs[recipe.id] for recipe in recipes)
        return [run for run in found if run is not None]

    def wait(self) -> bool:
        """Watch until a run has ended; False where nothing is left to run."""
        for turn in range(2):
            for event in self.events:
                if self.see(event):
                    return True
            if turn or not self.queue:
                return False
            self.events = self.engine.run(self.queue)  # it had come to its end before more was asked for
        return False

    def see(self, event: Event) -> bool:
        """Whether the event ends a run."""
        recipe, watcher = self.recipes[event.key], self.watcher
        if event.kind == "started":
            watcher.started(recipe)
        elif event.kind == "progress":
            watcher.epoch(recipe, event.value, self.costs.epoch(recipe))
        elif event.kind == "done":
            self.end(recipe, read_run(Path(event.value)))
        else:
            try:
                self.end(recipe, record_failure(recipe, self.root, event.value))
            except OSError as error:  # a disk that is full fails this run's record, not the others
                self.runs[event.key] = None
                watcher.say(f"{describe(recipe)}: {event.value}; it could not be recorded: {error.strerror}")
        return event.key in self.runs

    def end(self, recipe: Recipe, run: Run) -> None:
        self.runs[recipe.id] = run
        self.watcher.ended(recipe, run)


def run_all(engine: LocalEngine, recipes: Sequence[Recipe], root: Path, costs: Costs, watcher: Watcher) -> list[Run]:
    """A run for each recipe, in their order."""
    sweep = Sweep(engine, root, costs, watcher)
    sweep.ask(recipes)
    while (runs := sweep.answer(recipes)) is None:
        ended = sweep.wait()
        assert ended, "an engine answers every job"
    return runs


def record_failure(recipe: Recipe, root: Path, why: str) -> Run:
    folder = RunFolder(root / recipe.id)
    folder.begin(recipe)
    folder.resume()
    return folder.finish(recipe, "failed", {"filters": 0, "parameters": 0, "flops": 0}, why)


def describe(recipe: Recipe) -> str:
    """A short name for progress lines."""
    return f"{one_line(label_of(recipe.model), 80)}, seed {recipe.seed}"
