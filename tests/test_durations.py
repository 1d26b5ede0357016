"""Times as a user writes them, and as they are told."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convscope.errors import UserError
from convscope.planning.budgets import duration, parse_budget


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("10m", 600),
        ("1h30m", 5400),
        ("1.5h", 5400),
        (" 2M ", 120),
        ("1h1m1s", 3661),
        (45, 45),
        (0.5e3, 500),
    ],
)
def test_times_are_read(text: str | float, seconds: float) -> None:
    assert parse_budget(text) == seconds


@pytest.mark.parametrize(
    "text",
    [
        "",
        "10",
        "ten minutes",
        "10 m",
        "m",
        "-5m",
        "1d",
        "10m!",
        "1..5m",
        "5m x",
        "0s",
        "0.5s",
        0,
        -3,
        True,
        math.nan,
        math.inf,
        "9" * 400 + "h",
        "1000000h",
        "5m\n7m",
        "\x1b[31m",
    ],
)
def test_what_is_no_time_is_refused_in_one_line(text: str | float) -> None:
    with pytest.raises(UserError) as refused:
        parse_budget(text)
    line = str(refused.value)
    assert line.startswith("budget '") and line.isprintable() and len(line) < 300
    assert "write a time as 90s" in line or "from 1 second" in line


@given(st.integers(0, 99), st.integers(0, 59), st.integers(1, 59))
def test_hours_minutes_and_seconds_add_up(hours: int, minutes: int, seconds: int) -> None:
    assert parse_budget(f"{hours}h{minutes}m{seconds}s") == 3600 * hours + 60 * minutes + seconds


def test_durations_in_words() -> None:
    assert [duration(s) for s in (0.4, 90, 119, 120, 599, 5340, 5400, 7265)] == [
        "0 s",
        "90 s",
        "119 s",
        "2 min",
        "10 min",
        "89 min",
        "1 h 30 min",
        "2 h 01 min",
    ]
