"""What finished runs hold: their networks, and which test images these get right."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from torch import Tensor, nn

from convscope.data import dataset as datasets
from convscope.errors import UserError, one_line
from convscope.models import build
from convscope.training.metrics import unpacked
from convscope.training.resident_data import load
from convscope.training.run_folder import BEST, is_finished, read_run
from convscope.training.runs import Run
from convscope.training.state import RIGHT
from convscope.training.tensor_files import read_tensors


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
    net.load_state_dict(
        {k.removeprefix("net."): v for k, v in tensors.items() if k.startswith("net.")}
    )
    return net.eval()
