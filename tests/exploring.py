"""A page of made-up runs for the tests of its explorer and playground: no findings, no charts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import reporting
import torch

from convscope.data import Dataset
from convscope.models import size_of
from convscope.recipe import ConvNet, Recipe
from convscope.report.files import results
from convscope.report.page import page_of
from convscope.training import Run
from convscope.training.metrics import packed
from convscope.training.run_folder import BEST
from convscope.training.state import RIGHT
from convscope.training.tensor_files import write_tensors

WIDTHS, DEPTHS, SEEDS = (4, 8, 16), (1, 2), (0, 1)
SHAPE, CLASSES = (3, 8, 8), 2  # of the images that `reporting` makes up


def networks(folder: Path) -> list[Run]:
    """Three widths at two depths, two seeds each; overfitting begins at the third epoch."""
    runs = []
    for depth in DEPTHS:
        for width in WIDTHS:
            for seed in SEEDS:
                level = 2 / width + 0.1 * depth + 0.01 * seed
                train = [level + 0.3, level + 0.2, level + 0.1]
                val = [level + 0.4, level + 0.32, level + 0.36]
                recipe = Recipe(model=ConvNet(width, depth), seed=seed, lr=1e-3 * depth)
                runs.append(run_of(folder, recipe, train, val, 0.893 - level / 2))
    return runs


def run_of(
    folder: Path, recipe: Recipe, train: list[float], val: list[float], accuracy: float = 0.5
) -> Run:
    """A run as it would be read from disk, with its network's true sizes."""
    losses = zip(train, val, val, strict=True)
    rows = []
    for epoch, values in enumerate(losses, 1):
        row: dict[str, float] = {"epoch": epoch, "seconds": 1.0}
        for split, value in zip(("train", "val", "test"), values, strict=True):
            row |= {f"{split}_loss": value, f"{split}_accuracy": accuracy + 0.01 * epoch}
        rows.append(row)
    size = size_of(recipe.model, SHAPE, CLASSES)
    counts = {key: getattr(size, key) for key in ("filters", "parameters", "flops")}
    return Run(folder / recipe.id, recipe, tuple(rows), "finished", counts, 1.0 * len(rows))


def answer(run: Run, right: Sequence[bool]) -> None:
    """Record which of the test images a run gets right at its best epoch."""
    run.path.mkdir(exist_ok=True)
    write_tensors(run.path / BEST, {f"{RIGHT}.test": packed(torch.tensor(right))}, {})


def write(
    path: Path, runs: Sequence[Run], told: str = reporting.HARMLESS, data: Dataset | None = None
) -> Path:
    """The page of these runs; told: goes to every place where a text from outside stands."""
    data = data or reporting.made_data(("a", "b"), told)
    about = reporting.about_of(data, told)
    tree = tree_of(about, runs)
    path.write_bytes(page_of(about, {}, tree, data, None, runs))  # pyright: ignore
    return path


def tree_of(about: dict[str, Any], runs: Sequence[Run]) -> dict[str, Any]:
    return results(about, {}, tuple(runs), {run.id: {"capacity": "sweep"} for run in runs}, "end")


def name_in(page: Any, model: ConvNet) -> str:
    """What a page calls the network of these tests that has this model's width and depth."""
    return page.evaluate(
        """([width, depth]) => convscope.explorer.networks.find(
          ({ model }) => model.width === width && model.depth === depth).name""",
        [model.width, model.depth],
    )


def point(page: Any, width: int, depth: int, chart: str = "#ex-chart") -> Any:
    """A network's point in a chart."""
    name = name_in(page, ConvNet(width, depth))
    return page.locator(f"{chart} [aria-label^='{name}:']")
