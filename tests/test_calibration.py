"""Temperature, calibration error and conformal sets against worlds whose truth is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from convscope.deployment.answers import Answers
from convscope.deployment.calibration import (
    calibrated,
    calibration_error,
    conformal_threshold,
    fitted_temperature,
    proportion,
)
from convscope.errors import UserError


def world(images: int, sharpness: float, seed: int) -> Answers:
    """Logits whose softmax is true, made sharper by a factor: the temperature to be found."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(images, 10, generator=generator) * 2.5
    labels = torch.multinomial(logits.softmax(1), 1, generator=generator).flatten()
    return Answers(logits * sharpness, labels)


@pytest.mark.parametrize("sharpness", [0.5, 1.0, 3.0])
def test_the_temperature_undoes_what_made_logits_sharper(sharpness: float) -> None:
    one = world(20_000, sharpness, 0)
    assert fitted_temperature(one.logits, one.labels) == pytest.approx(sharpness, rel=0.05)


@pytest.mark.parametrize("sharpness", [1.0, 1.2, 2.0])
def test_the_interval_of_the_calibration_error_holds_the_truth(sharpness: float) -> None:
    many = world(200_000, sharpness, 1)
    truth = calibration_error_of(many)
    found = [
        calibration_error(one.logits.double().softmax(1), one.labels)
        for one in (world(1000, sharpness, seed) for seed in range(6))
    ]
    assert sum(one.low <= truth <= one.high for one in found) >= 5
    assert all(one.low <= one.mean <= one.high for one in found)
    if sharpness == 2.0:
        assert min(one.low for one in found) > 0.05


def calibration_error_of(answers: Answers) -> float:
    """By its definition: fifteen bins of equally many images."""
    confidence, answer = answers.logits.double().softmax(1).max(1)
    order = confidence.argsort()
    right = (answer == answers.labels).double()
    parts = np.array_split(order.numpy(), 15)
    gaps = [len(p) * abs(float(right[p].mean() - confidence[p].mean())) for p in parts]
    return sum(gaps) / len(order)


def test_sets_cover_what_they_promise_on_average() -> None:
    found = []
    for seed in range(100):
        one = world(1200, 1.0, seed)
        probabilities = one.logits.double().softmax(1)
        threshold = conformal_threshold(probabilities[:200], one.labels[:200], 0.95)
        covered = probabilities[200:].gather(1, one.labels[200:, None]) >= 1 - threshold
        found.append(float(covered.double().mean()))
    # of n images the coverage has the distribution Beta(191, 10): mean 0.9502, deviation 0.0153
    assert np.mean(found) == pytest.approx(0.9502, abs=3 * 0.0153 / 10)


def test_the_halves_share_no_image_and_follow_from_the_split() -> None:
    val, test = world(301, 1.5, 3), world(500, 1.5, 4)
    one, same, other = (calibrated(val, test, seed) for seed in (0, 0, 1))
    assert (one.fitted, one.held, one.tested) == (150, 151, 500)
    assert one == same and one.temperature != other.temperature


def test_few_images_give_sets_of_all_classes_and_no_validation_images_an_error() -> None:
    few = calibrated(world(20, 1.0, 5), world(50, 1.0, 6), 0)
    assert math.isinf(few.threshold) and few.size == 10 and few.coverage is not None
    assert few.coverage.mean == 1.0 and few.numbers()["threshold"] is None
    with pytest.raises(UserError, match="0 validation images held out"):
        calibrated(world(0, 1.0, 7), world(50, 1.0, 8), 0)


def test_the_threshold_is_the_rank_of_split_conformal_prediction() -> None:
    truth = torch.linspace(0.01, 0.99, 99, dtype=torch.float64)
    probabilities = torch.stack([truth, 1 - truth], 1)
    labels = torch.zeros(99, dtype=torch.int64)
    # the 95th smallest of 99 scores, for ⌈100 · 0.95⌉ = 95
    assert conformal_threshold(probabilities, labels, 0.95) == pytest.approx(0.95)


def test_proportions_have_exact_intervals() -> None:
    assert proportion(0, 20).low == 0 and proportion(0, 20).high == pytest.approx(0.1684, abs=1e-4)
    assert proportion(946, 1000).low == pytest.approx(0.9301, abs=1e-4)
