"""Numbers in English, and texts from templates."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import jinja2
import pytest

from convscope import words


@dataclass
class Mean:
    mean: float
    low: float
    high: float


def test_numbers() -> None:
    assert [words.count(n, "seed") for n in (0, 1, 2, 1200)] == [
        "0 seeds",
        "1 seed",
        "2 seeds",
        "1,200 seeds",
    ]
    assert words.count(2, "class", "classes") == "2 classes"
    assert [words.listed("abc"[:n]) for n in range(4)] == ["", "a", "a and b", "a, b and c"]
    assert words.percent(Mean(0.688, 0.671, 0.705)) == "68.8 % ± 1.7"
    assert words.points(Mean(-0.0004, -0.01, 0.02)) == "0.0 points (-1.0 to 2.0)"
    assert words.share(0.5) == "50.0 %" and words.thousands(1558026) == "1,558,026"


def test_differences() -> None:
    up, down = Mean(0.273, 0.261, 0.285), Mean(-0.02, -0.04, 0.001)
    assert words.buys_or_costs(up) == "buys 27.3 points (26.1 to 28.5)"
    assert words.buys_or_costs(down) == "costs 2.0 points (-0.1 to 4.0)"
    assert words.size_in_points(up) == words.points(up) == "27.3 points (26.1 to 28.5)"
    assert words.size_in_points(down) == "2.0 points (-0.1 to 4.0)"
    assert words.one_seed_caveat(4) == "" and "one seed" in words.one_seed_caveat(0)


def test_a_text_is_one_line_with_its_numbers(tmp_path: Path) -> None:
    file = tmp_path / "texts.jinja"
    file.write_text(
        "{% macro told(name, seeds) %}\nOn {{ name }}\n  {{ seeds | count('seed') }}"
        "{% if seeds == 1 %}, alone{% endif %}.\n{% endmacro %}\n"
    )
    told = words.Texts(file).told
    assert told(name="<b>", seeds=1) == "On <b> 1 seed, alone."
    assert told("x", 2) == "On x 2 seeds."
    with pytest.raises((jinja2.UndefinedError, TypeError)):
        told(name="x")
    with pytest.raises(AttributeError):
        _ = words.Texts(file).untold
