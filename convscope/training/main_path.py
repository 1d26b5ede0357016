"""THE MAIN PATH: a recipe becomes a run. Read `train` from top to bottom.

name ─ data ─▶ tensors ─ models ─▶ network ─ fit ─▶ a row per epoch ─ record ─▶ run folder
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from torch import nn

from convscope.data import Dataset
from convscope.errors import UserError, one_line
from convscope.files import set_aside
from convscope.models import (
    RAISED,
    build,
    check_sources,
    fault,
    is_networks,
    size_of,
    with_sources,
)
from convscope.recipe import Custom, Recipe
from convscope.training.acceleration import why_no_kernels
from convscope.training.caller import own_settings
from convscope.training.checks import check_network, is_ours, is_out_of_memory, name_of
from convscope.training.doubts import say_doubts
from convscope.training.locks import Busy, held
from convscope.training.loop import fit
from convscope.training.resident_data import dataset_of, resident
from convscope.training.run_folder import RunFolder, is_finished
from convscope.training.run_paths import run_path
from convscope.training.runs import Run
from convscope.training.soundness import check_state
from convscope.training.state import Row, State
from convscope.training.tensors import Tensors
from convscope.training.trained import finished_run


def train(
    recipe: Recipe,
    root: Path | str = "runs",
    *,
    data: Dataset | None = None,
    log: Callable[[Row], None] | None = None,
) -> Run:
    """Train one network and record it in root/ID; a finished run is read, a broken-off one goes on.

    recipe: all that decides the outcome; its hash is the run's id. A run of the same recipe on the
        same images under another name is the same run, and keeps its id.
    root: the folder of runs.
    data: what recipe.data names, where it is loaded already.
    log: called with each epoch's row (see `fit`).

    A loss that is not finite and a network too large for memory are results (Run.status). Torch's
    settings and the random generators are left as they were. Raises UserError where recipe and
    data don't go together, where a user's network raises anything, where its code is not that of
    the recipe, and where another process trains this very run.
    """
    with own_settings(recipe.device, recipe.threads):
        # data: a name becomes uint8 images, whose hash becomes part of the recipe, as do the hashes
        # of a user's own code
        recipe, data = with_data(recipe, data)
        recipe = replace(recipe, model=with_sources(recipe.model))
        folder = RunFolder(run_path(recipe, root))
        if (run := finished_run(folder.path)) is not None:
            check_code(recipe)
            return replace(run, recipe=recipe)  # its images may lie at another path now
        check_kernels(recipe)
        tensors = resident(recipe, data)

        # model: the same seed gives the same weights, and its size is counted exactly
        size = size_of(recipe.model, tensors.in_shape, tensors.num_classes)
        counts = {"filters": size.filters, "parameters": size.parameters, "flops": size.flops}
        net = built(recipe, tensors)
        say_doubts(net, tensors, recipe)

        with run_lock(folder.path):
            if (run := finished_meanwhile(folder)) is not None:
                return replace(run, recipe=recipe)
            folder.begin(recipe, tensors.format)
            net, state = resumed(net, folder, recipe, tensors)

            # fit and evaluate: each evaluated epoch is on disk before the next one begins
            def epoch(row: Row, state: State) -> None:
                folder.epoch(row, state)
                if log is not None:
                    log(row)

            if net is None:
                status = "out_of_memory"
                message = f"the network's {size.parameters:,} parameters don't fit"
            elif folder.diverged:  # before it was broken off
                status, message = "diverged", ""
            else:
                status, message = fitted(net, tensors, recipe, epoch, state)

            # record: result.json last, its presence means finished
            return folder.finish(recipe, status, counts, message)


def with_data(recipe: Recipe, data: Dataset | None) -> tuple[Recipe, Dataset | None]:
    """The recipe with its data's hash, and the data where they had to be loaded for it."""
    if data is None and recipe.data_hash:
        return recipe, None
    data = data or dataset_of(recipe)
    if data.held_out not in (None, (recipe.val, recipe.split_seed)):
        raise UserError(
            f"val, split_seed = {recipe.val:g}, {recipe.split_seed} in the recipe: "
            f"the data were loaded with {data.held_out}"
        )
    return replace(recipe, data_hash=data.hash), data


def check_code(recipe: Recipe) -> None:
    """UserError where a finished run is that of other code than is there now."""
    if isinstance(recipe.model, Custom):
        check_sources(recipe.model)


def check_kernels(recipe: Recipe) -> None:
    if reason := why_no_kernels(recipe.precision, recipe.kernels):
        raise UserError(
            f"kernels = {recipe.kernels}: {one_line(reason)}; kernels = library needs nothing"
        )


def built(recipe: Recipe, tensors: Tensors) -> nn.Module | None:
    """The untrained network, tried on two empty images; None where it is too large for memory."""
    try:
        net = build(recipe.model, tensors.in_shape, tensors.num_classes, recipe.seed)
        check_network(net, tensors, recipe)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        return None
    return net


def resumed(
    net: nn.Module | None, folder: RunFolder, recipe: Recipe, tensors: Tensors
) -> tuple[nn.Module | None, State | None]:
    """The network, and the state on disk that it goes on from; None where it begins.

    A state that is another network's or that holds NaN is set aside.
    """
    state = folder.resume()
    if state is None or net is None or folder.diverged:
        return net, state
    try:
        check_state(net, state.tensors)
    except UserError as error:
        folder.begin_anew(error)
        return built(recipe, tensors), None
    return net, state


def fitted(
    net: nn.Module,
    tensors: Tensors,
    recipe: Recipe,
    log: Callable[[Row, State], None],
    state: State | None,
) -> tuple[str, str]:
    """`fit`, with memory that runs out as a status: the status and a message.

    Raises UserError with whatever a user's network raises, and what `log` raises.
    """
    logs: list[BaseException] = []  # what did not arise in the network

    def told(row: Row, state: State) -> None:
        try:
            log(row, state)
        except RAISED as error:
            logs.append(error)
            raise

    try:
        return fit(net, tensors, recipe, told, state), ""
    except UserError:
        raise
    except RAISED as error:
        if any(error is one for one in logs):
            raise
        if isinstance(error, MemoryError | RuntimeError) and is_out_of_memory(error):
            return "out_of_memory", one_line(error)
        if is_ours(recipe.model) or not is_networks(error):
            raise
        raise UserError(f"model {name_of(recipe)}: while training: {fault(error)}") from error


@contextlib.contextmanager
def run_lock(path: Path) -> Iterator[None]:
    """Held while a process trains the run; the operating system drops it when its owner dies."""
    path.mkdir(parents=True, exist_ok=True)
    try:
        with held(path / ".lock"):
            yield
    except Busy as error:
        raise UserError(
            f"run {one_line(path)}: another process is training it; "
            f"wait for it, or choose another folder{f' ({error})' if str(error) else ''}"
        ) from None


def finished_meanwhile(folder: RunFolder) -> Run | None:
    """The run, where another process has finished it since we looked.

    A result that failed or was altered is set aside, and the run is trained again.
    """
    if not is_finished(folder.path):
        return None
    reasons: list[str] = []
    if (run := finished_run(folder.path, reasons.append)) is None:
        set_aside(folder.path / "result.json", " ".join(reasons) or "the run had failed")
    return run
