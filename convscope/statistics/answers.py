"""Which test images the best weights of a run classify right."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from convscope.data import Dataset
from convscope.errors import UserError
from convscope.training import Run, network, place, predict, resident, right_answers


def right_by_image(run: Run, data: Dataset) -> NDArray[np.floating]:
    """1 for each test image that the run's best weights classify right, else 0.

    The array is empty where the weights cannot be read.
    """
    try:
        if (recorded := right_answers(run, data)) is not None:
            return recorded.double().numpy()
        # a run of an earlier version, which recorded no answers
        net, tensors = network(run, data=data), resident(run.recipe, data)
    except UserError:  # or the report is written again on a machine without the device
        return np.zeros(0)
    with torch.no_grad():
        answers = predict(place(net, run.recipe), tensors, "test", run.recipe).argmax(1)
    return (answers == tensors.labels["test"]).double().cpu().numpy()
