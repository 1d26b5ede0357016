"""What a trained network answers on the test images with the few bits of a device, simulated."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from convscope.chapters.best.clock import threads
from convscope.errors import UserError
from convscope.planning import Context
from convscope.statistics import Configuration, quantile
from convscope.training import Run, network, note_unreadable, place, predict, resident

CALIBRATION = 512  # training images from which the ranges of feature maps are taken

PART = 128  # of them at a time


@dataclass(frozen=True)
class Around:
    """A mean with its 95 % interval over images and seeds."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Rounded:
    """A configuration with weights and feature maps rounded to few bits.

    accuracy: on the test images.
    change: that minus the accuracy without rounding, paired by run and image.
    """

    accuracy: Around
    change: Around


def rounded(context: Context, one: Configuration) -> Rounded | None:
    """None where weights cannot be read, and no earlier process has looked at them."""
    few = [right_with_bits(context, run) for run in one.runs]
    known = [answers for answers in few if answers is not None]
    if len(known) < len(few) or not all(len(right) for right in one.right):
        return None
    changes = [a.astype(float) - b for a, b in zip(known, one.right, strict=True)]
    accuracy = around([a.astype(float) for a in known])
    low, high = max(0.0, accuracy.low), min(1.0, accuracy.high)
    return Rounded(replace(accuracy, low=low, high=high), around(changes))


def around(values: Sequence[NDArray[np.floating]]) -> Around:
    """The mean over runs and images; values: an array over the same images for each run.

    The variance is that of the images' means over the runs, divided by their number, and that of
    the runs' means, divided by theirs; degrees of freedom as Satterthwaite 1946.
    """
    table = np.stack(list(values))  # runs × images
    runs, images = table.shape
    mean = float(table.mean())
    of_images = float(table.mean(0).var(ddof=1)) / images if images > 1 else 0.0
    of_runs = float(table.mean(1).var(ddof=1)) / runs if runs > 1 else 0.0
    total = of_images + of_runs
    degrees = 0 if not of_runs else max(1, round((runs - 1) * (total / of_runs) ** 2))
    half = quantile(0.95, degrees) * math.sqrt(total)
    return Around(mean, mean - half, mean + half)


def right_with_bits(context: Context, run: Run) -> NDArray[np.bool_] | None:
    """Which test images a run classifies right with the device's bits."""
    bits = context.search.bits

    def answers() -> str | None:
        try:
            logits = logits_with_bits(context, run)
        except UserError as error:
            note_unreadable(f"answers at {bits} bits", run, error)
            return None
        right = (logits.argmax(1) == context.data.test.labels).numpy()
        return np.packbits(right).tobytes().hex()

    known: Any = context.computed(f"test answers at {bits} bits, simulated", run, answers)
    if known is None:
        return None
    return np.unpackbits(np.frombuffer(bytes.fromhex(known), np.uint8))[
        : len(context.data.test.labels)
    ].astype(bool)


def logits_with_bits(context: Context, run: Run) -> torch.Tensor:
    """Logits N×K of the test images; ranges come from training images alone."""
    from convscope.deployment import Simulated

    # by torch's own operations, which the simulation can see
    recipe = replace(run.recipe, device="cpu", precision="float32", kernels="library")
    net = network(run, data=context.data)
    tensors = resident(recipe, data=context.data)
    count = min(CALIBRATION, len(context.data.train))
    with threads(recipe), torch.no_grad():
        batches = (
            tensors.inputs("train", slice(start, min(count, start + PART)))
            for start in range(0, count, PART)
        )
        few = Simulated(net, batches, context.search.bits)
        return predict(place(few, recipe), tensors, "test", recipe).double().cpu()
