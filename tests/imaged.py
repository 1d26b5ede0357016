"""Hand-made runs with values by image on disk, as training records them."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
import torch

from convscope.data.dataset import Dataset
from convscope.training.metrics import packed
from convscope.training.run_folder import BEST, CHECKPOINT, VAL_LOSSES
from convscope.training.runs import Run
from convscope.training.state import LOSSES, RIGHT
from convscope.training.tensor_files import write_tensors


def with_images(run: Run, data: Dataset, hard: float = 0.3, own: float = 0.02) -> Run:
    """The run with losses and right answers of each image, whose means are those of its rows.

    hard: standard deviation over images of what all runs share: some images are harder.
    own: that of what belongs to this run and epoch alone.
    """
    run.path.mkdir(parents=True, exist_ok=True)
    draw = np.random.default_rng(run.recipe.seed + 1000 * sum(run.path.name.encode()))
    counts = {"val": len(data.val), "test": len(data.test)}
    losses = {split: by_epoch(run, split, n, hard, own, draw) for split, n in counts.items()}
    places = {BEST: run.rows.index(run.best), CHECKPOINT: len(run.rows) - 1}
    for file, place in places.items():
        tensors = {}
        for split, n in counts.items():
            tensors[f"{LOSSES}.{split}"] = torch.from_numpy(losses[split][place]).half()
            right = round(run.rows[place][f"{split}_accuracy"] * n)
            order = np.argsort(losses[split][place], kind="stable")
            tensors[f"{RIGHT}.{split}"] = packed(torch.from_numpy(order.argsort() < right))
        write_tensors(run.path / file, tensors, {})
    (run.path / VAL_LOSSES).write_bytes(losses["val"].astype("<f2").tobytes())
    files = {
        name: hashlib.sha256((run.path / name).read_bytes()).hexdigest()
        for name in (BEST, CHECKPOINT, VAL_LOSSES)
    }
    return replace(run, files=files)


def by_epoch(
    run: Run, split: str, images: int, hard: float, own: float, draw: np.random.Generator
) -> np.ndarray:
    """Losses epochs × images around the means of the rows."""
    shared = np.random.default_rng(7).normal(0, hard, images)
    out = []
    for row in run.rows:
        noise = shared + draw.normal(0, own, images)
        out.append(row[f"{split}_loss"] + noise - noise.mean())
    return np.array(out)
