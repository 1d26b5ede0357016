"""Ways to read the page: a student's, a practitioner's, a researcher's; and on a narrow screen."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from browsing import Opened

from convscope.chapters import CHAPTERS, capacity
from convscope.recipe import ConvNet
from convscope.report.assignment import QUESTIONS, asked_of
from convscope.report.findings import Finding, Headline, Recommended, Table
from convscope.report.opening import answers_of
from convscope.report.page import sentences

GOLDEN = Path(__file__).parent / "golden" / "study.json"


def test_sentences_end_where_a_capital_letter_or_a_digit_follows() -> None:
    text = "It is 0.5 (Guo et al. 2017). On cifar10 it is not. 3 are left. So it is."
    assert sentences(text) == [
        "It is 0.5 (Guo et al. 2017).",
        "On cifar10 it is not.",
        "3 are left.",
        "So it is.",
    ]
    assert " ".join(sentences(text)) == text and sentences("plain") == ["plain"]


def test_the_assignment_asks_what_the_chapters_answer() -> None:
    for one in QUESTIONS:
        assert set(one.asks) <= set(CHAPTERS[one.chapter].ASKS), one.number
    order = ["Practice 1 a", "Practice 1 b", "Practice 1 c", "Practice 2", "Practice 3"]
    assert [one.number for one in QUESTIONS] == [*order, *(f"Theory {i}" for i in (1, 2, 3))]


def test_an_answer_stands_with_its_question_and_links_lead_somewhere() -> None:
    told = (Headline("How many filters are enough?", "56 are enough.", "sure", "Tested."),)
    tables = [Table("networks", "Networks", (("a", "a", "int"),), [])]
    capacity = Finding("capacity", "C", "q", "v", "S.", {}, tables=tables, headlines=told)
    rows = [{"n": i} for i in range(5)]
    tried = [Table(name, "t", (("n", "n", "int"),), rows) for name in ("candidates", "networks")]
    best = Finding("best", "B", "q", "v", "S.", {}, tables=tried, paragraphs=["Head. Text"])
    left = {
        "chapter": "ordering",
        "question": "Does the flatten order matter, by proof?",
        "more": ["Does the flatten order matter, by experiment?"],
        "why": "Left out.",
        "command": "convscope study",
        "time": "2 min",
    }
    findings = {"capacity": capacity, "best": best}
    asked = {one.question.number: one for one in asked_of(findings, answers_of(findings, [left]))}
    first = asked["Practice 1 a"]
    assert [one.headline.text for one in first.answers] == ["56 are enough."]
    assert first.places == [("networks and their parameters", "table-networks")]
    trials = asked["Practice 1 c"]
    assert trials.told == "5 configurations were trained to the end." and not trials.answers
    assert [place for _, place in trials.places] == ["table-candidates", "best-method"]
    (open_one,) = asked["Theory 2"].answers  # one command answers both of its questions
    assert open_one.command == "convscope study" and asked["Theory 2"].places == []
    without = {one.question.number: one.told for one in asked_of({}, [])}
    assert without == dict.fromkeys(without, "") | {
        "Practice 1 c": "No configurations are compared here."
    }


def test_what_was_found_is_told_in_the_question_s_words() -> None:
    """From the numbers of a whole study of tiny networks, and of networks that are made up."""
    chapters = json.loads(GOLDEN.read_text(encoding="utf-8"))["chapters"]
    findings = {
        name: Finding(name, "T", "q", "v", "S.", one["numbers"]) for name, one in chapters.items()
    }
    told = {one.question.number: one.told for one in asked_of(findings, [])}
    parts = chapters["nonlinearity"]["numbers"]
    full, linear = (f"{100 * parts[name]:.1f} %" for name in ("full_accuracy", "linear_accuracy"))
    assert full != linear
    assert told["Practice 2"].startswith(
        "The nonlinear parts of width 4, depth 2 are max pooling (2 layers) and activation (3 "
        f"layers). With all of them it classifies {full} of the test images right, with none of "
        f"them {linear}. A chain of affine maps is one affine map"
    )
    for place in ("(i) A fully connected layer", "(ii) Global average pooling: one 3×3"):
        assert place in told["Practice 3"]
    assert told["Practice 1 b"].startswith("The lowest test error is ")
    assert "The questions below take width 4, depth 2 apart" in told["Practice 1 b"]
    assert "unit impulse" in told["Theory 1"] and "no order is good or bad" in told["Theory 2"]

    def network(filters: int, train: float, test: float, verdict: str) -> dict[str, Any]:
        best, last = (
            {"train_loss": {"mean": train}, "test_loss": {"mean": test + more}}
            for more in (0.0, 0.1)
        )
        size = {"filters": filters, "parameters": 1000 * filters, "images": 90}
        return {**size, "verdict": verdict, "best": best, "last": last}

    tried = [
        network(56, 0.1, 1.9, "overfits from epoch 3"),
        network(7, 1.9, 1.8, "underfits"),
        network(28, 0.9, 1.25, "fits"),
        network(14, 1.2, 1.5, "cannot tell"),
        {**network(1, 5.0, 5.0, "overfits from epoch 2"), "images": 30},
    ]
    capacity = replace(findings["capacity"], numbers={"images": [30, 90], "networks": tried})
    assert asked_of({"capacity": capacity}, [])[0].told == (
        "4 networks of 7 to 56 filters in all (7,000 to 56,000 learnable parameters) were trained "
        "on 90 images. From the fewest filters to the most, each at its best epoch, the training "
        "loss goes from 1.90 to 0.10 nats, and the test loss from 1.80 to 1.90. The test loss is "
        "lowest with 28 filters. After its last epoch the network of most filters has a training "
        "loss of 0.10 and a test loss of 2.00. By tests, 1 of them underfits and 1 overfits, and "
        "of 1 it cannot be told; on 30 images 1 of 1 overfits."
    )


@pytest.fixture
def page(
    study_of: Callable[..., Path], show: Callable[[Path], Opened], monkeypatch: Any
) -> Iterator[Any]:
    """A page that recommends a network, although the made-up runs have learned nothing."""
    plain = capacity.finding
    taken = Recommended(ConvNet(8, 1), 0.6, 0.55, 0.65, 2, 9000, 10**6, "It is so.")
    monkeypatch.setattr(
        capacity, "finding", lambda *given: replace(plain(*given), recommended=taken)
    )
    opened = show(study_of())
    yield opened.page
    assert opened.errors == []


def test_each_reader_has_a_first_card(page: Any) -> None:
    read = "input[value={}]"
    card, n = page.locator("#assignment"), page.locator(".take .only-researcher")
    assert not card.is_visible() and not n.is_visible()
    rows = page.locator("#found li:visible")
    before = rows.count()
    page.locator(read.format("student")).check(force=True)
    assert card.is_visible() and card.locator("li").count() == len(QUESTIONS)
    first = page.locator("main h2:visible").first.inner_text()
    assert first == "The assignment, question by question"
    said = card.locator(".says strong").first.inner_text()
    assert rows.count() < before and said not in page.locator("#found").inner_text()
    for link in card.locator(".note a").all():
        assert page.locator(str(link.get_attribute("href"))).count() == 1
    assert not n.is_visible()
    page.locator(read.format("researcher")).check(force=True)
    assert not card.is_visible() and n.is_visible() and "test images" in n.inner_text()
    assert page.locator("#found details.answer[data-for]:not([open])").count() == 0
    page.locator(read.format("practitioner")).check(force=True)
    assert page.locator("#found details.answer[data-for][open]").count() == 0


def test_what_scrolls_on_a_narrow_screen_says_so(page: Any) -> None:
    page.set_viewport_size({"width": 390, "height": 800})
    page.locator("input[value=researcher]").check(force=True)
    page.wait_for_timeout(300)
    boxes = page.locator(".table-scroll:visible").evaluate_all(
        "(all) => all.map((b) => [b.scrollWidth > b.clientWidth + 4, b.matches('.over'),"
        " getComputedStyle(b, '::before').content.includes('sideways')])"
    )
    assert any(wide for wide, *_ in boxes)
    assert all(wide == marked == told for wide, marked, told in boxes)
    stages = page.locator(".network li").evaluate_all(
        "(all) => all.map((li) => li.getBoundingClientRect().left)"
    )
    assert len(stages) > 2 and len(set(stages)) == 1  # below each other
