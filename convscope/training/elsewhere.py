"""A run that is trained on a machine with other disks: its files are sent, and written here.

The worker trains in a folder of its own. Only the process that asked for the run writes the run's
folder, so that no file system is shared.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from convscope.files import write_bytes
from convscope.recipe import Recipe
from convscope.training.main_path import finished_meanwhile, run_lock, train
from convscope.training.memory import keep_freed_memory
from convscope.training.run_folder import BEST, CHECKPOINT, FILES, RunFolder, read_run
from convscope.training.run_paths import run_path
from convscope.training.runs import Run
from convscope.training.state import Row

RESULT = "result.json"

SEND_EVERY = 60.0  # seconds after which a row brings the files of the unfinished run with it

Files = dict[str, bytes]  # of a run's folder: name -> content


def train_elsewhere(
    report: Callable[[tuple[Row, Files]], None], recipe: Recipe, begun: Mapping[str, bytes]
) -> Files:
    """Train a recipe in a folder of this machine; returns the files of the finished run.

    report: is called with each epoch's row and, now and then, the files as they are then.
    begun: the files of a run that was broken off; empty where it begins.
    """
    keep_freed_memory()
    with tempfile.TemporaryDirectory(prefix="convscope-run-") as root:
        place = Path(root, recipe.id)
        if begun:
            place.mkdir()
            for name in FILES:
                if name in begun:
                    write_bytes(place / name, begun[name])
        last = time.monotonic()

        def log(row: Row) -> None:
            nonlocal last
            late = time.monotonic() - last > SEND_EVERY
            report((row, files_in(place) if late else {}))
            if late:
                last = time.monotonic()

        return files_in(train(recipe, root, log=log).path)


def files_in(place: Path) -> Files:
    """The files of a run's folder that are there."""
    names = (*FILES, RESULT)
    return {name: (place / name).read_bytes() for name in names if (place / name).exists()}


def begun_files(recipe: Recipe, root: Path) -> Files:
    """What is on disk of a run that was broken off; empty where it has no checkpoint."""
    place = run_path(recipe, root)
    if not (place / CHECKPOINT).exists():
        return {}
    return {name: content for name, content in files_in(place).items() if name != RESULT}


def receive(recipe: Recipe, root: Path, files: Mapping[str, bytes]) -> Run | None:
    """Write the files of a run into its folder below `root`; what came before stays.

    files: with those of a finished run the run is finished here, too.
    Returns the finished run, which an earlier answer may have brought; None for a broken-off one.
    Raises UserError where another process trains the run, and OSError where the disk is full.
    """
    folder = RunFolder(run_path(recipe, root))
    with run_lock(folder.path):
        if (run := finished_meanwhile(folder)) is not None:
            return run  # a late duplicate
        for name in (*(name for name in FILES if name != CHECKPOINT), CHECKPOINT):
            if name in files:
                write_bytes(folder.path / name, files[name])
            elif name in (BEST, CHECKPOINT):
                (folder.path / name).unlink(missing_ok=True)
        if RESULT not in files:
            return None
        write_bytes(folder.path / RESULT, files[RESULT])
        return read_run(folder.path)
