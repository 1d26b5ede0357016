"""THE MAIN PATH: a recipe becomes a run. Read it from top to bottom.

name ─ data ─▶ tensors ─ models ─▶ network ─ fit ─▶ a row an epoch ─ record ─▶ run folder
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import torch
from filelock import FileLock, Timeout

from convscope.data import dataset as datasets
from convscope.errors import UserError, one_line
from convscope.files import set_aside
from convscope.models import build, size_of
from convscope.recipe import Recipe
from convscope.training.acceleration import why_no_kernels
from convscope.training.checks import check_fits, is_out_of_memory
from convscope.training.loop import fit
from convscope.training.memory import keep_freed_memory
from convscope.training.resident_data import load, resident
from convscope.training.run_folder import RunFolder, is_finished
from convscope.training.runs import Run
from convscope.training.state import Row, State
from convscope.training.trained import finished_run


def train(
    recipe: Recipe,
    root: Path | str = "runs",
    *,
    data: datasets.Dataset | None = None,
    log: Callable[[Row], None] | None = None,
) -> Run:
    """Train one network and record it in root/ID; a finished run is read, a broken-off one goes on from its last epoch.

    `data` spares loading what recipe.data names; `log` is called with each epoch's row. Raises UserError where recipe and data don't
    fit or another process is at this very run; a network too large for memory and a loss that is not finite are results, not errors.
    """
    # data: a name or a path becomes uint8 tensors; their hash becomes part of the recipe
    if data is None and not recipe.data_hash:
        data = load(recipe)
    if data is not None:
        if data.held_out not in (None, (recipe.val, recipe.split_seed)):
            raise UserError(
                f"val, split_seed = {recipe.val:g}, {recipe.split_seed} in the recipe: the data were loaded with {data.held_out}"
            )
        recipe = replace(recipe, data_hash=data.hash)
    folder = RunFolder(Path(root) / recipe.id)
    if (run := finished_run(folder.path)) is not None:
        return run
    if reason := why_no_kernels(recipe.precision, recipe.kernels):
        raise UserError(
            f"kernels = {recipe.kernels}: {one_line(reason)}; kernels = library needs nothing"
        )

    # network: the same seed gives the same weights; its size is counted exactly
    tensors = resident(recipe, data)
    size = size_of(recipe.model, tensors.in_shape, tensors.num_classes)
    counts = {"filters": size.filters, "parameters": size.parameters, "flops": size.flops}
    try:
        net = build(recipe.model, tensors.in_shape, tensors.num_classes, recipe.seed)
        check_fits(net, tensors, recipe)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        net = None

    with run_lock(folder.path):
        if is_finished(
            folder.path
        ):  # by another process since we looked; or it failed or was altered, and is trained again
            reasons: list[str] = []
            if (run := finished_run(folder.path, reasons.append)) is not None:
                return run
            set_aside(folder.path / "result.json", " ".join(reasons) or "the run had failed")

        # fit: every epoch is evaluated over whole splits (of the training images a sample, if so asked), and on disk before the next one begins
        folder.begin(recipe)
        state = folder.resume()

        def epoch(row: Row, state: State) -> None:
            folder.epoch(row, state)
            if log is not None:
                log(row)

        torch.set_num_threads(recipe.threads)
        keep_freed_memory()
        if net is None:
            return folder.finish(
                recipe,
                "out_of_memory",
                counts,
                f"the network's {size.parameters:,} parameters don't fit",
            )
        try:
            diverged = (
                bool(folder.rows) and None in folder.rows[-1].values()
            )  # before it was broken off
            status, message = (
                "diverged" if diverged else fit(net, tensors, recipe, epoch, state),
                "",
            )
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            status, message = "out_of_memory", one_line(error)

        # record: result.json last, its presence means finished
        return folder.finish(recipe, status, counts, message)


def run_lock(path: Path) -> AbstractContextManager[object]:
    """Held while a process trains the run; the operating system drops it when its owner dies."""
    path.mkdir(parents=True, exist_ok=True)
    try:
        return FileLock(path / ".lock").acquire(timeout=0)
    except Timeout:
        raise UserError(
            f"run {one_line(path)}: another process is training it; wait for it, or choose another folder"
        ) from None
