"""Suspected wrong labels, by confident learning (Northcutt, Jiang and Chuang 2021, JAIR 70).

A network that has not been trained on an image says how probable each class is. A class's threshold
is the mean probability of the class over the images that are labelled so. An image is a suspect
where, among the classes whose probability reaches their threshold, the most probable one is not its
label. How sure the network is of itself, in each class, is so allowed for.

It finds what contradicts the other labels: wrong labels, but also images that are hard, or of two
classes. A network that is often wrong suspects many right labels: look at the images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from convscope.data import Dataset
from convscope.errors import UserError, one_line
from convscope.training import Run, network, place, predict, resident

HeldOut = Literal["val", "test"]
SPLITS: tuple[HeldOut, ...] = ("val", "test")


@dataclass(frozen=True)
class Suspect:
    """An image whose label contradicts the others.

    split: "val" or "test".
    index: of the image in its split, from 0.
    label: the class that it is labelled with.
    suggested: the class that the network is sure of.
    margin: the probability of the suggested class minus that of the label.
    """

    split: HeldOut
    index: int
    label: int
    suggested: int
    margin: float


def suspected(
    probabilities: NDArray[np.floating], labels: NDArray[np.int64], split: HeldOut = "test"
) -> list[Suspect]:
    """The suspects of a split, the surest first.

    probabilities: images × classes, of a network that was not trained on these images.
    labels: the class of each image.
    split: what the images are called.
    """
    count, classes = probabilities.shape
    thresholds = np.full(classes, np.inf)  # no image has the class: nothing is sure to be of it
    for label in np.unique(labels):
        thresholds[label] = probabilities[labels == label, label].mean()
    sure = np.where(probabilities >= thresholds, probabilities, -1.0)
    suggested = sure.argmax(1)
    rows = np.arange(count)
    found = rows[(sure[rows, suggested] >= 0) & (suggested != labels)]
    margins = probabilities[found, suggested[found]] - probabilities[found, labels[found]]
    order = np.argsort(-margins, kind="stable")
    return [
        Suspect(split, int(i), int(labels[i]), int(suggested[i]), float(margin))
        for i, margin in zip(found[order], margins[order], strict=True)
    ]


def held_out_probabilities(
    runs: Sequence[Run], data: Dataset, split: HeldOut
) -> NDArray[np.floating]:
    """Images × classes: the mean over runs of what their best weights say of a held-out split.

    Raises UserError where weights cannot be read.
    """
    total = np.zeros((len(getattr(data, split)), data.num_classes))
    for run in runs:
        net, tensors = network(run, data=data), resident(run.recipe, data)
        with torch.no_grad():
            logits = predict(place(net, run.recipe), tensors, split, run.recipe)
        total += logits.double().softmax(1).cpu().numpy()
    return total / len(runs)


def suspects_of(runs: Sequence[Run], data: Dataset) -> list[Suspect]:
    """The suspects among the validation and the test images, the surest first.

    runs: of one configuration, over its seeds; none was trained on these images.
    data: what they were trained and evaluated on.

    Raises UserError where the images are others than those, and where weights cannot be read.
    """
    recipe = runs[0].recipe
    if recipe.data_hash not in ("", data.hash):
        raise UserError(
            f"data {one_line(recipe.data)!r} have changed since the run was trained: "
            f"{recipe.data_hash[:12]} then, {data.hash[:12]} now"
        )
    found: list[Suspect] = []
    for split in SPLITS:
        labels = getattr(data, split).labels
        if len(labels):
            found += suspected(held_out_probabilities(runs, data, split), labels.numpy(), split)
    return sorted(found, key=lambda one: -one.margin)


def shares_of(suspects: Sequence[Suspect], data: Dataset) -> dict[str, float]:
    """Split -> the share of its images that are suspects."""
    return {
        split: sum(one.split == split for one in suspects) / len(getattr(data, split))
        for split in SPLITS
        if len(getattr(data, split))
    }


def accuracy_without(
    runs: Sequence[Run], right: Sequence[NDArray[np.floating]], suspects: Sequence[Suspect]
) -> float | None:
    """The mean accuracy on the test images without the suspects; None where nothing is known.

    runs: over whose seeds it is the mean.
    right: for each of them 1 for each test image that is right, else 0; an array may be empty.
    """
    if not runs or any(not len(one) for one in right):
        return None
    kept = np.ones(len(right[0]), bool)
    kept[[one.index for one in suspects if one.split == "test"]] = False
    return float(np.mean([one[kept].mean() for one in right])) if kept.any() else None


def as_rows(suspects: Sequence[Suspect], data: Dataset) -> list[dict[str, Any]]:
    """As plain values, classes by their names."""
    return [
        {
            "split": one.split,
            "index": one.index,
            "label": data.classes[one.label],
            "suggested": data.classes[one.suggested],
            "margin": round(one.margin, 4),
        }
        for one in suspects
    ]
