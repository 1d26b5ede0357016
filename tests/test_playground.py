"""The playground in a real browser: controls, sums, the diagram, the study's networks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import exploring
import pytest
import reporting
from browsing import Opened

from convscope.errors import UserError
from convscope.models import check_sides, size_of
from convscope.recipe import ConvNet, Recipe
from convscope.report.playground import playground_of
from convscope.training import Run

SHAPE, CLASSES = (3, 8, 8), 2


def sums(page: Any) -> dict[str, str]:
    pairs = page.locator("#pg-sums div").evaluate_all(
        "(all) => all.map((one) => [one.querySelector('dt').textContent,"
        " one.querySelector('dd').firstChild.textContent])"
    )
    return dict(pairs)


def test_it_begins_with_a_network_of_the_study(opened: Opened, explored: list[Run]) -> None:
    best = min(explored, key=lambda run: run.best["val_loss"])
    size = size_of(best.recipe.model, SHAPE, CLASSES)
    assert sums(opened.page)["parameters"] == f"{size.parameters:,}"
    assert opened.page.locator("[name=width]").input_value() == "16"


def test_controls_change_the_sums_and_the_diagram(opened: Opened) -> None:
    page = opened.page
    page.locator("#pg-form [name=channels]").fill("1")
    page.locator("#pg-form [name=height]").fill("28")
    page.locator("#pg-form [name=columns]").fill("20")
    page.locator("#pg-form [name=classes]").fill("7")
    for name, value in (("depth", "2"), ("block_depth", "3"), ("width", "5"), ("growth", "1.5")):
        page.locator(f"#pg-form [name={name}]").fill(value)
    page.locator("#pg-form [name=kernel]").fill("5")
    page.locator("#pg-form [name=hidden]").fill("12+6")
    page.locator("#pg-form [name=pool_sizes]").fill("2, 3")
    page.locator("#pg-form [name=pool]").select_option("avg")
    page.locator("#pg-form [name=norm]").select_option("batch")
    page.locator("#pg-form [name=head]").select_option("gap")
    page.locator("#pg-form [name=skip]").check()
    model = ConvNet(
        5,
        2,
        3,
        1.5,
        5,
        pool="avg",
        pool_sizes=(2, 3),
        norm="batch",
        head="gap",
        skip=True,
        hidden=(12, 6),
    )
    size = size_of(model, (1, 28, 20), 7)
    shown = sums(page)
    assert shown["parameters"] == f"{size.parameters:,}"
    assert shown["filters"] == f"{size.filters:,}"
    assert page.locator("#pg-sums small").nth(1).text_content() == f"{size.flops:,}"
    drawn = page.locator("#pg-diagram svg")
    assert drawn.locator("desc").text_content() == (
        "image 1×28×20, block 1 5×14×10, block 2 8×4×3, 7 classes"
    )
    assert page.locator("#pg-diagram .pg-title").all_text_contents() == [
        "image",
        "block 1",
        "block 2",
        "GAP, FC",
    ]
    assert "5 × 14×10" in drawn.inner_html() and "sees 14 px" in drawn.inner_html()
    page.locator("#playground summary").click()
    assert page.locator("#pg-layers tbody tr").count() == len(size.layers)
    assert opened.errors == [] and len(opened.requests) == 1


@pytest.mark.slow
def test_what_is_no_network_is_refused_in_the_same_words(opened: Opened) -> None:
    page = opened.page
    page.locator("#pg-form [name=depth]").fill("4")
    with pytest.raises(UserError) as refused:
        check_sides(ConvNet(16, 4), SHAPE)
    assert page.locator("#pg-error").inner_text() == str(refused.value)
    assert not page.locator("#pg-diagram").is_visible()
    for name, value, word in (
        ("kernel", "4", "must be odd"),
        ("kernel", "", "must be a whole number"),
        ("width", "2.5", "must be a whole number"),
        ("hidden", "many", "each must be from 1"),
    ):
        page.locator("#pg-form [name=depth]").fill("1")
        field = page.locator(f"#pg-form [name={name}]")
        before = field.input_value()
        field.fill(value)
        assert word in page.locator("#pg-error").inner_text()
        field.fill(before)
        assert not page.locator("#pg-error").is_visible()
    assert page.locator("#pg-diagram").is_visible()
    assert opened.errors == []


@pytest.mark.slow
def test_a_network_of_the_study_sets_the_controls(opened: Opened) -> None:
    page = opened.page
    for model in (ConvNet(4, 2), ConvNet(8, 1)):
        size = size_of(model, SHAPE, CLASSES)
        page.locator("#pg-studied").select_option(label=exploring.name_in(page, model))
        assert page.locator("[name=width]").input_value() == str(model.width)
        assert page.locator("[name=depth]").input_value() == str(model.depth)
        assert sums(page)["parameters"] == f"{size.parameters:,}"
    point = exploring.point(page, 16, 1, "#pg-scatter")
    assert page.locator("#pg-scatter .ex-mark").count() == 6
    point.focus()
    page.keyboard.press("Enter")
    assert page.locator("[name=width]").input_value() == "16"
    line, x = page.locator("#pg-scatter .ex-rule"), point.get_attribute("cx")
    assert line.get_attribute("x1") == x  # the playground's network stands where the point does
    page.locator("[name=width]").fill("7")
    assert page.locator("#pg-scatter .ex-rule").get_attribute("x1") != x
    assert page.locator("#pg-studied").input_value() == ""


def test_it_begins_with_the_smallest_that_is_as_good(tmp_path: Path) -> None:
    data = reporting.made_data(("a", "b"), "plain")
    about = reporting.about_of(data, "plain")
    small, large = (
        exploring.run_of(tmp_path, Recipe(model=ConvNet(w, 1)), [1.0], [1.0 / w]) for w in (2, 8)
    )
    tree = exploring.tree_of(about, [small, large])
    assert playground_of(tree)["start"]["width"] == 8
    tree["chapters"] = {"best": {"numbers": {"smallest": small.id}}}
    assert playground_of(tree)["start"]["width"] == 2
    assert playground_of(exploring.tree_of(about, []))["start"] == {}
