"""The texts of the chapter on capacity, on runs that are made up."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from test_texts import check, check_paragraphs, texts_of

from convscope import data
from convscope.chapters import capacity
from convscope.data.dataset import Dataset
from convscope.planning.context import Context
from convscope.recipe.networks import ConvNet
from convscope.recipe.recipe import Recipe
from convscope.report.findings import Finding
from convscope.training.runs import Run

pytestmark = pytest.mark.usefixtures("few_draws")  # how sure words are is not tested here

Maker = Callable[..., Run]
FALLING = ([2.0, 1.0, 0.5, 0.5], [2.0, 1.1, 0.7, 0.7])
RISING = ([2.0, 0.8, 0.4, 0.2], [2.0, 0.9, 1.2, 1.5])
HIGH = ([1.52, 1.51, 1.5, 1.5], [1.57, 1.56, 1.55, 1.55])


@pytest.fixture(scope="module")
def images(micro: Path) -> Dataset:
    return data.load(micro)


def capacity_of(
    images: Dataset,
    make_run: Maker,
    curves: dict[ConvNet, tuple[list[float], list[float]]],
    seeds: int,
    **changes: object,
) -> Finding:
    """The chapter's finding on networks that learn like this."""
    sweep = [
        make_run(model, *losses, seed=seed, sd=0.01, epochs=len(losses[0]), **changes)
        for model, losses in curves.items()
        for seed in range(seeds)
    ]
    pilots = [
        make_run(model, [1.0], [0.5 + lr], lr=lr, epochs=1)
        for model in list(curves)[:: max(1, len(curves) - 1)]
        for lr in (1e-3, 2e-3)
    ]
    strong = make_run(
        ConvNet(4, 2, block_depth=2, norm="batch", skip=True),
        *FALLING,
        schedule="linear",
        optimizer="muon",
        flip=True,
        crop=1,
    )
    context = Context(images, "quick", tuple(range(seeds)), Recipe())
    return capacity.finding(context, pilots, sweep, [strong], no_pilot=1)


def test_capacity_with_several_seeds(images: Dataset, make_run: Maker) -> None:
    curves = {ConvNet(2, 1): HIGH, ConvNet(4, 1): FALLING, ConvNet(8, 1): RISING}
    curves |= {ConvNet(4, 2, hidden=(8, 4)): HIGH, ConvNet(8, 2, block_depth=3, skip=True): RISING}
    found = capacity_of(images, make_run, curves, seeds=3, limit=50)
    told = check(texts_of(found))
    check_paragraphs(found)
    assert "2 networks underfit; the largest of them is width 4, depth 2." in found.sentence
    assert "2 networks overfit; the smallest of them, width 8, depth 1, overfits from epoch 3." in (
        found.sentence
    )
    assert "means n convolutions per block" in told and "(8 and 4 units)" in told
    assert "50 of the 90 training images" in told and "Each network has 3 seeds." in told
    assert "falls linearly from 0.001" in told and "shifts of up to 1 pixel" in told
    assert "For 1 network no pilot finished; it is" in told


@pytest.mark.parametrize("seeds", [1, 2])
def test_capacity_on_one_network(images: Dataset, make_run: Maker, seeds: int) -> None:
    found = capacity_of(images, make_run, {ConvNet(4, 1): FALLING}, seeds)
    told = check(texts_of(found))
    check_paragraphs(found)
    assert found.verdict == "cannot tell from 1 width"
    assert "takes three widths" in found.sentence and "The only network that fin" in found.sentence
    assert "standard error of it" not in found.sentence
    assert ("variance between seeds is unknown" in told) == (seeds == 1)


def test_capacity_with_one_seed(images: Dataset, make_run: Maker) -> None:
    curves = {ConvNet(width, 1): FALLING for width in (2, 4, 8)}
    found = capacity_of(images, make_run, curves, seeds=1)
    told = check(texts_of(found))
    assert found.verdict == "cannot tell from 1 seed"
    assert "takes two seeds of each network" in found.sentence and "There is one seed." in told
    assert "one width of each sweep" in told and "times the root of how many" in told


def test_capacity_where_nothing_finished(images: Dataset, make_run: Maker) -> None:
    context = Context(images, "quick", (0,), Recipe())
    lost = [
        make_run(ConvNet(2, 1), [1.0], [1.0], status=status) for status in ("failed", "diverged")
    ]
    for runs, words in ((lost, "finished (diverged, failed)"), ([], "has been trained yet")):
        found = capacity.finding(context, [], runs, [], 1)
        check(texts_of(found))
        assert found.verdict == "cannot tell" and words in found.sentence
