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
from torch import Tensor, nn

from convscope import data as datasets
from convscope.evaluate import unpacked
from convscope.fit import DTYPES, RIGHT, Row, State, Tensors, check_fits, fit, is_out_of_memory, tensors_key, to_device
from convscope.kernels import why_not
from convscope.memory import keep_freed_memory
from convscope.models import build, size_of
from convscope.recipe import Recipe, UserError, one_line
from convscope.record import BEST, Run, RunFolder, is_finished, read_run, read_tensors, set_aside

_resident: dict[
    tuple[object, ...], Tensors
] = {}  # data sets moved to the device, kept for the next runs of this process, the last used last
KEPT_BYTES = 550_000_000  # of them, before another one is added


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
    if reason := why_not(DTYPES[recipe.precision], recipe.kernels):
        raise UserError(f"kernels = {recipe.kernels}: {one_line(reason)}; kernels = library needs nothing")

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
        if is_finished(folder.path):  # by another process since we looked; or it failed or was altered, and is trained again
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
            return folder.finish(recipe, "out_of_memory", counts, f"the network's {size.parameters:,} parameters don't fit")
        try:
            diverged = bool(folder.rows) and None in folder.rows[-1].values()  # before it was broken off
            status, message = "diverged" if diverged else fit(net, tensors, recipe, epoch, state), ""
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            status, message = "out_of_memory", one_line(error)

        # record: result.json last, its presence means finished
        return folder.finish(recipe, status, counts, message)


def finished_run(path: Path, say: Callable[[str], None] | None = None) -> Run | None:
    """The run in this folder; None where there is none, where it failed and where it was altered, which `say` is told."""
    if not is_finished(path):
        return None
    try:
        run = read_run(path)
    except UserError as error:
        if say is not None:
            say(f"{error}; it is set aside and trained again")
        return None
    return run if run.status != "failed" else None


def load(recipe: Recipe, verify: bool = True) -> datasets.Dataset:
    return datasets.load(recipe.data, val=recipe.val, split_seed=recipe.split_seed, size=recipe.size, verify=verify)


def resident(recipe: Recipe, data: datasets.Dataset | None = None) -> Tensors:
    """The recipe's data on its device; runs on the same data share them, and a study's pilots on a part of them don't drive out the whole."""
    key = tensors_key(recipe)
    if key in _resident:
        _resident[key] = _resident.pop(key)
    else:
        data = data or load(recipe, verify=False)
        if recipe.data_hash not in ("", data.hash):
            raise UserError(
                f"data {one_line(recipe.data)!r} changed since the recipe was written: {recipe.data_hash[:12]} then, {data.hash[:12]} now"
            )
        while _resident and sum(tensors.bytes() for tensors in _resident.values()) > KEPT_BYTES:
            _resident.pop(next(iter(_resident)))
        _resident[key] = to_device(data, recipe)
    return _resident[key]


def run_lock(path: Path) -> AbstractContextManager[object]:
    """Held while a process trains the run; the operating system drops it when its owner dies."""
    path.mkdir(parents=True, exist_ok=True)
    try:
        return FileLock(path / ".lock").acquire(timeout=0)
    except Timeout:
        raise UserError(f"run {one_line(path)}: another process is training it; wait for it, or choose another folder") from None


def right_answers(run: Run, data: datasets.Dataset) -> Tensor | None:
    """Which test images the weights of the best epoch got right (N booleans), as the run recorded it; None where it did not. Raises UserError as `network`."""
    tensors, _ = read_tensors(run.path / BEST)
    if RIGHT not in tensors:
        return None
    try:
        return unpacked(tensors[RIGHT], len(data.test))
    except ValueError as error:
        raise UserError(f"run {one_line(run.path)}: {error}") from None


def network(run: Run, which: str = "best", *, data: datasets.Dataset | None = None) -> nn.Module:
    """The trained network of a run, in eval mode: weights of the best epoch, or of the last one.

    It takes normalised images (`Tensors.inputs`); `data` spares loading what the recipe names. Raises UserError where the weights are missing or altered.
    """
    data = data or load(run.recipe, verify=False)
    net = build(run.recipe.model, data.in_shape, data.num_classes, run.recipe.seed)
    name = BEST if which == "best" else "checkpoint.safetensors"
    tensors, _ = read_tensors(run.path / name)
    net.load_state_dict({k.removeprefix("net."): v for k, v in tensors.items() if k.startswith("net.")})
    return net.eval()
