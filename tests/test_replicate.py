"""bench/replicate.py: words that agree, and words that contradict each other."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

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
        ("nonlinearity buys accuracy", "nonlinearity buys at most 3 points", False),
        ("nonlinearity buys accuracy", "nonlinearity costs accuracy", True),
        ("order does not matter", "a difference was found", True),
    ],
)
def test_words_that_exclude_each_other(replicate: ModuleType, a: str, b: str, clash: bool) -> None:
    assert replicate.contradict(a, b) == replicate.contradict(b, a) == clash


def test_a_word_is_a_verdict_without_its_figures(replicate: ModuleType) -> None:
    assert replicate.word("plateau from width 8") == "plateau"
    assert replicate.word("more than width 8") == "more than"
    assert replicate.word("cannot tell from 1 seed") == "cannot tell"
    assert replicate.word("width 8 (not told apart from 5 others)") == "width 8"


def test_parts_that_suffice_and_parts_that_are_needed_contradict(replicate: ModuleType) -> None:
    either = ("suffice", ("activation", "max pooling"))
    pooling, both = ("suffice", ("max pooling",)), ("needed", either[1])
    assert replicate.roles_clash(either, both) and replicate.roles_clash(both, pooling)
    assert replicate.roles_clash(("needed", ("activation",)), pooling)  # it is not needed then
    assert not replicate.roles_clash(("needed", ("max pooling",)), pooling)
    assert not replicate.roles_clash(either, pooling)
    assert not replicate.roles_clash(either, ("most", either[1]))


def test_a_width_that_is_enough_and_too_small_contradict(replicate: ModuleType) -> None:
    for a, b, clash in (
        ("plateau from width 8", "more than width 8", True),
        ("plateau from width 16", "more than width 8", False),
        ("more than width 8", "more than width 16", False),
        ("plateau from width 8", "cannot tell from 2 seeds", False),
    ):
        assert replicate.sizes_clash(a, b) == replicate.sizes_clash(b, a) == clash


def tree(verdict: str, chapter: str = "capacity", **numbers: Any) -> dict[str, Any]:
    return {"chapters": {chapter: {"verdict": verdict, "numbers": numbers}}}


def test_winners_are_the_same_where_they_cannot_be_told_apart(replicate: ModuleType) -> None:
    def winner(name: str, level: float) -> dict[str, Any]:
        interval = [level - 0.007, level + 0.007]
        return tree(name, "best", test_accuracy=level, test_accuracy_interval=interval)

    levels = {"a": 0.830, "b": 0.822, "c": 0.826, "d": 0.700}
    (row,) = replicate.judged([winner(*item) for item in levels.items()])
    assert row["times"] == 3 and row["words"] == ["a", "b", "c", "d"]


def test_agreement_is_counted_and_contradictions_named(replicate: ModuleType) -> None:
    trees = [
        tree(verdict)
        for verdict in ("plateau from width 8", "plateau from width 16", "still improving at 32")
    ]
    (row,) = replicate.judged(trees)
    assert (row["common"], row["times"]) == ("plateau", 2)
    assert [set(pair) for pair in row["contradictions"]] == [{"plateau", "still improving"}]


def test_a_question_that_some_studies_asked_is_judged_among_these(replicate: ModuleType) -> None:
    trees = [tree("plateau from width 8"), tree("plateau from width 16")]
    trees[0]["chapters"] |= tree("nonlinearity buys accuracy", "nonlinearity")["chapters"]
    first, second = replicate.judged(trees)
    assert (first["chapter"], first["times"], first["of"]) == ("capacity", 2, 2)
    assert (second["chapter"], second["times"], second["of"]) == ("nonlinearity", 1, 1)
