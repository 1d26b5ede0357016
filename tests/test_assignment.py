"""docs/assignment.md is true of a report: its links lead somewhere, what it quotes stands there."""

from __future__ import annotations

import html
import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[1] / "docs" / "assignment.md"
ROW = re.compile(r"^\| \*\*(\w+)\*\* (.+?) \| (.+?) \| (.+) \|$", re.MULTILINE)
ROWS = ROW.findall(PAGE.read_text(encoding="utf-8"))
# every question of the assignment: practice 1 to 3, theory 1 to 3
QUESTIONS = {"P1a", "P1b", "P1c", "P2", "P3", "T1", "T2", "T3", "T3a", "T3b", "T3c", "T3d"}


def anchors(cell: str) -> list[str]:
    return re.findall(r"\]\([^)]*report\.html#([\w-]+)\)", cell)


def phrases(cell: str) -> list[str]:
    return re.findall(r"“([^”]+)”", cell)


def text_of(page: str) -> str:
    """What a reader sees of the page: its scripts and styles left out, white space as one space."""
    shown = re.sub(r"<(script|style)\b.*?</\1>", " ", page, flags=re.DOTALL)
    shown = re.sub(r'<math alttext="([^"]*)">.*?</math>', r"\1", shown, flags=re.DOTALL)
    shown = re.sub(r"</?(a|span|strong|code)\b[^>]*>", "", shown)  # within a line
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", shown)).split())


def test_every_question_has_its_answer() -> None:
    assert {question for question, *_ in ROWS} == QUESTIONS
    for question, asked, where, lines in ROWS:
        assert asked and anchors(where) and phrases(lines), question


@pytest.fixture(scope="module")
def report(_whole_study: Path) -> str:
    return (_whole_study / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def text(report: str) -> str:
    return text_of(report)


@pytest.mark.parametrize("row", ROWS, ids=[f"{row[0]}-{i}" for i, row in enumerate(ROWS)])
def test_links_lead_to_a_place_and_lines_stand_in_the_report(
    row: tuple[str, str, str, str], report: str, text: str
) -> None:
    _, _, where, lines = row
    for anchor in anchors(where):
        assert f'id="{anchor}"' in report, anchor
    for phrase in phrases(lines):
        assert phrase in text, phrase


def test_no_text_judges_the_report_that_this_grew_from() -> None:
    """Its baseline is not known: what was taken out there, and what stayed in, nobody measured."""
    package = PAGE.parents[1] / "convscope"
    for path in (*package.rglob("*.jinja"), *package.rglob("*.toml"), *package.rglob("words.py")):
        text = path.read_text(encoding="utf-8").lower()
        assert "studied report" not in text and "report of 2023" not in text, path


def test_a_place_that_is_not_there_would_be_found(report: str, text: str) -> None:
    assert 'id="capacity-loss_of_nothing"' not in report and "no line of the report" not in text
