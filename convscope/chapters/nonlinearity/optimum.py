"""The lowest training loss of all affine maps on the chapter's training images."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from convscope.data import Dataset
from convscope.planning import Context
from convscope.recipe import Recipe
from convscope.statistics import SoftmaxOptimum, affordable_optimum, softmax_optimum
from convscope.training import Tensors, resident


def training_images(recipe: Recipe, data: Dataset) -> Tensors:
    """The recipe's training images in float32 on the CPU, whatever it trains with."""
    return resident(replace(recipe, precision="float32", device="cpu"), data)


def batches(tensors: Tensors) -> Iterator[tuple[Tensor, Tensor]]:
    """(inputs as n×D, labels) of the training images, 1,000 at a time."""
    labels = tensors.labels["train"]
    for start in range(0, len(labels), 1000):
        rows = slice(start, start + 1000)
        yield tensors.inputs("train", rows).flatten(1), labels[rows]


def optimum_of(context: Context, recipe: Recipe) -> SoftmaxOptimum | None:
    """Computed once a study, on the training images of `recipe`.

    None where the images are too many or too large for it (`affordable_optimum`), and where an
    earlier study has not computed it.
    """
    images = min(len(context.data.train), recipe.limit or len(context.data.train))
    size = context.data.train.images[0].numel()

    def computed() -> dict[str, float | int] | None:
        if not affordable_optimum(images, size):
            return None
        tensors = training_images(recipe, context.data)
        inputs = torch.cat([part for part, _ in batches(tensors)])
        labels = tensors.labels["train"]
        return asdict(softmax_optimum(inputs, labels, context.data.num_classes))

    found = context.measure(f"softmax regression's optimum on {images} images", computed)
    return SoftmaxOptimum(**found) if found is not None else None


def training_loss(weight: Tensor, bias: Tensor, recipe: Recipe, data: Dataset) -> float:
    """The mean loss of x ↦ W x + b over all training images of `recipe`, in float64.

    weight: W as K×D in float64; bias: b.
    """
    total, count = 0.0, 0
    for inputs, labels in batches(training_images(recipe, data)):
        logits = inputs.double() @ weight.T + bias
        total += float(F.cross_entropy(logits, labels, reduction="sum"))
        count += len(labels)
    return total / count
