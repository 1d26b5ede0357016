"""Whole-split figures of a network after an epoch."""

from __future__ import annotations

import functools
import math

from torch import Tensor, nn

from convscope.recipe import ConvNet, Recipe
from convscope.training.acceleration import accelerate
from convscope.training.checks import is_ours
from convscope.training.metrics import (
    OnCopies,
    Views,
    halved,
    logits_of,
    losses_of,
    metrics_by_image,
    metrics_of,
    packed,
)
from convscope.training.state import BY_IMAGE, LOSSES, RIGHT, Row
from convscope.training.tensors import Tensors, stratified_subset

EVAL_BATCH = {"cpu": 125, "cuda": 2000, "mps": 1000}  # images of 3×32×32

PIXELS = 3 * 32 * 32  # values of such an image

NARROW = 4  # filters


def predict(
    net: nn.Module,
    tensors: Tensors,
    split: str,
    recipe: Recipe,
    index: Tensor | None = None,
    views: str = "one",
) -> Tensor:
    """Logits N×K of a split's images, or of those that `index` names, in eval mode.

    They are averaged over views of each image where `views` is another than "one"
    (`Recipe.views`). They are computed by the recipe's kernels, or by the library where this
    machine hasn't got them.
    """
    inputs = functools.partial(batch_of, tensors, split, index)
    count = tensors.count(split) if index is None else len(index)
    net = accelerate(net, recipe, or_library=True)
    net = net if is_ours(recipe.model) else OnCopies(net)
    net = net if views == "one" else Views(net, views)
    batch = eval_batch(recipe, tensors.in_shape)
    return logits_of(net, count, inputs, recipe.device, recipe.precision, batch)


def eval_batch(recipe: Recipe, in_shape: tuple[int, int, int]) -> int:
    """Images C×H×W evaluated at once.

    On a CPU as many as keep the activations in the cache, which is more for narrow networks
    (measured); on a GPU as many as occupy it. Larger images come in smaller batches.
    """
    kind = recipe.device.partition(":")[0]
    channels, height, width = in_shape
    share = PIXELS / (channels * height * width)
    if kind == "cpu" and height * width <= PIXELS // 3:
        share = 1.0
    elif kind == "cpu":
        share = min(1.0, share)
    narrow = isinstance(recipe.model, ConvNet) and recipe.model.width <= NARROW
    return max(1, int(share * (4 * EVAL_BATCH[kind] if narrow else EVAL_BATCH[kind])))


def batch_of(tensors: Tensors, split: str, index: Tensor | None, start: int, stop: int) -> Tensor:
    return tensors.inputs(split, slice(start, stop) if index is None else index[start:stop])


def evaluated_images(tensors: Tensors, split: str, recipe: Recipe) -> Tensor | None:
    """Indices of the images of a split that are evaluated; None: all."""
    if (
        split != "train"
        or recipe.train_sample is None
        or recipe.train_sample >= tensors.count("train")
    ):
        return None
    return stratified_subset(
        tensors.labels["train"].cpu(), recipe.train_sample, recipe.split_seed
    ).to(recipe.device)


def evaluate_splits(
    net: nn.Module, tensors: Tensors, recipe: Recipe
) -> tuple[Row, dict[str, Tensor]]:
    """Metrics of each split, and the losses and right answers by which networks are compared.

    The latter are of the validation and the test images, in their order.
    """
    row: Row = {}
    by_image: dict[str, Tensor] = {}
    for name in recipe.evaluate:
        if tensors.count(name) == 0:  # no validation split was asked for
            continue
        index = evaluated_images(tensors, name, recipe)
        labels = tensors.labels[name] if index is None else tensors.labels[name][index]
        logits = predict(net, tensors, name, recipe, index)
        losses, right = losses_of(logits, labels), logits.argmax(1) == labels
        metrics = metrics_by_image(losses, right)
        if name in BY_IMAGE:
            by_image[f"{LOSSES}.{name}"] = halved(losses)
            by_image[f"{RIGHT}.{name}"] = packed(right)
        for key in ("loss", "accuracy", "loss_sd"):
            value = getattr(metrics, key)
            row[f"{name}_{key}"] = value if math.isfinite(value) else None
    return row, by_image


def evaluate_views(net: nn.Module, tensors: Tensors, recipe: Recipe) -> Row:
    """Loss and accuracy of logits averaged over views of each image, on val and test."""
    row: Row = {}
    for name in recipe.evaluate:
        if name != "train" and tensors.count(name):
            logits = predict(net, tensors, name, recipe, views=recipe.views)
            metrics = metrics_of(logits, tensors.labels[name])
            row |= {f"{name}_views_loss": metrics.loss, f"{name}_views_accuracy": metrics.accuracy}
    return {
        key: value if value is not None and math.isfinite(value) else None
        for key, value in row.items()
    }
