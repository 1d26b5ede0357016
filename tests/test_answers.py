"""The short answers of all chapters: at most 20 words, a number in each, clean English."""

from __future__ import annotations

import re
from types import SimpleNamespace as Made
from typing import Any

import pytest

from convscope.chapters.best.answers import ANSWERS as BEST
from convscope.chapters.capacity.answers import ANSWERS as CAPACITY
from convscope.chapters.capacity.answers import images_word
from convscope.chapters.convolution.answers import ANSWERS as CONVOLUTION
from convscope.chapters.nonlinearity.answers import ANSWERS as NONLINEARITY
from convscope.chapters.ordering.answers import ANSWERS as ORDERING
from convscope.chapters.receptive_field.answers import ANSWERS as FIELD
from convscope.statistics import Forecast
from convscope.statistics.scaling import Interval

NAME = "C128·3×2 bn skip"
MOST_WORDS = 20
FLAWS = re.compile(r"  | [,.;:!?](?!\d)|\( |\.\.|None|nan|Undefined|[{}]|\b1 (?:seeds|networks)\b")


def check(text: str) -> None:
    assert len(text.split()) <= MOST_WORDS, text
    assert re.search(r"\d|\bone\b|h = L", text), text
    assert text.endswith(".") and not text[0].islower() and not FLAWS.search(text), text


def part(mean: float, low: float, high: float, **more: Any) -> Made:
    return Made(mean=mean, low=low, high=high, **more)


ACCURACY = part(0.6882, 0.6712, 0.7052)


@pytest.mark.parametrize("word", ["plateau", "non-monotone", "still improving", "cannot tell"])
@pytest.mark.parametrize(("widths", "seeds"), [(2, 2), (4, 1), (4, 3)])
@pytest.mark.parametrize("too_small", [None, 8])
def test_filters(word: str, widths: int, seeds: int, too_small: int | None) -> None:
    found = Made(
        shortfall=part(0.31, 0.28, 0.34), at_least=0.284, replication=0.7, seeds_needed=9, looks=1
    )
    verdict = Made(
        word=word, width=64, widths=widths, seeds=seeds, found=found, too_small=too_small, widest=64
    )
    sized = Made(filters=1_792, convnet=Made(width=64))
    text = CAPACITY.filters(verdict, sized, NAME, ACCURACY, 0.02, sized, NAME)
    check(text)
    assert re.search(r"^(Use|Take) (64|1,792) |^1,792 filters", text), "a number to use comes first"
    for again in (None, 0.7):
        assert CAPACITY.rests(verdict, again, 9).endswith(".")
    assert not FLAWS.search(CAPACITY.change(verdict, 0.02, True, None, 900))
    assert not FLAWS.search(CAPACITY.wrong(verdict, 0.02, 3.9))


@pytest.mark.parametrize("networks", [0, 5])
def test_no_network(networks: int) -> None:
    check(CAPACITY.nothing(networks))


GAINS = {
    "yes": Interval(0.21, 0.17, 0.26),
    "hardly": Interval(0.005, -0.004, 0.011),
    "open": Interval(0.03, -0.02, 0.1),
}


@pytest.mark.parametrize("word", GAINS)
def test_images(word: str) -> None:
    forecast = Forecast("", 12, images=GAINS[word], size=Interval(0.1, 0.0, 0.2))
    assert images_word(forecast) == word
    for used in (900, 45_000):
        check(CAPACITY.images(word, forecast, 0.02, used, 45_000))
    assert not FLAWS.search(CAPACITY.images_rest(word, forecast, 0.02))


@pytest.mark.parametrize(
    "reason",
    [
        "test failed",
        "too few numbers of images",
        "too few sizes",
        "too few cells",
        "too little learned",
        "one seed",
    ],
)
def test_images_without_a_forecast(reason: str) -> None:
    forecast = Forecast(reason, 5, predicted=Interval(1.2, 1.1, 1.3), observed=1.51)
    assert images_word(forecast) == "unknown"
    check(CAPACITY.images("unknown", forecast, 0.02))


@pytest.mark.parametrize("learnt", [True, False])
@pytest.mark.parametrize("found", [1, 7])
def test_best(learnt: bool, found: int) -> None:
    check(BEST.best(NAME, ACCURACY, learnt, 0.1, found))
    for near in (0, 1, 3):
        assert not FLAWS.search(BEST.rests(learnt, near, found, 1, True))
        assert not FLAWS.search(BEST.change(near, found, 1, 1, learnt))
    check(BEST.nothing(3))


@pytest.mark.parametrize("word", ["as good", "worse", "cannot tell", ""])
@pytest.mark.parametrize("alone", [True, False])
def test_smallest(word: str, alone: bool) -> None:
    difference = part(-0.012, -0.019, -0.005) if word else None
    for once in (None, Made(name=NAME, parameters=11_162, behind=0.091)):
        check(BEST.smallest(NAME, alone, word, difference, 123_456, 1_558_026, 0.02, once))
        assert not FLAWS.search(BEST.smallest_rests(alone, word, difference, once))


@pytest.mark.parametrize("word", ["buys", "costs", "at most", "open", "did not learn"])
@pytest.mark.parametrize("kinds", ["activation", "activation and max pooling"])
def test_nonlinearity(word: str, kinds: str) -> None:
    drop = part(0.273, 0.261, 0.285, tells=True, replication=0.8)
    check(NONLINEARITY.drop(word, NAME, kinds, 0.688, 0.412, drop, 0.1, 0.03))
    check(NONLINEARITY.missing(word == "open"))
    assert not FLAWS.search(NONLINEARITY.rests(word, drop, 2))


@pytest.mark.parametrize("helps", ["yes", "no", "it costs", "cannot tell"])
def test_a_larger_linear_network(helps: str) -> None:
    check(NONLINEARITY.larger(helps, 2.0, part(0.004, -0.01, 0.018), 0.03))


@pytest.mark.parametrize("word", ["yes", "no", "cannot tell"])
@pytest.mark.parametrize("worse", [True, False])
def test_receptive_field(word: str, worse: bool) -> None:
    for low, high in ((-0.2, 0), (-0.2, -0.1), (0.1, 0.2)):
        told = part((low + high) / 2, low, high, tells=True)
        sizes = {"net": Made(parameters=11_162), "shallow": Made(parameters=1_702)}
        made = Made(word=word, worse=worse, difference=told, tested=12, **sizes)
        check(FIELD.single(made, NAME, 0.02))
    check(FIELD.single(Made(word="cannot tell", worse=False, difference=None), "", 0.02))
    check(FIELD.single(Made(word="cannot tell", difference=part(0.1, 0, 0)), NAME, 0.02, NAME, 0.1))


@pytest.mark.parametrize("word", ["no difference", "a difference was found", "cannot tell"])
@pytest.mark.parametrize("of", [1, 3])
def test_orders(word: str, of: int) -> None:
    check(ORDERING.experiment(word, 1, 1, of, 0.03))
    for largest, equal in ((None, False), (4.7e-16, True), (0.02, False)):
        check(ORDERING.proof(largest, equal))


def test_convolution() -> None:
    check(CONVOLUTION.theorem(True, 4e-16))
    check(CONVOLUTION.theorem(False, 0.2))
    check(CONVOLUTION.operators(28, 29, 7, 5))
    check(CONVOLUTION.operators(28, 29, 1, 0))
    check(CONVOLUTION.shifted(0.763, 1, NAME))
    check(CONVOLUTION.unmoved(1, NAME))
