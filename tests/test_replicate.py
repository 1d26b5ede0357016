"""bench/replicate.py: words that agree, and words that contradict each other."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

BENCH = Path(__file__).parent.parent / "bench"


@pytest.fixture
def replicate(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCH))
    import replicate

    return replicate


@pytest.mark.parametrize(
    ("a", "b", "clash"),
    [
        ("plateau", "still improving", True),
        ("plateau", "non-monotone", False),
        ("plateau", "cannot tell", False),
        ("yes", "no", True),
        ("yes", "cannot tell", False),
        (
            "nonlinearity buys accuracy: either part suffices",
            "nonlinearity buys accuracy: both parts are needed",
            True,
        ),
        ("nonlinearity buys accuracy", "nonlinearity costs accuracy", True),
        ("order does not matter", "a difference was found", True),
    ],
)
def test_words_that_exclude_each_other(replicate: ModuleType, a: str, b: str, clash: bool) -> None:
    assert replicate.contradict(a, b) == replicate.contradict(b, a) == clash


def test_a_word_is_a_verdict_without_its_figures(replicate: ModuleType) -> None:
    assert replicate.word("plateau from width 8") == "plateau"
    assert replicate.word("cannot tell from 1 seed") == "cannot tell"
    either, both = (
        replicate.word(f"nonlinearity buys accuracy: {role}")
        for role in ("either part suffices", "both parts are needed")
    )
    assert either != both


def test_agreement_is_counted_and_contradictions_named(replicate: ModuleType) -> None:
    trees = [
        {"chapters": {"capacity": {"verdict": verdict}}}
        for verdict in ("plateau from width 8", "plateau from width 16", "still improving at 32")
    ]
    (row,) = replicate.judged(trees)
    assert (row["common"], row["times"]) == ("plateau", 2)
    assert [set(pair) for pair in row["contradictions"]] == [{"plateau", "still improving"}]
