"""How long a study says that it will still take: it rises by no more than a fifth, and ends."""

from __future__ import annotations

import itertools

import pytest

from convscope.studies import clock as clocks
from convscope.studies.clock import Clock


class Time:
    """A clock that the test turns."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    made = Time()
    monkeypatch.setattr(clocks, "time", made)
    return made


def test_a_chapter_costs_what_was_forecast_or_what_it_asks_for(time: Time) -> None:
    clock = Clock()
    clock.plan({"capacity": 10.0, "best": 20.0}, workers=2)
    assert clock.total == 30.0 and clock.expected() == 15.0
    clock.asked("capacity", 6.0, 0.0, ["a"])  # its pilots: more is still expected
    assert clock.total == 30.0
    clock.asked("capacity", 9.0, 0.0, ["b"])
    assert clock.total == 35.0
    clock.trains("a", 6.0)
    clock.trains("b", 9.0)
    assert clock.done == 15.0 and clock.of_chapter("capacity") == 0.0
    clock.asked("best", 5.0, skipped=12.0)  # an earlier process had trained those
    assert clock.total == 23.0
    clock.found("best")  # it asks for no more
    assert clock.total == 20.0
    clock.found("capacity")
    assert clock.expected() == 2.5


def test_analyses_and_the_report_are_time_too(time: Time) -> None:
    clock = Clock()
    clock.plan({"capacity": 10.0, "best": 20.0}, workers=1, after=9.0)
    assert clock.expected() == 39.0
    time.now += 7.0  # nothing is heard meanwhile: it counts down
    assert clock.expected() == 32.0
    clock.asked("capacity", 10.0, 0.0, "a")
    clock.asked("best", 20.0, 0.0, "b")
    time.now += 23.0
    clock.trains("a", 10.0)
    clock.trains("b", 20.0)
    clock.found("capacity")
    assert clock.expected() == pytest.approx(6.0)
    clock.found("best")
    assert clock.expected() == pytest.approx(3.0) and clock.share() < 1.0
    time.now += 60.0
    assert clock.expected() == clocks.SHORTEST and 0.98 < clock.share() < 1.0


@pytest.mark.parametrize("slower", [0.5, 1.0, 1.7, 3.0])
@pytest.mark.parametrize("surprise", [0.0, 0.6])
def test_what_is_shown_never_rises_by_more_than_a_fifth(
    time: Time, slower: float, surprise: float
) -> None:
    """Even where the machine is slower than measured, and a chapter asks for more than forecast."""
    clock = Clock()
    clock.plan({"capacity": 60.0, "best": 60.0}, workers=2, after=6.0)
    shown, shares = [clock.left()], [clock.share()]
    for i in range(60):
        time.now += slower
        clock.trains("x", 2.0)
        if i == 30:
            clock.asked("best", 60.0 * (1 + surprise), 0.0)
        shown.append(clock.left())
        shares.append(clock.share())
    for before, after in itertools.combinations(shown, 2):
        assert after <= 1.2 * before + 1e-9
    assert shares == sorted(shares) and shares[-1] < 1.0 and min(shown) >= clocks.SHORTEST


def test_the_pace_is_learned(time: Time) -> None:
    clock = Clock()
    clock.plan({"capacity": 100.0}, workers=1)
    clock.asked("capacity", 100.0, 0.0)
    for _ in range(20):
        time.now += 2.0
        clock.trains("x", 1.0)
    assert clock.pace == pytest.approx(2.0) and clock.expected() == pytest.approx(160.0)
