"""What runs cost on this machine, measured by kind of run."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

from convscope.data import Dataset
from convscope.engines import Engine, Job
from convscope.errors import UserError
from convscope.machine.choosing import Report
from convscope.models import build, size_of
from convscope.recipe import Recipe
from convscope.training import (
    accelerate,
    autocast,
    eval_batch,
    keep_freed_memory,
    optimiser,
    own_settings,
    place,
    resident,
    seconds_now,
    step,
)


def warm_job(_report: Report, recipe: Recipe) -> None:
    resident(recipe)


def time_job(_report: Report, recipe: Recipe) -> tuple[float, float]:
    """Seconds of one image's training and of its evaluation, from a few batches of each."""
    keep_freed_memory()
    with own_settings(recipe.device, recipe.threads):
        return image_seconds(recipe)


def image_seconds(recipe: Recipe) -> tuple[float, float]:
    """Seconds of one image's training and of one image's evaluation."""
    import torch

    tensors = resident(recipe)
    net = build(recipe.model, tensors.in_shape, tensors.num_classes)
    net = accelerate(place(net, recipe), recipe)
    optimizer = optimiser(net, recipe)
    count = tensors.count("train")
    batch, evaluated = min(recipe.batch, count), min(eval_batch(recipe, tensors.in_shape), count)
    index = torch.arange(batch, device=recipe.device)
    labels = tensors.labels["train"][index]

    def one_step() -> None:
        step(net, optimizer, tensors.inputs("train", index), labels, recipe).item()

    def one_evaluation() -> None:
        net.eval()
        with torch.no_grad(), autocast(recipe.device, recipe.precision):
            # a copy: a user's network may write into what are the images of the next runs
            net(tensors.inputs("train", slice(0, evaluated)).clone()).sum().item()
        net.train()

    return (
        seconds_of(one_step, device=recipe.device) / batch,
        seconds_of(one_evaluation, device=recipe.device) / evaluated,
    )


# a slow call is timed fewer times: so many at least, and no further from so many seconds on
FEWEST, ENOUGH = 3, 0.3


def seconds_of(call: Callable[[], None], turns: int = 5, device: str = "cpu") -> float:
    """The lower quartile of a few calls, of slow ones fewer, after two to warm up.

    What else the machine does slows calls, never speeds them: their median was a fifth above what
    a step of a whole run took. `device` has finished when the clock is read.
    """
    call()
    call()
    times: list[float] = []
    while len(times) < turns and (len(times) < FEWEST or sum(times) < ENOUGH):
        started = seconds_now(device)
        call()
        times.append(seconds_now(device) - started)
    return sorted(times)[len(times) // 4]


# what a run costs per image does not depend on these
FREE: dict[str, Any] = {
    "seed": 0,
    "epochs": 1,
    "lr": 1.0,
    "schedule": "constant",
    "weight_decay": 0.0,
    "label_smoothing": 0.0,
    "limit": None,
    "subset_seed": None,
    "label_noise": 0.0,
    "noise_seed": None,
    "evaluate": Recipe().evaluate,
    "evaluate_every": 1,
    "train_sample": None,
    "flip": False,
    "crop": 0,
    "cutout": 0,
}
KEPT = [field.name for field in fields(Recipe) if field.name not in FREE]


def cost_kind(recipe: Recipe) -> Recipe:
    """A recipe that stands for all that cost as much per image as this one."""
    return replace(recipe, **FREE)


class Costs:
    """Seconds that runs take in one worker: measured, or by FLOPs from the nearest kind of run.

    data: the images.
    seconds: by the id of a kind of run those of one image's training and of its evaluation.
    kinds: the kinds of run that were measured.
    """

    def __init__(
        self, data: Dataset, seconds: Mapping[str, tuple[float, float]], kinds: Sequence[Recipe]
    ) -> None:
        self.counts = {"train": len(data.train), "val": len(data.val), "test": len(data.test)}
        self.seconds = dict(seconds)
        self.flops = {kind.id: self._flops(kind, data) for kind in kinds if kind.id in self.seconds}
        self.data = data
        self.ids: dict[tuple[object, ...], str] = {}

    @classmethod
    def at_most(cls, data: Dataset, kinds: Sequence[Recipe], rate: float) -> Costs:
        """The least that runs can take at a rate, in FLOPs a second; nothing is measured.

        Training costs three times as much as evaluation.
        """
        made = cls(data, {}, ())
        made.flops = {kind.id: cls._flops(kind, data) for kind in kinds}
        made.seconds = {key: (3 * flops / rate, flops / rate) for key, flops in made.flops.items()}
        return made

    @staticmethod
    def _flops(recipe: Recipe, data: Dataset) -> int:
        try:
            return size_of(recipe.model, data.in_shape, data.num_classes).flops
        except UserError:  # its run will say so
            return 0

    def epoch(self, recipe: Recipe) -> float:
        """Seconds of one epoch that is evaluated."""
        return sum(self._parts(recipe))

    def since_row_before(self, recipe: Recipe, epoch: int) -> float:
        """Seconds since the evaluation before that of this epoch, counted from 1."""
        train, evaluate = self._parts(recipe)
        return ((epoch - 1) % recipe.evaluate_every + 1) * train + evaluate

    def _kind_id(self, recipe: Recipe) -> str:
        """The id of a recipe's kind, made once: thousands of runs are of a few kinds."""
        kept = tuple(getattr(recipe, name) for name in KEPT)
        if (key := self.ids.get(kept)) is None:
            key = self.ids[kept] = cost_kind(recipe).id
        return key

    def _parts(self, recipe: Recipe) -> tuple[float, float]:
        """Seconds of one epoch's training and of one evaluation."""
        key = self._kind_id(recipe)
        scale = 1.0
        if key not in self.seconds:
            if not self.flops:
                return 0.0, 0.0
            flops = self._flops(recipe, self.data)
            key = min(
                self.flops, key=lambda known: abs(math.log((self.flops[known] + 1) / (flops + 1)))
            )
            scale = (flops + 1) / (self.flops[key] + 1)
        train, evaluate = self.seconds[key]
        trained = min(recipe.limit or self.counts["train"], self.counts["train"])
        looked_at = min(trained, recipe.train_sample or trained)
        images = sum(
            looked_at if name == "train" else self.counts[name] for name in recipe.evaluate
        )
        return scale * train * trained, scale * evaluate * images

    def run(self, recipe: Recipe) -> float:
        """Seconds of a whole run."""
        train, evaluate = self._parts(recipe)
        return recipe.epochs * train + math.ceil(recipe.epochs / recipe.evaluate_every) * evaluate


def timed(engine: Engine, kinds: Sequence[Recipe]) -> dict[str, tuple[float, float]]:
    """By kind of run the seconds of one image's training and of its evaluation.

    They are measured in the engine's workers, as they will train.
    """
    if kinds:  # each worker loads the data before anything is timed
        engine.gather([Job(f"warm {i}", warm_job, (kinds[0],)) for i in range(len(engine.workers))])
    return engine.gather([Job(kind.id, time_job, (kind,)) for kind in kinds])
