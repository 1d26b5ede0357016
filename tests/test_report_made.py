"""The page of made-up findings: sorting, galleries, proofs, long tables, cells."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from browsing import Opened, column, unfold

from convscope.report.files import safe_cell
from convscope.report.findings import Table
from convscope.report.page import MOST_ROWS, cell, png_address, sort_value


@pytest.mark.slow
def test_numbers_sort_as_numbers_and_texts_as_texts(
    study_of: Callable[..., Path], show: Callable[[Path], Opened]
) -> None:
    numbers = [10, 9, 2.5, None, 1e-3, -1, 1e6, 0]
    ids = [
        "2e9999999999",
        "1e5234567890",
        "123456789012",
        "abcdef012345",
        "99999999999f",
        "012345678901",
        "1e1000000000",
        "0x12",
    ]
    rows = [{"id": key, "value": value} for key, value in zip(ids, numbers, strict=True)]
    table = Table("made", "Made", (("id", "run", "text"), ("value", "value", "float")), rows)
    page = show(study_of(tables=[table])).page
    unfold(page)
    page.locator("#table-made thead button").nth(1).click()
    assert column(page, "made", 1) == ["-1", "0", "0.001", "2.5", "9", "10", "1000000.0", ""]
    page.locator("#table-made thead button").nth(1).press("Enter")  # the keyboard does it too
    assert column(page, "made", 1) == ["1000000.0", "10", "9", "2.5", "0.001", "0", "-1", ""]
    page.locator("#table-made thead button").nth(0).click()
    assert column(page, "made", 0) == sorted(
        ids
    )  # hexadecimal ids are texts, even where they look like 1e5…


@pytest.mark.slow
def test_galleries_and_proofs_are_on_the_page_and_in_the_json(
    study_of: Callable[..., Path], show: Callable[[Path], Opened]
) -> None:
    path = study_of(page_only=False)
    opened = show(path)
    unfold(opened.page)
    images = opened.page.locator("#more .gallery figure img")
    assert images.count() == 4 and opened.errors == []
    assert (
        images.evaluate_all(
            "(all) => all.map((i) => [i.naturalWidth, i.width, getComputedStyle(i).imageRendering])"
        )
        == [[64, 64, "pixelated"]] * 4
    )
    assert images.nth(0).get_attribute("alt") == "gallery plain: picture plain 0"
    assert images.nth(3).get_attribute("alt") == "gallery plain: pictures in words plain"
    assert opened.page.locator("#more .gallery figcaption").all_text_contents() == [
        f"picture plain {i}" for i in range(3)
    ]
    group = opened.page.locator("#more-pictures")
    assert (
        group.get_attribute("aria-label") == "pictures in words plain"
        and "below plain" in group.inner_text()
    )
    tops = images.evaluate_all("(all) => all.map((i) => i.getBoundingClientRect().top)")
    assert len(set(tops)) == 1  # side by side
    assert opened.page.locator("#more ol.proof li").all_text_contents() == [
        "step plain",
        "L[x(i+k)](j) = L[x(i)](j+k)",
    ]
    assert opened.page.locator("#capacity .gallery, #capacity ol.proof").count() == 0
    chapters = json.loads((path.parent / "results.json").read_text())["chapters"]
    assert chapters["more"]["proof"] == ["step plain", "L[x(i+k)](j) = L[x(i)](j+k)"]
    assert chapters["capacity"]["galleries"] == chapters["capacity"]["proof"] == []
    (gallery,) = chapters["more"]["galleries"]
    assert {key: gallery[key] for key in ("name", "title", "alt", "caption")} == {
        "name": "pictures",
        "title": "gallery plain",
        "alt": "pictures in words plain",
        "caption": "below plain",
    }
    assert [picture["png"] for picture in gallery["pictures"]] == [
        f"charts/more-pictures-{i:02d}.png" for i in (1, 2, 3, 4)
    ]
    assert [picture["text"] for picture in gallery["pictures"]] == [
        *(f"picture plain {i}" for i in range(3)),
        "",
    ]
    for picture, address in zip(
        gallery["pictures"], images.evaluate_all("(all) => all.map((i) => i.src)"), strict=True
    ):
        assert png_address((path.parent / picture["png"]).read_bytes()) == address


@pytest.mark.parametrize(
    ("rows", "folded"),
    [pytest.param(MOST_ROWS, False, marks=pytest.mark.slow), (MOST_ROWS + 1, True)],
)
def test_a_long_table_is_folded_and_sorts_all_the_same(
    study_of: Callable[..., Path], show: Callable[[Path], Opened], rows: int, folded: bool
) -> None:
    table = Table(
        "long",
        "A long one",
        (("value", "value", "int"),),
        [{"value": value} for value in range(rows)],
        "caption below",
    )
    page = show(study_of(tables=[table])).page
    closer = page.locator("#more details.more:has(#table-long)")
    assert not page.locator("#table-long").is_visible()
    closer.locator("summary").first.click()
    assert page.locator("details.long:has(#table-long)").count() == folded
    assert page.locator("#table-long").is_visible() != folded
    if folded:
        assert (
            page.locator("details.long:has(#table-long) summary").text_content()
            == f"A long one: {MOST_ROWS + 1} rows"
        )
        page.locator("details.long:has(#table-long) summary").click()
    for _ in range(2):
        page.locator("#table-long button").click()
    assert column(page, "long", 0) == [str(value) for value in reversed(range(rows))]


@pytest.mark.slow
def test_paper_shows_what_is_folded(
    study_of: Callable[..., Path], show: Callable[[Path], Opened]
) -> None:
    table = Table(
        "long",
        "A long one",
        (("value", "value", "int"),),
        [{"value": value} for value in range(40)],
    )
    page = show(study_of(tables=[table])).page
    page.evaluate(
        "window.addEventListener('beforeprint', () => { window.open_on_paper = "
        "document.querySelectorAll('details.long[open]').length; })"
    )
    assert page.pdf()[:4] == b"%PDF"
    assert page.evaluate("window.open_on_paper") == page.locator("details.long").count() >= 2
    assert page.locator("details.long[open]").count() == 0  # as it was


@pytest.mark.slow
def test_the_table_of_runs_names_networks_and_chapters(
    study_of: Callable[..., Path], show: Callable[[Path], Opened]
) -> None:
    page = show(study_of()).page
    rows = [
        [
            text.strip()
            for i, text in enumerate(row.locator("th, td").all_text_contents()[:5])
            if i != 2
        ]
        for row in page.locator("#table-runs tbody tr").all()
    ]
    assert ["softmax", "softmax regression", "capacity, more", "finished"] in rows
    assert ["custom", "package.module:factory", "capacity", "finished"] in rows
    assert any(row[1:] == ["C16·1", "capacity", "failed"] for row in rows)


@pytest.mark.slow
def test_pictures_long_verdicts_and_tables_fit_a_telephone(
    study_of: Callable[..., Path], show: Callable[[Path], Opened]
) -> None:
    opened = show(
        study_of(
            told="a rather long verdict, as they are where several networks are named; " * 3
            + "x" * 90
        )
    )
    opened.page.set_viewport_size({"width": 390, "height": 800})
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= 390
    unfold(opened.page)
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= 390


def test_cells_are_shown_as_readers_expect() -> None:
    assert [
        cell(1234567, "int"),
        cell(0.12345, "loss"),
        cell(0.12345, "percent"),
        cell(1e-3, "float"),
        cell(1234.56, "seconds"),
    ] == [
        "1,234,567",
        "0.123",
        "12.3 %",
        "0.001",
        "1,234.6 s",
    ]
    assert (
        cell(None, "loss") == cell("", "text") == "–"
        and cell(0, "int") == "0"
        and cell(0.0, "loss") == "0.000"
    )
    assert sort_value(None) == "" and sort_value(1.5) == "1.5" and sort_value("a\nb") == "a\\nb"


def test_no_cell_of_the_csv_is_a_formula() -> None:
    assert [safe_cell(text) for text in ("=1+1", "+1", "-1", "@x", "\tx")] == [
        "'=1+1",
        "'+1",
        "'-1",
        "'@x",
        "'\tx",
    ]
    assert (
        safe_cell(-1.5) == -1.5 and safe_cell("plain") == "plain" and safe_cell([1, 2]) == "[1, 2]"
    )
