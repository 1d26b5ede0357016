"""How a run's weights come out on each image: which they classify right, and with what loss.

Where this cannot be read or computed, it is noted as missing evidence, which the report says beside
the verdict.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from convscope.data import Dataset
from convscope.errors import UserError
from convscope.training import (
    Run,
    image_losses,
    network,
    note_unreadable,
    place,
    predict,
    resident,
    right_answers,
    validation_history,
)


def right_by_image(run: Run, data: Dataset) -> NDArray[np.floating]:
    """1 for each test image that the run's best weights classify right, else 0.

    The array is empty, and noted as missing, where the weights cannot be read.
    """
    try:
        if (recorded := right_answers(run, data)) is not None:
            return recorded.double().numpy()
        # a run of an earlier version, which recorded no answers
        net, tensors = network(run, data=data), resident(run.recipe, data)
    except UserError as error:  # or the report is written again on a machine without the device
        note_unreadable("right answers", run, error)
        return np.zeros(0)
    with torch.no_grad():
        answers = predict(place(net, run.recipe), tensors, "test", run.recipe).argmax(1)
    return (answers == tensors.labels["test"]).double().cpu().numpy()


def recorded_answers(
    run: Run, data: Dataset, split: Literal["val", "test"]
) -> NDArray[np.floating]:
    """1 for each image of a split that the run's best weights classify right, else 0, as recorded.

    The array is empty where the run did not record them, and, noted as missing, where the file
    cannot be read.
    """
    found = read_or_note("right answers", run, lambda: right_answers(run, data, split))
    return np.zeros(0) if found is None else found


def losses_by_image(
    run: Run, split: Literal["val", "test"], when: Literal["best", "last"] = "best"
) -> NDArray[np.floating]:
    """The cross-entropy in nats of each image of a split, from the run's record (`image_losses`).

    The array is empty where the run recorded none, as runs of earlier versions did, and, noted as
    missing, where the file cannot be read.
    """
    found = read_or_note("losses by image", run, lambda: image_losses(run, split, when))
    return np.zeros(0) if found is None else found


def history_of(run: Run) -> NDArray[np.floating] | None:
    """The losses of each validation image after each evaluated epoch (`validation_history`).

    None where the run recorded none, and, noted as missing, where the file cannot be read.
    """
    return read_or_note("validation losses by image", run, lambda: validation_history(run))


def read_or_note(
    what: str, run: Run, read: Callable[[], Tensor | None]
) -> NDArray[np.floating] | None:
    """What a run recorded by image; None where it did not, and, noted, where it cannot be read."""
    try:
        found = read()
    except UserError as error:
        note_unreadable(what, run, error)
        return None
    return None if found is None else found.double().numpy()
