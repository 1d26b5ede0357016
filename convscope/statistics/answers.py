"""How a run's weights come out on each image: which they classify right, and with what loss.

Where this cannot be read or computed, it is noted as missing evidence, which the report says beside
the verdict.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

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


def losses_by_image(
    run: Run, split: Literal["val", "test"], when: Literal["best", "last"] = "best"
) -> NDArray[np.floating]:
    """The cross-entropy in nats of each image of a split, from the run's record (`image_losses`).

    The array is empty where the run recorded none, as runs of earlier versions did, and, noted as
    missing, where the file cannot be read.
    """
    try:
        recorded = image_losses(run, split, when)
    except UserError as error:
        note_unreadable("losses by image", run, error)
        return np.zeros(0)
    return np.zeros(0) if recorded is None else recorded.double().numpy()
