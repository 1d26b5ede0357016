"""The table of runs on the page: filtering, picking, in what picked runs differ, 500 of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import exploring
import pytest
from browsing import Opened

from convscope.recipe import ConvNet, Recipe, label_of
from convscope.training import Run

MOST_SECONDS = 3.0


@pytest.fixture
def opened(opened: Opened) -> Opened:
    """With no network chosen."""
    opened.page.locator("#ex-none").click()
    return opened


def shown(page: Any) -> list[str]:
    """The ids of the rows that are visible."""
    return page.locator("#table-runs tbody tr").evaluate_all(
        "(all) => all.filter((row) => row.checkVisibility())"
        ".map((row) => row.cells[0].dataset.value)"
    )


def pick(page: Any, *runs: Run) -> None:
    for run in runs:
        page.get_by_label(f"Compare run {run.id}").check()


def test_the_filter_takes_words_and_comparisons(opened: Opened, explored: list[Run]) -> None:
    page = opened.page
    models = {run.id: run for run in explored}

    def matching(text: str) -> set[str]:
        page.locator("#ex-filter").fill(text)
        found = shown(page)
        assert page.locator("#ex-counted").text_content() == f"{len(found)} of {len(explored)} runs"
        return set(found)

    def where(condition: Callable[[Run], bool]) -> set[str]:
        return {key for key, run in models.items() if condition(run)}

    assert matching("") == set(models)
    assert matching("WIDTH 16") == where(lambda run: label_of(run.recipe.model)[:8] == "width 16")
    border = sorted(run.size["parameters"] for run in explored)[5]
    assert matching(f"parameters<={border}") == where(lambda r: r.size["parameters"] <= border)
    assert matching(f"parameters>{border:,}") == where(lambda r: r.size["parameters"] > border)
    assert matching("test-accuracy>=60%") == where(lambda r: r.best["test_accuracy"] >= 0.6)
    assert 0 < len(matching("test-accuracy>=60%")) < len(explored)
    assert matching("seed=1 val-loss<1") == where(
        lambda r: r.recipe.seed == 1 and r.best["val_loss"] < 1
    )
    assert matching("no-such-thing") == set() and matching("no-such<3") == set()
    assert matching(explored[3].id) == {explored[3].id}
    assert matching('"depth 1"') == where(lambda run: "depth 1" in label_of(run.recipe.model))


def test_only_what_differs_between_picked_runs_is_shown(
    opened: Opened, explored: list[Run]
) -> None:
    page = opened.page
    assert "two runs or more" in page.locator("#ex-differences").inner_text()
    # width 4, depth 1 and width 8, depth 2: another learning rate and seed
    one, other = explored[0], explored[9]
    pick(page, one, other)
    table = page.locator("#ex-differences-table")
    rows = {
        row[0]: row[1:]
        for row in table.locator("tbody tr").evaluate_all(
            "(all) => all.map((row) => [...row.cells].map((cell) => cell.textContent))"
        )
    }
    for key, a, b in (
        ("width", "4", "8"),
        ("depth", "1", "2"),
        ("learning rate", "0.001", "0.002"),
        ("seed", "0", "1"),
    ):
        assert rows[key] == [a, b]
    assert rows["parameters"] == [f"{run.size['parameters']:,}" for run in (one, other)]
    assert rows["val loss"] == [f"{run.best['val_loss']:.3f}" for run in (one, other)]
    assert "batch" not in rows and "kernel" not in rows and "best epoch" not in rows
    assert table.locator("thead th").all_text_contents()[1:] == [one.id, other.id]
    page.locator("#ex-all").check()
    names = table.locator("tbody th").all_text_contents()
    assert len(set(names)) == len(names)
    assert {"batch", "kernel", "best epoch", "learning rate"} <= set(names)
    page.locator("#ex-only").check()
    assert set(shown(page)) == {one.id, other.id}
    page.locator("#ex-only").uncheck()
    page.locator("#ex-none").click()
    assert len(shown(page)) == len(explored) and table.count() == 0


def test_picked_runs_lie_over_each_other(opened: Opened, explored: list[Run]) -> None:
    page = opened.page
    lines = page.locator("#ex-overlay polyline")
    assert lines.count() == 0
    pick(page, explored[0])
    assert lines.count() == 1  # one seed: its validation loss
    pick(page, explored[1], explored[4])
    assert lines.count() == 4  # two seeds and their mean, and another network
    page.locator("#ex-split-train").check()
    assert lines.count() == 8
    rows = page.locator("#ex-values tbody tr")
    assert rows.count() == 2
    mean = sum(run.best["val_loss"] for run in explored[:2]) / 2
    assert f"{mean:.3f}" in rows.first.inner_text()
    page.locator("#ex-legend button").first.click()  # takes the network's runs out
    assert (
        lines.count() == 2 and not page.get_by_label(f"Compare run {explored[0].id}").is_checked()
    )


def test_sorting_keeps_the_boxes_with_their_runs(opened: Opened, explored: list[Run]) -> None:
    page = opened.page
    pick(page, explored[2])
    page.locator("#table-runs thead button", has_text="parameters").click()
    assert page.get_by_label(f"Compare run {explored[2].id}").is_checked()
    row = page.locator("#table-runs tbody tr", has=page.locator("input:checked"))
    assert row.locator("th, td").first.get_attribute("data-value") == explored[2].id


def test_it_is_used_on_a_telephone(opened: Opened, explored: list[Run]) -> None:
    page = opened.page
    page.set_viewport_size({"width": 390, "height": 800})
    pick(page, explored[0], explored[9])
    page.locator("#ex-filter").fill("width")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    place = page.locator("#ex-differences")
    place.evaluate("(place) => { place.scrollLeft = 1000; }")
    heading = page.locator("#ex-differences-table tbody th").first
    left = "(place) => place.getBoundingClientRect().left"
    assert heading.evaluate(left) >= place.evaluate(left) - 1  # settings' names stay in sight


@pytest.mark.slow
def test_five_hundred_runs_render_in_time(tmp_path: Path, show: Callable[[Path], Opened]) -> None:
    epochs = [2.0 - 0.05 * i for i in range(12)]
    runs = [
        exploring.run_of(
            tmp_path,
            Recipe(model=ConvNet(width, depth), seed=seed),
            epochs,
            [value + width / 99 for value in epochs],
        )
        for width in range(2, 52)
        for depth in (1, 2)
        for seed in range(5)
    ]
    assert len(runs) == 500
    path = exploring.write(tmp_path / "page.html", runs)
    assert path.stat().st_size < 3_000_000
    opened = show(path)
    page = opened.page
    page.locator("#ex-chart .ex-mark").nth(99).wait_for(state="attached")
    seconds = page.evaluate(
        """() => new Promise((done) => requestAnimationFrame(() => setTimeout(() => {
          const [entry] = performance.getEntriesByType('navigation');
          done(entry.loadEventEnd / 1000);
        }, 0)))"""
    )
    assert seconds < MOST_SECONDS
    answer = page.evaluate(
        """() => {
          const from = performance.now();
          document.querySelector('#ex-x').value = 'flops';
          document.querySelector('#ex-x').dispatchEvent(new Event('change'));
          document.querySelector('#ex-filter').value = '"width 9,"';
          document.querySelector('#ex-filter').dispatchEvent(new Event('input'));
          document.body.getBoundingClientRect();
          return (performance.now() - from) / 1000;
        }"""
    )
    assert answer < 1.0
    assert page.locator("#table-runs tbody tr:not([hidden])").count() == 10
    assert opened.errors == [] and len(opened.requests) == 1
