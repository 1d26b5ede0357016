"""What finished runs hold: their networks, and which test images these get right."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from torch import Tensor, nn

from convscope.data import Dataset
from convscope.errors import UserError, one_line
from convscope.models import build
from convscope.training.caller import own_settings
from convscope.training.metrics import unpacked
from convscope.training.resident_data import dataset_of
from convscope.training.run_folder import BEST, CHECKPOINT, is_finished, read_run
from convscope.training.runs import Run
from convscope.training.state import RIGHT
from convscope.training.tensor_files import read_tensors


def finished_run(path: Path, say: Callable[[str], None] | None = None) -> Run | None:
    """The run in this folder; None where there is none, where it failed and where it was altered.

    say: is told of an altered run.
    """
    if not is_finished(path):
        return None
    try:
        run = read_run(path)
    except UserError as error:
        if say is not None:
            say(f"{error}; it is set aside and trained again")
        return None
    return run if run.status != "failed" else None


def right_answers(run: Run, data: Dataset) -> Tensor | None:
    """Which test images the weights of the best epoch get right: N booleans.

    They are read from the run, None where it did not record them. Raises UserError where the
    weights are missing or altered.
    """
    tensors, _ = read_tensors(run.path / BEST)
    if RIGHT not in tensors:
        return None
    try:
        return unpacked(tensors[RIGHT], len(data.test))
    except ValueError as error:
        raise UserError(f"run {one_line(run.path)}: {error}") from None


def network(
    run: Run, which: Literal["best", "last"] = "best", *, data: Dataset | None = None
) -> nn.Module:
    """The trained network of a run, float32, on the CPU, in eval mode.

    It takes normalised images N×C×H×W (`Tensors.inputs`) and returns logits N×K.

    run: a finished run.
    which: weights of the best epoch or of the last one.
    data: what run.recipe.data names, where it is loaded already.

    Raises UserError where the weights are missing or altered.
    """
    data = data or dataset_of(run.recipe, verify=False)
    with own_settings():
        net = build(run.recipe.model, data.in_shape, data.num_classes, run.recipe.seed)
        tensors, _ = read_tensors(run.path / (BEST if which == "best" else CHECKPOINT))
        net.load_state_dict(
            {k.removeprefix("net."): v for k, v in tensors.items() if k.startswith("net.")}
        )
    return net.eval()
