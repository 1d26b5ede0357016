"""What the page shows one at a time: charts of a family, pictures along a slider, few trials."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import reporting
from browsing import Opened, unfold

from convscope.recipe import ConvNet
from convscope.report import search_charts
from convscope.report.findings import Chart, Finding
from convscope.report.formulas import with_formulas
from convscope.report.naming import Names
from convscope.report.page import ahead, cell, lead_of


@pytest.fixture
def switched(
    study_of: Callable[..., Path], show: Callable[[Path], Opened], monkeypatch: Any
) -> Opened:
    """A page of which a finding has a family of two charts, one folded chart and a slider."""
    plain = reporting.second_finding

    def with_family(*given: Any) -> Finding:
        made = plain(*given)
        (chart,), (gallery,) = made.charts, made.galleries
        family = [replace(chart, name=f"loss_{by}", title=f"Against {by}", by=by) for by in "ab"]
        few = replace(chart, name="history", title="History", folded="3 trials: too few")
        rows = [
            {"number": n, "setting": s, "place": n / 9, "shown": "1", "loss": 1 + n, "network": "n"}
            for n in range(10)
            for s in ("width", "depth")
        ]
        spec = search_charts.parallel(rows, ["width", "depth"])
        trials = Chart("parallel", "Settings", spec, "words")
        return replace(
            made, charts=[*family, few, trials], galleries=[replace(gallery, slider="layer")]
        )

    monkeypatch.setattr(reporting, "second_finding", with_family)
    return show(study_of())


def seen(page: Any, place: str) -> list[str]:
    return page.locator(f"{place} figure:visible").evaluate_all("(all) => all.map((f) => f.id)")


def test_a_switch_a_slider_and_folded_charts_show_one_thing_at_a_time(switched: Opened) -> None:
    page = switched.page
    page.locator("input[value=researcher]").check(force=True)
    # a chart of few trials is folded and says why
    few = page.locator("#more details.long")
    assert few.locator("summary").first.inner_text() == "History (3 trials: too few)"
    assert not page.locator("#more-history").is_visible()
    unfold(page)
    assert page.locator("#more-history .chart svg").is_visible()
    # a switch between charts of a family, by hand and by a link
    assert seen(page, "#more .switch") == ["more-loss_a"]
    page.locator("#more-loss-by").select_option("b")
    assert seen(page, "#more .switch") == ["more-loss_b"]
    assert page.locator("#more-loss_b .chart svg path").count() > 3
    page.evaluate("location.hash = '#more-loss_a'")
    page.wait_for_timeout(100)
    assert seen(page, "#more .switch") == ["more-loss_a"]
    # a slider over pictures, by keyboard
    slider, figures = (
        page.get_by_role("slider", name="layer"),
        page.locator("#more .gallery figure"),
    )
    shown = "(all) => all.map((f) => !f.hidden)"
    assert figures.evaluate_all(shown) == [False, False, False, True]
    slider.focus()
    page.keyboard.press("ArrowLeft")
    assert figures.evaluate_all(shown) == [False, False, True, False]
    assert slider.get_attribute("aria-valuetext") == "picture plain 2"
    page.keyboard.press("Home")
    assert figures.evaluate_all(shown) == [True, False, False, False]
    # a range along an axis, by the mouse and by a slider, and back
    told, faded = page.locator(".brush output"), "#more-parallel path[opacity='0.06']"
    assert told.inner_text() == "10 of 10 trials" and page.locator(faded).count() == 0
    page.locator("#more-parallel .chart").scroll_into_view_if_needed()
    box = page.locator("#more-parallel .chart .background").first.bounding_box()
    assert box
    x = box["x"] + box["width"] * 0.75  # the second axis
    page.mouse.move(x, box["y"] + box["height"] - 1)
    page.mouse.down()
    page.mouse.move(x, box["y"] + box["height"] / 2, steps=4)
    page.mouse.up()
    page.wait_for_timeout(300)
    assert told.inner_text() == "5 of 10 trials"
    assert page.locator(".brush select").input_value() == "depth"
    assert page.locator(faded).count() >= 5
    page.get_by_role("button", name="All trials").click()
    low = page.locator(".brush input").first
    low.focus()
    page.keyboard.press("PageUp")
    page.wait_for_timeout(300)
    assert told.inner_text() == "9 of 10 trials"
    assert switched.errors == []


def test_a_family_stands_together_and_the_lead_comes_first() -> None:
    chart = reporting.named_chart("x")
    family = [replace(chart, name=f"loss_{by}", by=by) for by in "abc"]
    alone = replace(chart, name="loss_alone")
    made = Finding("n", "t", "q", "v", "s", {}, charts=[*family, alone], lead="loss_b")
    lead = lead_of(made)
    assert [one.by for one in lead.family] == ["b", "a", "c"] and lead.chart is family[1]
    assert lead.charts == [[alone]] and lead.folded == [] and lead.contents == "1 chart"


def test_the_accuracy_stands_beside_the_name() -> None:
    columns = [(key, key, "int") for key in ("network", "images", "loss")]
    figures = [("test_accuracy", "test accuracy", "percent"), ("interval", "±", "percent")]
    keys = [key for key, _, _ in ahead([*columns, *figures, ("gap", "gap", "loss")])]
    assert keys == ["network", "test_accuracy", "interval", "images", "loss", "gap"]
    assert ahead(columns) == columns
    runs = [("id", "run", "text"), ("network", "network", "text"), *columns[1:], *figures]
    assert [key for key, _, _ in ahead(runs)][:3] == ["id", "network", "test_accuracy"]


def test_numbers_have_a_minus_sign_and_zero_has_none() -> None:
    assert cell(-0.093, "percent") == "−9.3 %" and cell(-0.0001, "percent") == "0.0 %"
    assert cell(0.682941, "float") == "0.6829" and cell(111.8, "float") == "111.8"
    assert cell(12345.6, "float") == "12,346" and cell(1e-06, "float") == "1e-06"


def test_a_long_formula_may_be_broken_and_a_number_in_a_text_is_none() -> None:
    made = str(with_formulas("So (S_k x ∗ h)(j) = Σᵢ x(i+k) h(j − i) = (x ∗ h)(j+k) holds."))
    assert made.count("<math") == 3 and 'alttext="= (x ∗ h)(j+k)"' in made
    plain = "accuracy changes by −3.7 points (−4.8 to −2.7) in 3×3 maps"
    assert str(with_formulas(plain)) == plain


def test_a_name_is_short_where_a_chart_breaks_it_into_lines() -> None:
    names = Names([ConvNet(8, 2, norm="batch", skip=True, block_depth=2)])
    assert names.plain("width 8, depth 2×2,\nbatch norm, skip: fits") == "C8·2×2 bn skip: fits"
