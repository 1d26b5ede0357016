"""The page of a study in a real browser: charts, words, tables, nothing loaded."""

from __future__ import annotations

import itertools
import json
import multiprocessing
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from browsing import Opened, column, unfold

from convscope.recipe import model_from_json
from convscope.report import comparison_charts
from convscope.report.drawing import Drawings
from convscope.report.findings import Chart, Finding
from convscope.report.glossary import explain
from convscope.report.naming import Names

# --- the report of a real study


@pytest.fixture
def opened(finished_study: Path, show: Callable[[Path], Opened]) -> Opened:
    """Alone in a folder: the page needs no other file."""
    alone = finished_study.parent / "alone"
    alone.mkdir()
    return show(Path(shutil.copy(finished_study / "report.html", alone)))


ALL_AT_ONCE = "document.querySelectorAll('.switch figure').forEach((f) => { f.hidden = false; })"


def test_every_chart_is_drawn_and_nothing_is_loaded(opened: Opened, finished_study: Path) -> None:
    page = opened.page
    known = json.loads((finished_study / "results.json").read_text())["chapters"]["capacity"][
        "charts"
    ]
    places = page.locator(".chart")
    assert places.count() == len(known) >= 5
    assert places.evaluate_all("(all) => all.map((chart) => chart.dataset.drawn)") == ["yes"] * len(
        known
    )
    marks = places.evaluate_all(
        "(all) => all.map((chart) => chart.querySelectorAll("
        "'svg .mark-symbol path, svg .mark-line path').length)"
    )
    assert min(marks) > 3
    page.evaluate(ALL_AT_ONCE)
    boxes = places.evaluate_all(
        "(all) => all.map((chart) => chart.querySelector('svg'))"
        ".map((svg) => [svg.clientWidth, svg.clientHeight])"
    )
    assert all(width > 200 and height > 150 for width, height in boxes)
    assert opened.errors == []
    assert {url.partition(":")[0] for url in opened.requests} <= {"file", "data", "blob"}
    assert len([url for url in opened.requests if url.startswith("file:")]) == 1


def test_a_chart_is_drawn_once_and_again_only_where_it_has_changed() -> None:
    def finding(loss: float) -> Finding:
        rows = [
            {"network": name, "index": 1, "value": value}
            for name, value in (("a", 1.0), ("b", loss))
        ]
        spec = comparison_charts.spectrum(rows)
        return Finding(
            "capacity",
            "title",
            "question?",
            "verdict",
            "sentence.",
            {},
            charts=[Chart("c", "title", spec, "alt")],
        )

    others = set(multiprocessing.active_children())
    with Drawings() as drawings:
        drawings.add(finding(2.0))
        first = drawings.of("capacity", "c")
        drawings.add(finding(2.0))
        assert drawings.of("capacity", "c") is first
        drawings.add(finding(3.0))
        second = drawings.of("capacity", "c")
        script = drawings.script
        (own,) = set(multiprocessing.active_children()) - others
        own.kill()  # as a machine does that has no memory left
        drawings.add(finding(2.0))
        assert drawings.of("capacity", "c").svg == first.svg
    assert first.svg.startswith(b"<svg") and first.png.startswith(b"\x89PNG")
    assert second.svg != first.svg and second.png != first.png
    assert "window.vegaEmbed" in script and len(script) > 100_000


def test_every_picture_has_words(opened: Opened, finished_study: Path) -> None:
    known = json.loads((finished_study / "results.json").read_text())["chapters"]["capacity"][
        "charts"
    ]
    page = opened.page
    names = names_of(finished_study)
    known = [{**c, "alt": names.plain(c["alt"])} for c in known]
    assert page.locator(".chart").evaluate_all(
        "(all) => all.map((c) => c.getAttribute('aria-label'))"
    ) == [c["alt"] for c in known]
    assert page.locator(".chart").evaluate_all(
        "(all) => all.map((c) => c.getAttribute('role'))"
    ) == ["img"] * len(known)
    assert all(
        page.locator("img").evaluate_all(
            "(all) => all.map((image) => image.alt.length > 10 && image.naturalWidth > 10)"
        )
    )
    unfold(page)
    page.evaluate(ALL_AT_ONCE)
    for words in page.locator("figcaption details.words").all():
        words.locator("summary").click()  # folded again
    for chart, words in zip(known, page.locator("figcaption details.words").all(), strict=True):
        assert chart["alt"] not in words.inner_text()
        words.locator("summary").click()
        assert chart["alt"] in words.inner_text()
    assert page.locator("html").get_attribute("lang") == "en" and page.title().endswith("convscope")
    headings = page.locator("h1, h2, h3").evaluate_all(
        "(all) => all.map((h) => Number(h.tagName[1]))"
    )
    assert headings[0] == 1 and all(b - a <= 1 for a, b in itertools.pairwise(headings))
    assert all(page.locator("th").evaluate_all("(all) => all.map((th) => th.scope !== '')"))
    for link in page.locator("nav a").evaluate_all(
        "(all) => all.map((a) => a.getAttribute('href'))"
    ):
        assert page.locator(link).count() == 1


def test_the_page_says_what_the_json_says_and_ends_with_the_sentence(
    opened: Opened, finished_study: Path
) -> None:
    tree = json.loads((finished_study / "results.json").read_text())
    unfold(opened.page)
    names = names_of(finished_study)
    text = opened.page.locator("body").inner_text()
    assert text.strip().endswith(names.plain(tree["sentence"]))
    short = opened.page.locator("#capacity .verdict").inner_text()
    rest = opened.page.locator("#capacity .rest li").all_inner_texts()
    said = names.plain(tree["chapters"]["capacity"]["sentence"])
    assert " ".join(" ".join([short, *rest]).split()) == re.sub(r"(?<=[ (])-(?=\d)", "−", said)
    assert len(re.findall(r"\.\s", short)) <= 2 and len(rest) != 1
    rows = opened.page.locator("#table-networks tbody tr")
    table = next(t for t in tree["chapters"]["capacity"]["tables"] if t["name"] == "networks")
    assert rows.count() == len(table["rows"])
    for shown, row in zip(rows.all(), table["rows"], strict=True):
        cells = [text.strip() for text in shown.locator("th, td").all_inner_texts()]
        assert (
            cells[0] == names.plain(row["network"])
            and f"{row['parameters']:,}" in cells
            and f"{100 * row['test_accuracy']:.1f} %" in cells
        )
    assert opened.page.locator("#table-runs tbody tr").count() == len(
        [run for run in tree["runs"] if not run["pilot"]]
    )


def names_of(study: Path) -> Names:
    runs = json.loads((study / "results.json").read_text())["runs"]
    return Names(model_from_json(run["model"]) for run in runs)


@pytest.mark.slow
def test_the_page_fits_a_telephone(opened: Opened) -> None:
    opened.page.set_viewport_size({"width": 390, "height": 800})
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= 390


@pytest.mark.slow
def test_every_column_sorts_both_ways(opened: Opened) -> None:
    page = opened.page
    unfold(page)
    for table in ("networks", "learning_rates", "runs"):
        for index, heading in enumerate(page.locator(f"#table-{table} thead th").all()):
            before = sorted(column(page, table, index))
            for turn in ("ascending", "descending"):
                heading.locator("button").click()
                assert heading.get_attribute("aria-sort") == turn
                values = column(page, table, index)
                assert sorted(values) == before
                filled = [value for value in values if value]
                assert values[len(filled) :] == [""] * (
                    len(values) - len(filled)
                )  # empty cells last, both ways
                if all(is_number(value) for value in filled):
                    numbers = [float(value) for value in filled]
                    assert numbers == sorted(numbers, reverse=turn == "descending"), (table, index)
            assert page.locator(f"#table-{table} [aria-sort]").count() == 1


def is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


# --- what was found, pictures, proofs, long tables, the glossary


def test_the_page_begins_with_the_answers(opened: Opened, finished_study: Path) -> None:
    page = opened.page
    shown = page.locator("h2:visible").all_text_contents()
    assert shown[0].startswith("Take ") and shown[1] == "What was found"
    items = page.locator("#found li:has(summary)")
    asked = items.locator(".asked").all_text_contents()
    assert asked == ["How many filters are enough?"]
    left = page.locator("#found li:not(:has(summary))")  # questions that the study did not ask
    asked = left.locator(".asked").all_text_contents()
    assert len(asked) == 6 and asked[1:3] == ["Would more images help?", "Did nonlinearity matter?"]
    for item in left.all():
        assert item.locator(".badge.unknown").inner_text() == "not asked"
        command = item.locator("code").inner_text()
        part = "more images" in item.inner_text()  # of the chapter: a larger study asks it
        assert command.startswith("convscope study ")
        assert ("--preset standard" if part else "--chapters capacity,") in command
    for item in items.all():
        told = item.locator("summary strong").inner_text()
        assert len(told.split()) <= 20 and any(c.isdigit() for c in told)
        open_one = told.lower().startswith(("cannot tell", "not asked"))
        assert item.locator(".badge.unknown").count() == open_one, told
        assert item.locator(".badge").count() >= 1
        link = item.locator("p a:not(.word)")
        assert not link.is_visible()
        item.locator("summary").click()
        assert link.is_visible() and link.get_attribute("href") == "#capacity"
    numbers = json.loads((finished_study / "results.json").read_text())["chapters"]["capacity"]
    marks = page.locator("#opening .mark title").all_text_contents()
    most = max(numbers["numbers"]["images"])
    shown = [n for n in numbers["numbers"]["networks"] if n["images"] == most]
    assert len(marks) == len(shown)
    for mark, network in zip(marks, sorted(shown, key=lambda n: n["parameters"]), strict=True):
        error = 100 * (1 - network["best"]["test_accuracy"]["mean"])
        assert f"error {error:.1f} %" in mark and f"{network['parameters']:,} parameters" in mark


@pytest.mark.slow
def test_the_glossary_explains_the_words_of_the_report(opened: Opened) -> None:
    page = opened.page
    keys = page.locator("#glossary dt").evaluate_all("(all) => all.map((dt) => dt.id)")
    assert {
        "glossary-parameters",
        "glossary-interval",
        "glossary-pilot",
        "glossary-depth",
    } <= set(keys)
    assert len(set(keys)) == len(keys) and not page.locator("#glossary-interval").is_visible()
    page.evaluate("location.hash = '#glossary-interval'")
    page.wait_for_function("document.querySelector('#glossary details').open")
    assert page.locator("#glossary-interval").is_visible()
    text = page.locator("#glossary-interval + dd").inner_text()
    entry = explain("interval")
    assert (
        entry.definition in text
        and page.locator("#glossary-interval + dd .formula").count() == 1
        and entry.caveat in text
        and entry.computed in text
    )
