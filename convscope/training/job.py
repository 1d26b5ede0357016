"""Training as a job of an engine: called in a worker, with arguments that pickle."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from convscope.recipe import Recipe
from convscope.training.main_path import train
from convscope.training.memory import keep_freed_memory


def train_job(report: Callable[[Any], None], recipe: Recipe, root: str) -> str:
    """Train a recipe below `root`, reporting each epoch's row; returns the run's folder."""
    keep_freed_memory()
    return str(train(recipe, root, log=report).path)
