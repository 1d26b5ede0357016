"""docs/assignment.md is true of a report: its links lead somewhere, what it quotes stands there."""

from __future__ import annotations

import html
import re
from pathlib import Path

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


def check(rows: list[tuple[str, str, str, str]], study: Path) -> None:
    report = (study / "report.html").read_text(encoding="utf-8")
    text = text_of(report)
    assert rows
    for question, _, where, lines in rows:
        for anchor in anchors(where):
            assert f'id="{anchor}"' in report, (question, anchor)
        for phrase in phrases(lines):
            assert phrase in text, (question, phrase)
    assert 'id="capacity-loss_of_nothing"' not in report and "no line of the report" not in text


def test_links_lead_to_a_place_and_lines_stand_in_the_report(_whole_study: Path) -> None:
    check(ROWS, _whole_study)


def test_those_on_theory_do_so_in_a_report_of_two_chapters(_two_chapters: Path) -> None:
    check([row for row in ROWS if row[0].startswith("T")], _two_chapters)


def test_no_text_judges_the_report_that_this_grew_from() -> None:
    """Its baseline is not known: what was taken out there, and what stayed in, nobody measured."""
    package = PAGE.parents[1] / "convscope"
    for path in (*package.rglob("*.jinja"), *package.rglob("*.toml"), *package.rglob("words.py")):
        text = path.read_text(encoding="utf-8").lower()
        assert "studied report" not in text and "report of 2023" not in text, path
