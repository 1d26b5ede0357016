"""Verdicts on sweeps whose truth is known, and the sentences that go with them."""

from __future__ import annotations

import math

import numpy as np
import pytest

import convscope as cs
from convscope.errors import UserError
from convscope.statistics.crossed_factors import crossed
from convscope.statistics.verdicts import MARGIN, decided, sweep_verdict, too_small_in


def study(
    means: list[float], draw: np.random.Generator, seeds: int = 3, images: int = 400
) -> dict[float, np.ndarray]:
    """Losses of sizes 1, 2, 4, … with these true means; images are hard for all sizes."""
    hard = draw.normal(0, 0.5, images)
    return {
        2.0**i: mean
        + hard
        + draw.normal(0, 0.05, images)
        + draw.normal(0, 0.004, (seeds, 1))
        + draw.normal(0, 0.05, (seeds, images))
        for i, mean in enumerate(means)
    }


@pytest.mark.parametrize(
    ("means", "word", "size", "too_small"),
    [
        ([1.0, 0.8, 0.6, 0.4], "still improving", 8, 4),
        ([1.0, 0.8, 0.6, 0.6], "plateau", 4, 2),
        ([1.0, 0.8, 0.8, 0.8], "plateau", 2, 1),
        ([0.8, 0.8, 0.8], "plateau", 1, None),
        ([1.0, 0.6, 0.8], "non-monotone", 4, 1),
        ([0.6, 0.8, 0.4], "non-monotone", 2, 2),  # the first that is worse is named
        ([1.0, 0.8, 0.78], "cannot tell", None, 1),  # the last gain is the margin itself
        ([1.0, 0.98], "cannot tell", None, None),
    ],
)
def test_each_word(
    means: list[float], word: str, size: float | None, too_small: float | None
) -> None:
    found = sweep_verdict(study(means, np.random.default_rng(1)))
    assert (found.word, found.size, found.too_small) == (word, size, too_small)
    told = f"more than {too_small:g}" if size is None and too_small else word
    assert str(found).startswith(told) and found.margin == MARGIN
    assert (found.shortfall is None) == (too_small is None)
    if found.shortfall and too_small:
        gap = means[int(math.log2(too_small))] - means[-1]
        assert found.shortfall.low < gap < found.shortfall.high
    assert found.replication is not None and 0 <= found.replication <= 1
    if word != "cannot tell":
        assert found.replication > 0.85
        assert (found.seeds_needed, found.images_needed) == (None, None)
    low, high = found.interval
    assert low < found.difference.mean < high


def rate(word: str, means: list[float], seeds: int, draws: int = 150) -> float:
    draw = np.random.default_rng(seeds)
    found = []
    for _ in range(draws):
        losses = study(means, draw, seeds, 250)
        found.append(decided(crossed([losses[size] for size in sorted(losses)]), MARGIN)[0])
    return found.count(word) / draws


@pytest.mark.parametrize("seeds", [2, pytest.param(5, marks=pytest.mark.slow)])
def test_no_word_is_false_more_than_once_in_twenty_times(seeds: int) -> None:
    """A sample of `make calibrate`. Standard error of 150 draws at 5 %: 1.8 %."""
    most = 0.05 + 2 * math.sqrt(0.05 * 0.95 / 150)
    assert rate("plateau", [1.0, 1 - MARGIN, 1 - 2 * MARGIN], seeds) <= most
    assert rate("still improving", [0.8, 0.8, 0.8], seeds) <= most
    assert rate("non-monotone", [0.9, 0.85, 0.8], seeds) <= most


@pytest.mark.parametrize("seeds", [2, 5])
def test_a_size_that_lacks_the_margin_alone_is_seldom_called_too_small(seeds: int) -> None:
    """A sample of `make calibrate`: the smaller sizes are far worse, so this one is tried."""
    draw, found = np.random.default_rng(seeds), 0
    for _ in range(150):
        losses = study([2.0, 1.0, 0.8, 0.8 - MARGIN], draw, seeds, 250)
        short = too_small_in(crossed([losses[size] for size in sorted(losses)]), MARGIN)
        assert short is not None and short[0] >= 1  # 0.22 nats are always found
        found += short[0] == 2
    assert found / 150 <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / 150)


def test_a_gain_of_the_margin_is_no_plateau_though_no_test_finds_it() -> None:
    """The rule of before called this a plateau in most studies: 'not different' is not 'equal'."""
    draw = np.random.default_rng(0)
    noisy = {
        size: losses + draw.normal(0, 0.3, losses.shape)
        for size, losses in study([1.0, 0.97, 0.94, 0.91], draw, 2, 300).items()
    }
    found = sweep_verdict(noisy, margin=0.02)
    assert found.word == "cannot tell" and found.replication is not None
    assert found.images_needed is None or found.images_needed > 300


def test_one_seed_allows_no_word() -> None:
    found = sweep_verdict(study([1.0, 0.5, 0.2], np.random.default_rng(0), seeds=1))
    assert (found.word, found.replication, found.seeds_needed) == ("cannot tell", None, None)


@pytest.mark.parametrize(
    ("losses", "margin", "words"),
    [
        ({}, 0.02, "0 sizes"),
        ({8: np.ones((2, 5))}, 0.02, "1 sizes"),
        ({8: np.ones((2, 5)), 16: np.ones((2, 6))}, 0.02, "the same images"),
        ({8: np.ones((2, 5)), 16: np.full((2, 5), np.nan)}, 0.02, "size 16: 10 are not finite"),
        ({8: np.ones((2, 5)), 16: np.ones((2, 5))}, 0.0, "margin = 0"),
        ({8: np.ones((2, 5)), 16: np.ones((2, 5))}, math.nan, "margin = nan"),
        ({8: np.ones((2, 0)), 16: np.ones((2, 0))}, 0.02, "seeds × the same images"),
    ],
)
def test_what_cannot_be_judged(losses: dict[int, np.ndarray], margin: float, words: str) -> None:
    with pytest.raises(UserError, match=words):
        sweep_verdict(losses, margin)


def test_the_public_name_takes_what_the_documentation_says() -> None:
    draw = np.random.default_rng(0)
    losses = {width: draw.normal(1.0, 0.01, (3, 200)) for width in (8, 16, 32)}
    assert cs.sweep_verdict(losses, margin=0.02).word == "plateau"
