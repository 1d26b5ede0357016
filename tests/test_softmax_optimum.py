"""Softmax regression's lowest training loss: a bound from below, against exact solutions."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import optimize, special
from torch import Tensor

from convscope.statistics.softmax_regression import SoftmaxOptimum, softmax_optimum


def test_groups_of_equal_images_have_their_labels_entropy() -> None:
    """One input per group: an affine map gives each its own logits, so the optimum is known."""
    counts = np.array([[30, 10, 5], [4, 40, 20], [7, 7, 30], [25, 1, 9]])
    labels = torch.tensor(np.concatenate([np.repeat([0, 1, 2], row) for row in counts]))
    group = torch.tensor(np.repeat(np.arange(4), counts.sum(1)))
    found = softmax_optimum(torch.nn.functional.one_hot(group, 4).float(), labels, 3)
    share = counts / counts.sum(1, keepdims=True)
    exact = -float((counts * np.log(share)).sum()) / counts.sum()
    assert exact - 1e-6 < found.lower <= exact + 1e-12
    assert exact - 1e-12 <= found.loss < exact + 1e-6 and not found.separated


@pytest.mark.parametrize("seed", range(4))
def test_the_bound_lies_below_scipys_minimum_and_near_it(seed: int) -> None:
    draw = np.random.default_rng(seed)
    count, size, classes = 400, 6, 3 + seed
    x = torch.tensor(draw.normal(size=(count, size)), dtype=torch.float32)
    truth = draw.normal(size=(classes, size))
    logits = x.double().numpy() @ truth.T + draw.gumbel(size=(count, classes))
    labels = torch.tensor(logits.argmax(1))
    found = softmax_optimum(x, labels, classes)
    exact = minimum(x, labels, classes)
    assert exact - 1e-5 < found.lower < exact + 1e-9
    assert exact - 1e-9 < found.loss < exact + 1e-6
    assert 0 <= found.gap < 1e-5 and found.gradient < 1e-3
    # no map gets below the bound, however large its weights
    for scale in (0.1, 1.0, 10.0, 1000.0):
        weight = torch.tensor(scale * draw.normal(size=(classes, size)))
        assert loss_of(x.double() @ weight.T, labels) > found.lower


def minimum(x: Tensor, labels: Tensor, classes: int) -> float:
    one = np.concatenate([x.double().numpy(), np.ones((len(x), 1))], 1)
    y = np.eye(classes)[labels.numpy()]

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        logs = special.log_softmax(one @ flat.reshape(classes, -1).T, 1)
        return -(logs * y).sum() / len(y), ((np.exp(logs) - y).T @ one / len(y)).ravel()

    start = np.zeros(classes * one.shape[1])
    found = optimize.minimize(loss, start, jac=True, method="BFGS", options={"gtol": 1e-9})
    return float(found.fun)


def loss_of(logits: Tensor, labels: Tensor) -> float:
    return float(torch.nn.functional.cross_entropy(logits, labels))


def test_images_that_a_map_separates_have_no_bound() -> None:
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(40, 60, generator=draw)  # fewer images than pixels
    found = softmax_optimum(x, torch.arange(40) % 4, 4)
    assert found.separated and found.lower == 0.0 and found.loss < 1e-2 and found.gap == found.loss


def test_black_images_have_the_entropy_of_their_labels() -> None:
    labels = torch.tensor([0] * 30 + [1] * 60 + [2] * 10)
    found = softmax_optimum(torch.zeros(100, 5), labels, 3)
    exact = -sum(p * math.log(p) for p in (0.3, 0.6, 0.1))
    assert found.lower == pytest.approx(exact, abs=1e-6) and found.lower <= exact + 1e-12
    assert isinstance(found, SoftmaxOptimum) and found.images == 100


def test_an_empty_class_takes_no_probability() -> None:
    draw = torch.Generator().manual_seed(1)
    x, labels = torch.randn(300, 3, generator=draw), torch.randint(0, 2, (300,), generator=draw)
    two, three = softmax_optimum(x, labels, 2), softmax_optimum(x, labels, 3)
    assert three.loss < two.loss + 1e-2 and three.lower < two.loss
