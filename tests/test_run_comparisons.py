"""`compare`: every word, how often it is false, and what it says; on values by image."""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from comparing import CLOSE, MakeRun, configuration
from refusing import refused

import convscope as cs
from convscope.recipe.networks import ConvNet
from convscope.recipe.recipe import Recipe
from convscope.statistics.crossed_factors import crossed
from convscope.statistics.run_comparisons import (
    Comparison,
    compare,
    differences,
    more_of_either,
    word_on,
)

DRAWS = 150
MOST = 0.05 + 2 * math.sqrt(0.05 * 0.95 / DRAWS)  # two standard errors of the simulation


def answers(
    draw: np.random.Generator, gap: float, seeds: tuple[int, int], images: int = 1_000
) -> list[np.ndarray]:
    """1 or 0 of two configurations, seeds × images; some images are hard for both."""
    easy = draw.normal(1.0, 1.2, images)
    return [
        (easy + shift + draw.normal(0, 0.05, (n, 1)) + draw.normal(0, 1.0, (n, images)) > 0) * 1.0
        for n, shift in zip(seeds, (gap, 0.0), strict=True)
    ]


def words(gap: float, seeds: tuple[int, int], margin: float, looks: int = 1) -> Counter[str]:
    draw = np.random.default_rng(7 * sum(seeds))
    drawn = [crossed(answers(draw, gap, seeds)) for _ in range(DRAWS)]
    return Counter(word_on(found, margin, "accuracy", looks) for found in drawn)


@pytest.mark.parametrize("seeds", [(2, 2), (3, 3), (3, 8)])
def test_a_changed_seed_is_seldom_better_or_worse(seeds: tuple[int, int]) -> None:
    """A/A: nothing differs but seeds. A sample; `make calibrate` has the 1,000."""
    found = words(0.0, seeds, margin=0.005)
    assert found["better"] / DRAWS <= MOST and found["worse"] / DRAWS <= MOST
    assert found["cannot tell"] > DRAWS / 2  # 1,000 images are too few for half a point


def test_a_difference_of_the_margin_is_seldom_equivalent() -> None:
    draw = np.random.default_rng(0)
    gap = float(np.subtract(*(x.mean() for x in answers(draw, 0.2, (50, 50), 40_000))))
    assert words(0.2, (3, 3), margin=gap)["equivalent"] / DRAWS <= MOST


def test_power() -> None:
    """A shift of 0.4 is about 7 points; margins of 5 points are wide on 1,000 images."""
    assert words(0.4, (3, 3), 0.005)["better"] / DRAWS >= 0.9
    assert words(-0.4, (3, 3), 0.005)["worse"] / DRAWS >= 0.9
    assert words(0.0, (5, 5), 0.05)["equivalent"] / DRAWS >= 0.9


@pytest.mark.parametrize("seeds", [(1, 1), (1, 5), (5, 1)])
def test_a_network_trained_once_never_wins(seeds: tuple[int, int]) -> None:
    assert words(3.0, seeds, 0.005) == {"cannot tell": DRAWS}


def test_one_seed_that_scatters_more_than_the_others_is_no_evidence() -> None:
    """The seeds of B say nothing of those of A: pooling them would be false here in most draws."""
    draw = np.random.default_rng(3)
    for _ in range(30):
        a = answers(draw, draw.normal(0, 0.8), (1, 1))[:1]
        b = answers(draw, 0.0, (4, 4))[1:]
        assert word_on(crossed([*a, *b]), 0.005, "accuracy") == "cannot tell"


def test_looks_share_the_error() -> None:
    """The loop of docs/agents.md: three seeds, then as many as seem needed, at 2.5 % each look."""
    draw, false, twice = np.random.default_rng(11), 0, 0
    for _ in range(DRAWS):
        arrays = answers(draw, 0.0, (20, 20), 500)
        first = crossed([x[:3] for x in arrays])
        word = word_on(first, 0.005, "accuracy", 2)
        needed, _ = more_of_either(first, 0.005, 2)
        if word == "cannot tell" and (needed or 99) <= 20:
            twice += 1
            word = word_on(crossed([x[:needed] for x in arrays]), 0.005, "accuracy", 2)
        false += word in ("better", "worse")
    assert false / DRAWS <= MOST and twice > 10
    assert words(3.0, (2, 2), 0.005, looks=2) == {"cannot tell": DRAWS}  # too few for a tail


# --- runs


def test_each_word_on_runs(make_run: MakeRun, tmp_path: Path) -> None:
    base = configuration(make_run, tmp_path, 4, 0.70)
    better = configuration(make_run, tmp_path, 8, 0.76)
    same = configuration(make_run, tmp_path, 5, 0.70)
    unsure = configuration(make_run, tmp_path, 6, 0.70, (0.0, 0.05, -0.05))
    assert compare(better, base).word == cs.compare(better, base).verdict == "better"
    assert compare(base, better).word == "worse"
    assert compare(same, base, 0.02).word == "equivalent"
    assert compare(unsure, base).word == "cannot tell"
    assert compare(better[0], base[0]).word == "cannot tell"
    found = compare(better, base)
    assert found.difference.mean == pytest.approx(0.06, abs=0.001) and found.images == 2_000
    assert found.interval[0] > 0.005 and found.replication is not None and found.replication > 0.9
    assert (found.seeds_needed, found.images_needed) == (None, None)
    loss = compare(better, base, measure="loss", split="val")
    assert loss.word == "better" and loss.difference.mean < 0 and loss.images == 100
    assert found.differ == {"model.width": (8, 4)}


def test_more_seeds_are_named_where_seeds_blur(make_run: MakeRun, tmp_path: Path) -> None:
    a = configuration(make_run, tmp_path, 8, 0.73, (0.0, 0.03, -0.03))
    b = configuration(make_run, tmp_path, 4, 0.70, (0.0, 0.03, -0.03))
    found = compare(a, b)
    assert found.word == "cannot tell" and found.seeds_needed is not None
    assert 3 < found.seeds_needed < 40 and f"{found.seeds_needed} seeds of each" in str(found)
    once = compare(a[0], b[0])
    assert (once.seeds_needed, once.images_needed, once.replication) == (3, None, None)
    assert (compare(a[:2], b[:2], looks=2).seeds_needed or 3) >= 3
    sure = configuration(make_run, tmp_path, 9, 0.79, (0.0, 0.001))
    assert compare(sure, b[:2], looks=2).word == "cannot tell"  # too few for a tail


def test_the_seeds_that_are_said_to_be_needed_settle_it() -> None:
    """In 80 % of comparisons or more: what is not told looks smaller than it is."""
    draw, needed = np.random.default_rng(2), []
    for _ in range(40):
        found = crossed(answers(draw, 0.15, (3, 3)))
        if word_on(found, 0.005, "accuracy") == "cannot tell":
            needed.append(more_of_either(found, 0.005, 1)[0] or 1000)
    seeds = sorted(needed)[len(needed) // 2]
    assert len(needed) > 10 and 3 < seeds < 40
    later = [crossed(answers(draw, 0.15, (seeds, seeds))) for _ in range(40)]
    assert [word_on(one, 0.005, "accuracy") for one in later].count("better") / 40 >= 0.8


# --- what it says


def texts(found: Comparison) -> tuple[str, str]:
    return str(found), "\n".join(f"{name}: {text}" for name, text in found.rows())


def test_texts_of_each_word(make_run: MakeRun, tmp_path: Path) -> None:
    base = configuration(make_run, tmp_path, 4, 0.70)
    more = configuration(make_run, tmp_path, 8, 0.76, epochs=9)
    text, table = texts(compare(more, base))
    assert text.startswith("A is better than B.\nTest accuracy: 76.00 % for A, 70.00 % for B.\n")
    assert "The difference, A minus B, is +6.00 points; its 95 % interval is +" in text
    assert "It is larger than the margin, 0.5 points." in text
    assert "from 3 seeds of each, on the same 2,000 images." in text
    assert "differ in 2 settings: model.width (A 8, B 4) and epochs (A 9, B 8)." in text
    assert "The verdict is about all of them together." in text
    assert "margin: 0.5 points" in table and "A: test accuracy 76.00 %, 3 seeds" in table
    assert "differ in: model.width: A 8, B 4\n: epochs: A 9, B 8" in table
    one = configuration(make_run, tmp_path, 7, 0.76, CLOSE[:1])
    text, _ = texts(compare(one, base))
    assert text.startswith("It cannot be told") and "1 seed of A and 3 of B" in text
    assert "A was trained once: the interval supposes that its seeds differ" in text
    assert "The interval leaves out how much seeds differ" in str(compare(one, base[0]))
    assert "Train 3 or more seeds of each" in text
    text, _ = texts(compare(configuration(make_run, tmp_path, 5, 0.70), base, 0.02))
    assert text.startswith("A and B are equivalent.") and "than the margin, 2 points: so" in text
    fresh = configuration(make_run, tmp_path, 4, 0.70, first=10)
    assert "differ in their seeds alone" in str(compare(fresh, base, 0.02))


def test_a_loss_under_label_smoothing_is_told(make_run: MakeRun, tmp_path: Path) -> None:
    base = configuration(make_run, tmp_path, 4, 0.70)
    smooth = configuration(make_run, tmp_path, 4, 0.70, label_smoothing=0.1)
    for text in texts(compare(smooth, base, measure="loss")):
        assert "Label smoothing raises the loss" in text and "nats" in text
    assert "Label smoothing raises" not in str(compare(smooth, base))


@pytest.mark.parametrize("looks", [1, 2])
def test_sentences_are_short_and_numbers_plain(
    make_run: MakeRun, tmp_path: Path, looks: int
) -> None:
    base = configuration(make_run, tmp_path, 4, 0.70)
    wild = configuration(make_run, tmp_path, 8, 0.72, (0.0, 0.06, -0.06), crop=2, flip=True)
    found = compare(wild, base, looks=looks)
    for sentence in str(found).replace(". ", ".\n").splitlines():
        assert len(sentence.split()) <= 40 and sentence.endswith("."), sentence
    tree = json.loads(json.dumps(found.numbers(), allow_nan=False))
    assert tree["verdict"] == found.word and tree["seeds"] == [3, 3] and tree["looks"] == looks
    assert tree["level"] == pytest.approx(1 - 0.05 / looks)
    assert f"{100 * tree['level']:g} % interval" in str(found)
    assert tree["differ"]["flip"] == [True, False] and "flip (A yes, B no)" in str(found)
    page = found._repr_html_()
    assert page.startswith("<table>") and page.count("<tr>") == len(found.rows())


def test_a_notebook_escapes_what_came_from_outside(make_run: MakeRun, tmp_path: Path) -> None:
    found = compare(
        configuration(make_run, tmp_path, 8, 0.7),
        configuration(make_run, tmp_path, 4, 0.7),
    )
    found.differ["data"] = ("<script>", "b")
    assert "<script>" not in found._repr_html_() and "&lt;script&gt;" in found._repr_html_()


def test_differences_of_recipes() -> None:
    one = Recipe(model=ConvNet(4, 1), lr=0.1)
    assert differences(one, Recipe(model=ConvNet(4, 1), lr=0.1, seed=4, data="elsewhere")) == {}
    other = Recipe(model=cs.SoftmaxRegression(), lr=0.2)
    assert differences(one, other) == {
        "model": ("ConvNet", "SoftmaxRegression"),
        "lr": (0.1, 0.2),
    }


# --- what cannot be compared


def test_runs_that_cannot_be_compared(make_run: MakeRun, tmp_path: Path) -> None:
    a = configuration(make_run, tmp_path, 8, 0.70)
    b = configuration(make_run, tmp_path, 4, 0.70)
    broken = configuration(make_run, tmp_path, 4, 0.70, CLOSE[:1], 9, status="diverged")
    others = configuration(make_run, tmp_path, 4, 0.70, data_hash="f" * 64)
    split = configuration(make_run, tmp_path, 4, 0.70, split_seed=5)
    assert refused(lambda: compare([], b)) == "A: no run is given"
    assert "'runs/a' is no run" in refused(lambda: compare(["runs/a"], b))
    assert f"{broken[0].id} is diverged" in refused(lambda: compare(a, [*b, *broken]))
    assert "differ in model.width, not" in refused(lambda: compare([a[0], b[0]], b[1:]))
    assert f"run {a[0].id} is in both" in refused(lambda: compare(a, a))
    assert "seed 0 is there more than once" in refused(lambda: compare([a[0], a[0]], b))
    assert "data_hash" in refused(lambda: compare(a, others))
    assert "split_seed (0 and 5)" in refused(lambda: compare(a, split, split="val"))
    assert compare(a, split, 0.02).word == "equivalent"  # the test images are the same
    for margin in (0, -0.1, math.nan, math.inf):
        assert f"margin = {margin}" in refused(lambda margin=margin: compare(a, b, margin))
    assert "'accuracy'" in refused(lambda: compare(a, b, measure="acuracy"))
    assert "'vall'" in refused(lambda: compare(a, b, split="vall"))
    assert "looks = 0" in refused(lambda: compare(a, b, looks=0))
