"""Made-up images, studies and runs: a chapter is driven without training anything."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from convscope.chapters import nonlinearity
from convscope.data.dataset import Dataset, Split
from convscope.models.sizes import size_of
from convscope.planning.context import Context
from convscope.probes.affine import Part
from convscope.recipe.networks import ConvNet
from convscope.recipe.recipe import Recipe
from convscope.training.runs import Run

measure = nonlinearity.measured_parts
_measured: dict[tuple[object, ...], list[Part]] = {}

NAME = "na\x1bme\nwith\x00more"


def images(
    shape: tuple[int, int, int], classes: int = 10, test: int = 10_000, name: str = NAME
) -> Dataset:
    """Black images with labels in turn."""

    def split(count: int) -> Split:
        return Split(
            torch.zeros(1, dtype=torch.uint8).expand(count, *shape), torch.arange(count) % classes
        )

    names = tuple(map(str, range(classes)))
    return Dataset(name, split(90), split(100), split(test), names, "0" * 64, "made", "none", ())


def context(chapter: str, dataset: Dataset, seeds: int = 3, **more: Any) -> Context:
    """A study of one chapter, or of those that are given as `chapters`."""
    base = Recipe(data="made", data_hash="0" * 64, batch=8)
    chapters = more.pop("chapters", (chapter,))
    return Context(dataset, "quick", tuple(range(seeds)), base, chapters, **more)


def run(
    recipe: Recipe,
    shape: tuple[int, int, int],
    values: dict[str, tuple[float, float]],
    status: str = "finished",
) -> Run:
    """A run of one epoch without weights; `values` are loss and accuracy on each split."""
    row: dict[str, Any] = {"epoch": 1, "lr": recipe.lr, "seconds": 1.0}
    for name in recipe.evaluate:
        loss, accuracy = values[name]
        row |= {f"{name}_loss": loss, f"{name}_accuracy": accuracy, f"{name}_loss_sd": 1.0}
    size = size_of(recipe.model, shape, 10)
    counts = {"filters": size.filters, "parameters": size.parameters, "flops": size.flops}
    return Run(Path("/nowhere") / recipe.id, recipe, (row,), status, counts, 1.0)


def measured_parts(model: ConvNet, dataset: Dataset) -> list[Part]:
    """The nonlinearity chapter's own, once per network: it takes a second."""
    key = (model, dataset.in_shape, dataset.num_classes)
    if key not in _measured:
        _measured[key] = measure(model, dataset)
    return _measured[key]
