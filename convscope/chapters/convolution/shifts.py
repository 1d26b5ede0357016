"""A trained network on shifted images: how many predictions stay, and accuracy, with intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from convscope.data import Dataset
from convscope.recipe import Recipe
from convscope.statistics import quantile
from convscope.training import (
    Run,
    Tensors,
    accelerate,
    autocast,
    eval_batch,
    place,
    resident,
    stratified_subset,
)

SHIFTS = (0, 1, 2, 3, 4)
BORDERS = ("circular", "edge")
# where the picture moves: axis, sign
DIRECTIONS = {"right": (-1, 1), "left": (-1, -1), "down": (-2, 1), "up": (-2, -1)}
FEWEST_IMAGES, MOST_IMAGES = 500, 5000
FLOPS = {"quick": 1e12, "standard": 2e13, "full": 1e14}  # to be spent on shifted images
Move = tuple[str, str, int]  # border, direction, pixels


def measure_shifts(net: nn.Module, run: Run, data: Dataset, flops: float) -> list[Any]:
    """[number of test images, rows]: a row for each border and shift, means over four directions.

    net: with its trained weights; run: whose recipe says how it computes; data: with a test split.
    flops: to be spent; where all test images would take more, a subset stratified by class is used.

    Intervals of shares are Wilson's for so many images, which is careful for a mean over
    directions. That of the change of accuracy is of the images' own differences.
    """
    recipe = run.recipe
    tensors = resident(recipe, data)
    place(net, recipe)
    labels = tensors.labels["test"]
    moves = [
        (border, way, k)
        for border in BORDERS
        for way in DIRECTIONS
        for k in shifts_for(tensors.in_shape)
    ]
    count = min(len(labels), images_for(flops, (1 + len(moves)) * run.size["flops"]))
    chosen = torch.arange(len(labels))
    if count < len(labels):
        chosen = stratified_subset(labels.cpu(), count, 0)
    base, moved = predictions(net, tensors, chosen, recipe, moves)
    return [count, shift_rows(base, moved, labels.cpu()[chosen])]


def shifts_for(in_shape: tuple[int, int, int]) -> list[int]:
    """Shifts by at least one pixel and less than the image's shorter side."""
    return [k for k in SHIFTS if 0 < k < min(in_shape[1:])]


def images_for(flops: float, each: float) -> int:
    return max(FEWEST_IMAGES, min(MOST_IMAGES, int(flops / max(1, each))))


def predictions(
    net: nn.Module, tensors: Tensors, chosen: Tensor, recipe: Recipe, moves: Sequence[Move]
) -> tuple[Tensor, dict[Move, Tensor]]:
    """Predicted classes of the chosen test images as they are, and after each move."""

    def classes(x: Tensor) -> Tensor:
        return net(x).argmax(1).cpu()

    base: list[Tensor] = []
    moved: dict[Move, list[Tensor]] = {move: [] for move in moves}
    net = accelerate(net, recipe, or_library=True).eval()
    with torch.no_grad(), autocast(recipe.device, recipe.precision):
        for index in chosen.split(eval_batch(recipe, tensors.in_shape)):
            x = tensors.inputs("test", index.to(recipe.device))
            base.append(classes(x))
            for move in moves:
                moved[move].append(classes(shifted(x, *move)))
    return torch.cat(base), {move: torch.cat(parts) for move, parts in moved.items()}


def shifted(x: Tensor, border: str, way: str, pixels: int) -> Tensor:
    """Images N × C × H × W moved by `pixels`.

    border: "circular", what leaves on one side comes in on the other, or "edge", which is repeated.
    """
    axis, sign = DIRECTIONS[way]
    size = x.shape[axis]
    source = torch.arange(size, device=x.device) - sign * pixels
    source = source % size if border == "circular" else source.clamp(0, size - 1)
    return x.index_select(axis % x.ndim, source)


def shift_rows(base: Tensor, moved: dict[Move, Tensor], labels: Tensor) -> list[dict[str, Any]]:
    """A row for each border and shift: shares of predictions unchanged and of right ones.

    base: predicted classes of the images as they are; moved: after each move; labels: the truth.
    """
    right = (base == labels).double()
    start = dict.fromkeys(("unchanged", "unchanged_low", "unchanged_high"))
    still = {"pixels": 0, **start, "ways": {}, **accuracy_of(right, torch.zeros_like(right))}
    rows = []
    for border in BORDERS:
        rows.append({"border": border, **still})
        for k in SHIFTS[1:]:
            ways = {way: moved[border, way, k] for way in DIRECTIONS if (border, way, k) in moved}
            if not ways:
                continue
            same = {way: float((found == base).double().mean()) for way, found in ways.items()}
            share = math.fsum(same.values()) / len(same)
            low, high = wilson(share, len(base))
            unchanged = {"unchanged": share, "unchanged_low": low, "unchanged_high": high}
            correct = torch.stack([(found == labels).double() for found in ways.values()]).mean(0)
            accuracy = accuracy_of(correct, correct - right)
            rows.append({"border": border, "pixels": k, **unchanged, "ways": same, **accuracy})
    return rows


def accuracy_of(correct: Tensor, change: Tensor) -> dict[str, Any]:
    """Accuracy with its interval, and by how much it changed, both from one number per image."""
    share = float(correct.mean())
    low, high = wilson(share, len(correct))
    mean = float(change.mean())
    wide = None
    if len(change) > 1:
        sd = float(change.std(correction=1))
        if sd > 0 or mean == 0:  # a handful of images that change alike leave no interval
            wide = quantile(0.95, len(change) - 1) * sd / math.sqrt(len(change))
    return {
        "accuracy": share,
        "accuracy_low": low,
        "accuracy_high": high,
        "change": mean,
        "change_low": None if wide is None else max(-1.0, mean - wide),
        "change_high": None if wide is None else min(1.0, mean + wide),
    }


def wilson(share: float, count: int) -> tuple[float, float]:
    """The 95 % interval of a binomial share (Wilson 1927); shares 0 and 1 have a width, too."""
    z = quantile(0.95, 0)
    middle = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z / (1 + z**2 / count) * math.sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
    return max(0.0, min(share, middle - half)), min(1.0, max(share, middle + half))
