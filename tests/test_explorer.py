"""The explorer in a real browser: what its controls change, what the keyboard reaches."""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import exploring
import pytest
import reporting
from browsing import Opened

from convscope.models import build, size_of
from convscope.probes import receptive_field
from convscope.recipe import ConvNet, Recipe, SoftmaxRegression, label_of
from convscope.report.explorer import explorer_of
from convscope.report.page import part
from convscope.training import Run

PARTS = ("explorer", "explorer_plot", "explorer_runs", "playground", "playground_sizes")
MOST_BYTES = 60_000


def words(page: Any, place: str = "#ex-chart") -> dict[str, str]:
    """What each point of a chart says, by the network's name."""
    said = page.locator(f"{place} .ex-mark").evaluate_all(
        "(all) => all.map((mark) => mark.getAttribute('aria-label'))"
    )
    return dict(text.split(": ", 1) for text in said)


def mean(runs: list[Run], model: ConvNet, row: int, key: str) -> float:
    return statistics.mean(run.rows[row][key] for run in runs if run.recipe.model == model)


def choose(page: Any, **chosen: str) -> None:
    for name, value in chosen.items():
        page.locator(f"#ex-{name}").select_option(value)


def test_the_chart_shows_what_its_controls_say(opened: Opened, explored: list[Run]) -> None:
    page = opened.page
    model = ConvNet(8, 2)
    name, size = exploring.name_in(page, model), size_of(model, (3, 8, 8), 2)
    models = [ConvNet(w, d) for w in exploring.WIDTHS for d in exploring.DEPTHS]
    assert set(words(page)) == {exploring.name_in(page, one) for one in models}
    field = max(receptive_field(build(model, (3, 8, 8), 2), (3, 8, 8))[-3].sizes)
    for x, value in (
        ("parameters", f"{size.parameters:,} learnable parameters"),
        ("filters", f"{size.filters} filters"),
        ("flops", f"{size.flops:,} FLOPs"),
        ("field", f"{field} receptive field"),
        ("images", "8 training images"),
    ):
        before = page.locator("#ex-chart .ex-mark").first.get_attribute("cx")
        choose(page, x=x)
        assert words(page)[name].startswith(value), x
        assert (
            x == "parameters"
            or page.locator("#ex-chart .ex-mark").first.get_attribute("cx") != before
        )
    for y in ("test_loss", "val_loss", "train_loss", "test_accuracy"):
        for when, row in (("best", 1), ("last", 2)):
            choose(page, y=y, when=when)
            value = mean(explored, model, row, y)
            shown = f"{100 * value:.1f} %" if y == "test_accuracy" else f"{value:.3f}"
            assert words(page)[name].endswith(f" {shown}"), (y, when)
    assert opened.errors == [] and len(opened.requests) == 1


def test_thin_lines_are_told_where_they_are_drawn(
    opened: Opened, tmp_path: Path, show: Callable[[Path], Opened]
) -> None:
    told = "Thin lines join"
    assert opened.page.locator("#ex-chart polyline").count() == len(exploring.DEPTHS)
    assert told in opened.page.locator("#ex-chart-note").inner_text()
    # rates and epochs that go with the width, as in a sweep, and a network of the default width
    sweep = [
        exploring.run_of(tmp_path, Recipe(model=ConvNet(w, 1), lr=1 / w, epochs=e), [1.0], [1.0])
        for w, e in ((8, 3), (16, 2), (32, 1))
    ]
    for runs, lines in ((sweep, 1), (sweep[:2], 0)):
        page = show(exploring.write(tmp_path / f"{lines}.html", runs)).page
        assert page.locator("#ex-chart polyline").count() == lines
        assert (told in page.locator("#ex-chart-note").inner_text()) == bool(lines)


def test_a_network_without_filters_is_left_out_of_their_axis(
    tmp_path: Path, show: Callable[[Path], Opened]
) -> None:
    runs = [
        exploring.run_of(tmp_path, Recipe(model=model), [1.0], [1.0])
        for model in (ConvNet(8, 1), SoftmaxRegression())
    ]
    page = show(exploring.write(tmp_path / "two.html", runs)).page
    for x, marks, said in (
        ("parameters", 2, "2 configurations at the best epoch."),
        ("filters", 1, "1 configurations at the best epoch; 1 with 0 filters left out."),
    ):
        choose(page, x=x)
        assert page.locator("#ex-chart .ex-mark").count() == marks
        assert page.locator("#ex-chart-note").inner_text().startswith(said)


@pytest.mark.slow
def test_epochs_are_stepped_through(opened: Opened, explored: list[Run]) -> None:
    page = opened.page
    choose(page, y="val_loss")
    for _ in range(2):
        page.locator("#ex-back").click()
    assert page.locator("#ex-epoch-out").text_content() == "1"
    assert page.locator("#ex-when").input_value() == "epoch"
    for model in (ConvNet(4, 1), ConvNet(16, 2)):
        assert words(page)[exploring.name_in(page, model)].endswith(
            f" {mean(explored, model, 0, 'val_loss'):.3f}"
        )
    assert "at epoch 1" in page.locator("#ex-values caption").inner_text()
    page.locator("#ex-epoch").press("ArrowRight")
    model = ConvNet(4, 1)
    assert words(page)[exploring.name_in(page, model)].endswith(
        f" {mean(explored, model, 1, 'val_loss'):.3f}"
    )
    assert page.locator("#ex-overlay .ex-rule").count() == 1


@pytest.mark.slow
def test_the_keyboard_goes_from_network_to_network_and_picks(opened: Opened) -> None:
    page = opened.page
    picked = page.locator("#ex-legend button").count()
    assert page.locator("#ex-chart [tabindex='0']").count() == 1  # one stop for Tab
    page.locator("#ex-chart [tabindex='0']").focus()
    page.keyboard.press("Home")
    names = [page.locator("#ex-name").text_content()]
    for _ in range(5):
        page.keyboard.press("ArrowRight")
        names.append(page.locator("#ex-name").text_content())
    assert len(set(names)) == 6
    page.keyboard.press("ArrowLeft")
    name = page.locator("#ex-name").text_content()
    before = page.locator(":focus").get_attribute("aria-pressed")
    page.keyboard.press("Enter")
    page.wait_for_function("document.activeElement.matches('.ex-mark')")
    assert page.locator(":focus").get_attribute("aria-pressed") != before
    after = page.locator("#ex-legend button").all_text_contents()
    assert abs(len(after) - picked) == 1 and (f"{name} ×" in after) == (before == "false")
    page.keyboard.press("ArrowRight")
    assert page.locator("#ex-name").text_content() == names[5]


@pytest.mark.slow
def test_one_network_has_one_colour_everywhere(opened: Opened) -> None:
    page = opened.page
    exploring.point(page, 8, 2).focus()
    page.locator("#ex-pick").click()
    name = exploring.name_in(page, ConvNet(8, 2))
    key = page.locator("#ex-legend button", has_text=name).get_attribute("data-key")
    colours = page.evaluate(
        """(key) => [
          ...[...document.querySelectorAll(`#ex-chart circle[data-key='${key}'],
            #pg-scatter circle[data-key='${key}']`)].map((e) => getComputedStyle(e).fill),
          ...[...document.querySelectorAll(`#ex-overlay polyline[data-key='${key}']`)]
            .map((e) => getComputedStyle(e).stroke),
          ...[...document.querySelectorAll(`#ex-legend [data-key='${key}'] .ex-swatch,
            #table-runs tr.ex-shown .ex-swatch`)].map((e) => getComputedStyle(e).backgroundColor),
        ]""",
        key,
    )
    assert len(colours) >= 8 and len(set(colours)) == 1
    others = page.locator("#ex-legend .ex-swatch").evaluate_all(
        "(all) => all.map((e) => getComputedStyle(e).backgroundColor)"
    )
    assert len(set(others)) == len(others) >= 3


def test_one_network_is_shown_whole(tmp_path: Path, show: Callable[[Path], Opened]) -> None:
    runs = exploring.networks(tmp_path)
    data = reporting.made_data(("ant", "bee"), "plain")
    members = [run for run in runs if run.recipe.model == ConvNet(8, 2)]
    exploring.answer(members[0], [True, True] * 4)  # the labels alternate
    exploring.answer(members[1], [True, False] * 4)
    page = show(exploring.write(tmp_path / "page.html", runs, data=data)).page
    exploring.point(page, 8, 2).hover()
    assert page.locator("#ex-name").text_content() == exploring.name_in(page, ConvNet(8, 2))
    assert page.locator("#ex-name").get_attribute("title") == label_of(ConvNet(8, 2))
    assert page.locator("#ex-own polyline").count() == 3
    page.locator("#explorer summary", has_text="class").click()
    assert page.locator("#ex-classes li").all_inner_texts() == ["bee\n50.0 %", "ant\n100.0 %"]
    page.locator("#explorer summary", has_text="Layers").click()
    size = size_of(ConvNet(8, 2), (3, 8, 8), 2)
    rows = [layer for layer in size.layers if layer.kind != "Act"]
    shown = page.locator("#ex-layers tbody tr").evaluate_all(
        "(all) => all.map((row) => [...row.cells].slice(0, 3).map((cell) => cell.textContent))"
    )
    assert shown == [
        [f"{row.name} {row.kind}", "×".join(map(str, row.shape)), f"{row.parameters:,}"]
        for row in rows
    ]
    exploring.point(page, 4, 1).hover()
    assert page.locator("#ex-classes li").count() == 0
    assert "not recorded" in page.locator("#ex-classes-note").inner_text()


def test_texts_from_outside_stay_texts_and_nothing_is_sent(
    tmp_path: Path, show: Callable[[Path], Opened]
) -> None:
    runs = exploring.networks(tmp_path)
    nasty = "</script><img src=x onerror=alert(1)>{{ 7 * 7 }}<!--"
    data = reporting.made_data((nasty, "b"), nasty)
    exploring.answer(runs[0], [True] * 8)
    opened = show(exploring.write(tmp_path / "page.html", runs, nasty, data))
    page = opened.page
    page.locator("#explorer summary", has_text="class").click()
    exploring.point(page, 4, 1).hover()
    assert nasty in page.locator("#ex-classes").inner_text()
    assert page.locator("img[src=x]").count() == 0
    assert opened.errors == [] and len(opened.requests) == 1


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.slow
def test_it_fits_a_telephone_in_both_themes(opened: Opened, theme: str) -> None:
    page = opened.page
    page.evaluate("(theme) => { document.documentElement.style.colorScheme = theme; }", theme)
    page.set_viewport_size({"width": 390, "height": 800})
    page.wait_for_function("document.querySelector('#ex-chart svg').clientWidth < 390")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    # the chart does not stay in place: below each other it would lie over what follows
    page.locator("#ex-overlay").scroll_into_view_if_needed()
    assert page.locator("#ex-chart").evaluate("(one) => one.getBoundingClientRect().bottom") < 400
    assert page.locator("#explorer svg, #playground svg").evaluate_all(
        "(all) => all.filter((s) => !s.closest('.ex-scroll')).every((s) => s.clientWidth <= 390)"
    )
    fill = page.locator("#ex-chart .ex-mark[aria-pressed=true]").first.evaluate(
        "(mark) => getComputedStyle(mark).fill"
    )
    # the palette's own on light ground, mixed with white on dark ground
    assert fill.startswith("oklab" if theme == "dark" else "rgb"), fill


@pytest.mark.slow
def test_without_runs_the_page_stands(tmp_path: Path, show: Callable[[Path], Opened]) -> None:
    opened = show(exploring.write(tmp_path / "page.html", []))
    assert opened.errors == []
    assert opened.page.locator("#pg-sums").inner_text().startswith("parameters")


def test_the_scripts_are_small_and_load_nothing() -> None:
    texts = [part(f"{name}.js") for name in PARTS]
    texts += [part("explorer.css"), part("playground.css")]
    assert sum(len(text.encode()) for text in texts) < MOST_BYTES
    for text in texts:
        assert not re.search(r"\{\{|\{%|\{#|</script", text), "they go through Jinja"
        assert not re.search(r"\beval\(|new Function|fetch\(|XMLHttp|import\(|innerHTML", text)


def test_the_data_are_compact_and_true(tmp_path: Path) -> None:
    data = reporting.made_data(("a", "b"), "plain")
    about = reporting.about_of(data, "plain")
    model = ConvNet(4, 1)
    losses = [1.23456789, 0.000123456789, float("nan")]
    few = exploring.run_of(tmp_path, Recipe(model=model, limit=4, seed=1), losses, losses)
    whole = exploring.run_of(tmp_path, Recipe(model=model), [2.0], [1.0])
    tree = explorer_of(exploring.tree_of(about, [few, whole]), [few, whole], data)
    json.dumps(tree, allow_nan=False)
    assert [one["name"] for one in tree["networks"]] == [
        f"{label_of(model)}, {more}" for more in ("4 images", "all images")
    ]
    assert [one["images"] for one in tree["networks"]] == [4, 8]
    assert tree["runs"][0]["val_loss"] == [1.23457, 0.000123457, None]
    assert tree["runs"][0]["epochs"] == 3 and tree["runs"][0]["best"] == 1
    assert tree["settings"]["vary"]["limit"] == [["4", ""], [0, 1]]
    assert tree["settings"]["same"]["model.width"] == "4"
    assert tree["picked"] == [0, 1]
    twice = exploring.tree_of(about, [few, few])
    assert [run["of"] for run in explorer_of(twice, [few], data)["runs"]] == [0, 0]
    pilot = exploring.tree_of(about, [few])
    pilot["runs"][0]["pilot"] = True
    assert explorer_of(pilot, [few], data)["networks"] == []


def test_runs_that_were_trained_anew_are_a_network_of_their_own(tmp_path: Path) -> None:
    data = reporting.made_data(("a", "b"), "plain")
    about = reporting.about_of(data, "plain")
    model = ConvNet(4, 1)
    losses = {0: 1.0, 1: 1.2, 1_000_000_000: 1.4}
    runs = [
        exploring.run_of(tmp_path, Recipe(model=model, seed=s), [x], [x]) for s, x in losses.items()
    ]
    tree = explorer_of(exploring.tree_of(about, runs), runs, data)
    # what took part in the choice is not averaged with what had no part in it
    assert [run["of"] for run in tree["runs"]] == [0, 0, 1]
    label = label_of(model)
    assert [one["name"] for one in tree["networks"]] == [label, f"{label}, trained anew"]
