"""Balanced accuracy: the mean over classes of the share of their images that are right."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from convscope.data import UNEQUAL, Dataset, ratio_of
from convscope.statistics.estimation import Estimate
from convscope.statistics.pooled import by_image, within_0_and_1

Values = NDArray[np.floating]


def is_unequal(data: Dataset) -> bool:
    """Whether a class has at least three times the training or test images of another one."""
    return imbalance(data) >= UNEQUAL


def imbalance(data: Dataset) -> float:
    """The images of the largest class by those of the smallest, in training or test images."""
    splits = (data.train.labels, data.test.labels)
    return max(ratio_of(labels.bincount(minlength=1).tolist()) for labels in splits)


def balanced_values(right: Sequence[Values], labels: NDArray[np.int64]) -> list[Values]:
    """Values by image whose mean is a seed's balanced accuracy.

    A class's images are a sample of this class: how unequal the classes are is no chance. So an
    image's value is its deviation from the accuracy of its class, weighted as the class is.

    right: for each seed 1 for each image that is right, else 0.
    labels: the class of each image.
    """
    counts = np.bincount(labels)
    there = np.flatnonzero(counts)
    by_class = np.stack([np.bincount(labels, one, len(counts)) for one in right])[:, there]
    shares = by_class / counts[there]  # seeds × classes
    mean = np.zeros(len(counts))
    mean[there] = shares.mean(axis=0)
    weights = len(labels) / (len(there) * np.maximum(counts, 1))
    return [shares.mean() + weights[labels] * (one - mean[labels]) for one in right]


def balanced_accuracy(right: Sequence[Values], labels: NDArray[np.int64]) -> Estimate | None:
    """The mean over seeds with its 95 % interval; None where a seed's answers are not known.

    right: for each seed 1 for each image that is right, else 0; an array may be empty.
    labels: the class of each image.
    """
    if not len(labels) or any(len(one) != len(labels) for one in right):
        return None
    values = balanced_values(right, labels)
    found = by_image({0: values}, {0: [float(one.mean()) for one in values]})
    return None if found is None else within_0_and_1(found[0])
