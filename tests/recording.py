"""What tests of run folders share: one run, broken off, or compared to the bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from convscope.recipe.networks import ConvNet
from convscope.recipe.recipe import Recipe
from convscope.training.main_path import train
from convscope.training.runs import Run
from convscope.training.tensor_files import read_tensors

FILES = [
    "recipe.json",
    "metrics.jsonl",
    "val_losses.f16",
    "checkpoint.safetensors",
    "best.safetensors",
    "environment.json",
    "images.json",
    "result.json",
]


def blink(micro: Path) -> Recipe:
    """A run that takes a blink."""
    return Recipe(
        data=str(micro),
        model=ConvNet(width=2, depth=1),
        epochs=4,
        batch=30,
        lr=0.003,
        schedule="cosine",
        flip=True,
    )


class Stop(Exception):
    pass


def interrupted(recipe: Recipe, root: Path, epochs: int) -> Path:
    """The folder of a run that was broken off after so many epochs."""

    def log(row: dict[str, Any]) -> None:
        if row["epoch"] == epochs:
            raise Stop

    with pytest.raises(Stop):
        train(recipe, root, log=log)
    (path,) = (path for path in root.iterdir() if path.is_dir())
    assert not (path / "result.json").exists()
    return path


def figures(run: Run) -> list[dict[str, Any]]:
    return [{key: value for key, value in row.items() if "seconds" not in key} for row in run.rows]


def assert_same(run: Run, whole: Run) -> None:
    """Metrics but for the seconds, and all weights and optimiser states, to the bit."""
    assert (run.recipe, run.status, run.size, run.message) == (
        whole.recipe,
        whole.status,
        whole.size,
        whole.message,
    )
    assert figures(run) == figures(whole)
    for name in ("checkpoint.safetensors", "best.safetensors"):
        (ours, ours_meta), (theirs, theirs_meta) = (
            read_tensors(run.path / name),
            read_tensors(whole.path / name),
        )
        assert ours.keys() == theirs.keys() and ours_meta["epoch"] == theirs_meta["epoch"]
        assert all(torch.equal(ours[key], theirs[key]) for key in ours), name
    losses = [one.path / "val_losses.f16" for one in (run, whole)]
    assert losses[0].read_bytes() == losses[1].read_bytes()
