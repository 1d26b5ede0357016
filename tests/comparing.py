"""Hand-made finished runs on disk, with values by image, for comparisons."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import made
from imaged import with_images

from convscope.data.dataset import Dataset
from convscope.recipe.networks import ConvNet
from convscope.training.run_folder import METRICS, VAL_LOSSES, RunFolder, metrics_of
from convscope.training.runs import Run

MakeRun = Callable[..., Run]
DATA = made.images((3, 8, 8), test=2_000)
CLOSE = (0.0, 0.001, -0.001)  # what seeds add to an accuracy


def on_disk(run: Run, folder: Path, data: Dataset = DATA) -> Run:
    """The run in folder/ID, finished, as training leaves it."""
    run = with_images(replace(run, path=folder / run.recipe.id), data)
    record = RunFolder(run.path)
    record.rows = [dict(row) for row in run.rows]
    record.begin(run.recipe)
    (run.path / METRICS).write_bytes(metrics_of(record.rows))
    record.losses = hashlib.sha256((run.path / VAL_LOSSES).read_bytes())
    return record.finish(run.recipe, run.status, run.size, run.message)


def configuration(
    make_run: MakeRun,
    folder: Path,
    width: int,
    accuracy: float,
    seeds: Sequence[float] = CLOSE,
    first: int = 0,
    **recipe: object,
) -> list[Run]:
    """Runs of one network, one for each value that a seed adds to its accuracy."""
    return [
        on_disk(
            make_run(
                ConvNet(width, 1),
                [1.0, 0.8],
                [1.0, 1.4 - accuracy],
                seed=seed,
                accuracy=accuracy + more,
                **recipe,
            ),
            folder,
        )
        for seed, more in enumerate(seeds, first)
    ]
