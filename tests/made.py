"""Made-up images, studies and runs: a chapter is driven without training anything."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from convscope.chapters import nonlinearity
from convscope.data.dataset import Dataset, Split
from convscope.models.sizes import size_of
from convscope.planning.context import Context
from convscope.probes.affine import Part
from convscope.recipe.networks import ConvNet
from convscope.recipe.recipe import Recipe
from convscope.training.runs import Run

SMALL = ConvNet(3, 2, hidden=(6,))  # what `small_nonlinearity` takes nonlinear parts out of
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


def grey_file(path: Path, width: int, **more: Any) -> Path:
    """90 training and 60 test images of noise in three classes, 8 pixels high; `more` arrays."""
    draw = np.random.default_rng(0)
    x, labels = draw.integers(0, 256, (150, 8, width, 1), dtype=np.uint8), np.arange(150) % 3
    split = {"x_train": x[:90], "y_train": labels[:90], "x_test": x[90:], "y_test": labels[90:]}
    np.savez(path, **split, **more)
    return path


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


def run_by_epoch(
    root: Path,
    model: ConvNet,
    train: list[float],
    val: list[float],
    test: list[float] | None = None,
    *,
    seed: int = 0,
    sd: float = 0.0,
    parameters: int = 0,
    status: str = "finished",
    accuracy: float = 0.5,
    **recipe: object,
) -> Run:
    """A run as it would be read from disk, from the losses of its epochs.

    Test losses are the validation losses + 0.01 unless given.
    """
    given = Recipe(model=model, seed=seed, **recipe)
    rows = []
    for i, losses in enumerate(zip(train, val, test or [v + 0.01 for v in val], strict=True), 1):
        row: dict[str, float] = {
            "epoch": i,
            "lr": given.lr,
            "train_seconds": 0.5,
            "seconds": 1.0,
        }
        for split, loss in zip(("train", "val", "test"), losses, strict=True):
            row |= {
                f"{split}_loss": loss,
                f"{split}_accuracy": accuracy,
                f"{split}_loss_sd": sd,
            }
        rows.append(row)
    size = {
        "filters": sum(model.channels),
        "parameters": parameters or 100 * sum(model.channels),
        "flops": 1000 * model.width,
    }
    return Run(root / given.id, given, tuple(rows), status, size, 1.0 * len(rows))


def small_nonlinearity(patch: pytest.MonkeyPatch) -> None:
    """The nonlinearity chapter with `SMALL`, one epoch, two rates, one network twice as wide."""
    preset = nonlinearity.Preset(1, (2e-3, 4e-3), (2,), SMALL, False)
    patch.setitem(nonlinearity.PRESETS, "quick", preset)
    patch.setattr("convscope.chapters.nonlinearity.analysis.measured_parts", measured_parts)
    patch.setattr("convscope.planning.epochs.MOST_EPOCHS", 1)


def measured_parts(model: ConvNet, dataset: Dataset) -> list[Part]:
    """The nonlinearity chapter's own, once per network: it takes a second."""
    key = (model, dataset.in_shape, dataset.num_classes)
    if key not in _measured:
        _measured[key] = measure(model, dataset)
    return _measured[key]
