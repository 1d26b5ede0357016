"""The page in a real browser: charts, tables, nothing loaded, names from outside stay text."""

from __future__ import annotations

import itertools
import json
import multiprocessing
import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from playwright.sync_api import Browser, Page, sync_playwright

from convscope.chapters import capacity
from convscope.data.dataset import Dataset, Split
from convscope.planning.context import Context
from convscope.recipe.networks import ConvNet, Custom, SoftmaxRegression
from convscope.recipe.recipe import Recipe
from convscope.report import comparison_charts, pictures, size_charts
from convscope.report.drawing import Drawings
from convscope.report.files import results, safe_cell
from convscope.report.findings import Chart, Finding, Gallery, Table
from convscope.report.glossary import explain
from convscope.report.page import MOST_ROWS, cell, page_of, png_address, script_json, sort_value
from convscope.report.rendering import write_report
from convscope.training.runs import Run

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))),
    None,
)
ARGUMENTS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@dataclass
class Opened:
    page: Page
    requests: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


@pytest.fixture
def show(browser: Browser) -> Iterator[Callable[[Path], Opened]]:
    """Open a page, and wait until its charts are drawn or have failed."""
    context = browser.new_context(viewport={"width": 1200, "height": 900})

    def show(path: Path) -> Opened:
        opened = Opened(context.new_page())
        opened.page.on("request", lambda request: opened.requests.append(request.url))
        opened.page.on(
            "console",
            lambda message: (
                opened.errors.append(message.text) if message.type in ("error", "warning") else None
            ),
        )
        opened.page.on("pageerror", lambda error: opened.errors.append(str(error)))
        opened.page.on(
            "dialog",
            lambda dialog: (opened.errors.append(f"dialog {dialog.message}"), dialog.dismiss()),
        )
        opened.page.goto(path.as_uri())
        opened.page.wait_for_function(
            "[...document.querySelectorAll('.chart')].every((chart) => chart.dataset.drawn)"
        )
        return opened

    yield show
    context.close()


# --- the report of a real study


@pytest.fixture
def opened(finished_study: Path, show: Callable[[Path], Opened]) -> Opened:
    """Alone in a folder: the page needs no other file."""
    alone = finished_study.parent / "alone"
    alone.mkdir()
    return show(Path(shutil.copy(finished_study / "report.html", alone)))


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
    for chart, words in zip(known, page.locator("figcaption details").all(), strict=True):
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
    text = opened.page.locator("body").inner_text()
    assert (
        text.strip().endswith(tree["sentence"]) and tree["chapters"]["capacity"]["verdict"] in text
    )
    rows = opened.page.locator("#table-networks tbody tr")
    table = next(t for t in tree["chapters"]["capacity"]["tables"] if t["name"] == "networks")
    assert rows.count() == len(table["rows"])
    for shown, row in zip(rows.all(), table["rows"], strict=True):
        cells = shown.locator("td").all_inner_texts()
        assert (
            cells[0] == row["network"]
            and f"{row['parameters']:,}" in cells
            and f"{100 * row['test_accuracy']:.1f} %" in cells
        )
    assert opened.page.locator("#table-runs tbody tr").count() == len(
        [run for run in tree["runs"] if not run["pilot"]]
    )


def test_the_page_fits_a_telephone(opened: Opened) -> None:
    opened.page.set_viewport_size({"width": 390, "height": 800})
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= 390


# --- tables


def column(page: Page, table: str, index: int) -> list[str]:
    return page.locator(f"#table-{table} tbody tr td:nth-child({index + 1})").evaluate_all(
        "(all) => all.map((td) => td.dataset.value)"
    )


def test_every_column_sorts_both_ways(opened: Opened) -> None:
    page = opened.page
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
    page.locator("#table-made thead button").nth(1).click()
    assert column(page, "made", 1) == ["-1", "0", "0.001", "2.5", "9", "10", "1000000.0", ""]
    page.locator("#table-made thead button").nth(1).press("Enter")  # the keyboard does it too
    assert column(page, "made", 1) == ["1000000.0", "10", "9", "2.5", "0.001", "0", "-1", ""]
    page.locator("#table-made thead button").nth(0).click()
    assert column(page, "made", 0) == sorted(
        ids
    )  # hexadecimal ids are texts, even where they look like 1e5…


# --- what was found, pictures, proofs, long tables, the glossary


def test_the_page_begins_with_what_was_found(opened: Opened, finished_study: Path) -> None:
    chapters = json.loads((finished_study / "results.json").read_text())["chapters"]
    items = opened.page.locator("#found li")
    assert (
        items.count() == len(chapters)
        and opened.page.locator("h2").first.text_content() == "What was found"
    )
    for item, (name, chapter) in zip(items.all(), chapters.items(), strict=True):
        assert item.locator("a").get_attribute("href") == f"#{name}"
        assert item.locator(".badge").text_content() == chapter["verdict"]
        assert chapter["sentence"] in item.inner_text()


def test_galleries_and_proofs_are_on_the_page_and_in_the_json(
    study_of: Callable[..., Path], show: Callable[[Path], Opened]
) -> None:
    path = study_of(page_only=False)
    opened = show(path)
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


@pytest.mark.parametrize(("rows", "folded"), [(MOST_ROWS, False), (MOST_ROWS + 1, True)])
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


def test_the_glossary_explains_the_words_of_the_report(opened: Opened) -> None:
    page = opened.page
    keys = page.locator("#glossary dt").evaluate_all("(all) => all.map((dt) => dt.id)")
    assert {
        "glossary-parameters",
        "glossary-standard-error",
        "glossary-pilot",
        "glossary-depth",
    } <= set(keys)
    assert len(set(keys)) == len(keys) and not page.locator("#glossary-standard-error").is_visible()
    page.evaluate("location.hash = '#glossary-standard-error'")
    page.wait_for_function("document.querySelector('#glossary details').open")
    assert page.locator("#glossary-standard-error").is_visible()
    text = page.locator("#glossary-standard-error + dd").inner_text()
    entry = explain("standard error")
    assert (
        entry.definition in text
        and entry.formula in text
        and entry.caveat in text
        and entry.computed in text
    )


def test_the_table_of_runs_names_networks_and_chapters(
    study_of: Callable[..., Path], show: Callable[[Path], Opened]
) -> None:
    page = show(study_of()).page
    rows = [
        row.locator("td").all_text_contents()[:4]
        for row in page.locator("#table-runs tbody tr").all()
    ]
    assert ["softmax", "softmax regression", "capacity, more", "finished"] in rows
    assert ["custom", "package.module:factory", "capacity", "finished"] in rows
    assert any(row[1:] == ["width 16, depth 1", "capacity", "failed"] for row in rows)


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
    opened.page.evaluate("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= 390


# --- names from outside

HARMLESS = "plain"
PAYLOADS = [
    "<script>window.pwned=1</script>",
    "</script><script>window.pwned=1</script>",
    "<img src=x onerror=window.pwned=1>",
    '"><img src=x onerror=window.pwned=1>',
    "'><svg onload=window.pwned=1>",
    '" onmouseover="window.pwned=1" x="',
    "' autofocus onfocus='window.pwned=1",
    "<svg><script>window.pwned=1</script></svg>",
    "<iframe src=javascript:parent.pwned=1></iframe>",
    '<iframe srcdoc="<script>parent.pwned=1</script>">',
    "<a href=javascript:window.pwned=1>press</a>",
    "<body onload=window.pwned=1>",
    "<style>@import 'http://example.invalid/x.css';</style>",
    "<link rel=stylesheet href=http://example.invalid/x.css>",
    "<meta http-equiv=refresh content='0;url=http://example.invalid/'>",
    "<base href=http://example.invalid/>",
    "<img src=http://example.invalid/x.png>",
    "<object data=http://example.invalid/x></object>",
    "<form action=http://example.invalid/><button>send",
    "<!-- ",
    "--><script>window.pwned=1</script>",
    "]]><script>window.pwned=1</script>",
    "</style><script>window.pwned=1</script>",
    "</title><script>window.pwned=1</script>",
    "</td></tr></table><script>window.pwned=1</script>",
    "{{ 7 * 7 }}{% for x in y %}",
    "${7*7}`;window.pwned=1;//",
    "\\u003cscript\\u003ewindow.pwned=1\\u003c/script\\u003e",
    "&lt;script&gt;window.pwned=1&lt;/script&gt;",
    "<details open ontoggle=window.pwned=1>",
]


@pytest.fixture(scope="module")
def drawings() -> Iterator[Drawings]:
    with Drawings() as one_process:
        yield one_process


@pytest.fixture
def study_of(
    tmp_path: Path, make_run: Callable[..., Run], drawings: Drawings
) -> Callable[..., Path]:
    """A report on data that were made up.

    name: goes to every place where a text from outside stands.
    told: goes into the texts of the findings.
    """

    def write(
        classes: tuple[str, ...] = ("a", "b"),
        name: str = HARMLESS,
        told: str = HARMLESS,
        tables: list[Table] | None = None,
        page_only: bool = True,
    ) -> Path:
        generator = torch.Generator().manual_seed(0)
        count = 4 * len(classes)
        images = torch.randint(0, 256, (count, 3, 8, 8), generator=generator, dtype=torch.uint8)
        split = Split(images, torch.arange(count) % len(classes))
        data = Dataset(
            name,
            split,
            split,
            split,
            classes,
            "0" * 64,
            f"source {name}",
            f"licence {name}",
            (f"note {name}",),
        )
        draw = random.Random(0)
        models = [ConvNet(width, 1) for width in (2, 4, 8)]
        pilots = [
            make_run(model, [1.0], [draw.random()], lr=lr)
            for model in models
            for lr in (1e-3, 2e-3)
        ]
        sweep = [
            make_run(model, [1.0, draw.random()], [1.1, draw.random()], seed=seed, sd=0.1)
            for model in models
            for seed in (0, 1)
        ]
        failed = replace(
            make_run(ConvNet(16, 1), [1.0], [1.0], status="failed"),
            message=f"broken {name}",
            rows=(),
        )
        finding = capacity.finding(
            Context(data, "quick", (0, 1), Recipe()), pilots, [*sweep, failed], [], 0
        )
        labels = [
            {
                "network": f"{told} {i}",
                "epoch": e,
                "split": "train",
                "loss": 1.0 / e,
                "best": e == 2,
            }
            for i in (1, 2)
            for e in (1, 2, 3)
        ]
        named = Chart(
            "named",
            f"chart {told}",
            size_charts.learning_curves(labels, [f"{told} 1", f"{told} 2"]),
            f"words {told}",
            f"caption {told}",
        )
        shown = [
            (pictures.image(image, 64), f"picture {told} {i}") for i, image in enumerate(images[:3])
        ]
        shown.append((pictures.map_of(torch.eye(8), 64), ""))  # grey, and nothing below it
        gallery = Gallery(
            "pictures",
            f"gallery {told}",
            tuple(shown),
            f"pictures in words {told}",
            f"below {told}",
            64,
        )
        more = Finding(
            "more",
            f"title {told}",
            f"question {told}",
            f"verdict {told}",
            f"sentence {told}",
            {"x": told},
            tables
            or [
                Table(
                    "names",
                    f"table {told}",
                    (("name", f"heading {told}", "text"),),
                    [{"name": told}],
                    f"caption {told}",
                )
            ],
            [named],
            [f"head {told}. paragraph {told}"],
            galleries=[gallery],
            proof=[f"step {told}", "L[x(i+k)](j) = L[x(i)](j+k)"],
        )
        finding = replace(finding, charts=[]) if page_only else finding
        about: dict[str, Any] = {
            "data": name,
            "data_hash": "0" * 64,
            "source": data.source,
            "licence": data.licence,
            "notes": list(data.notes),
            "fallback": "",
            "preset": "quick",
            "chapters": ["capacity", "more"],
            "seeds": [0, 1],
            "val": 0.1,
            "split_seed": 0,
            "complete": False,
            "seconds": 60.0,
            "images": {"train": count, "val": count, "test": count},
            "in_shape": [3, 8, 8],
            "classes": list(classes),
            "command": f"convscope study {name}",
            "machine": {
                "processor": told,
                "cores": 2,
                "memory_gb": 8.0,
                "gpu": told,
                "system": "Linux",
                "python": "3",
                "torch": "2",
            },
            "choice": {
                "device": "cpu",
                "precision": "float32",
                "layout": "contiguous",
                "threads": 1,
                "workers": 2,
                "measured": {told: 1.0},
            },
        }
        base = sweep[0]
        others = [
            replace(base, recipe=replace(base.recipe, model=model), path=base.path.with_name(key))
            for key, model in (
                ("softmax", SoftmaxRegression()),
                ("custom", Custom("package.module:factory")),
            )
        ]
        runs = (*pilots, *sweep, failed, *others)
        used = {run.id: {"capacity": "pilot" if run in pilots else "sweep"} for run in runs}
        used[others[0].id] = {"capacity": "sweep", "more": "final"}
        findings, sentence = {"capacity": finding, "more": more}, f"last sentence {told}"
        if page_only:
            tree = results(about, findings, runs, used, sentence)
            (tmp_path / "report.html").write_bytes(page_of(about, findings, tree, data, drawings))
        else:
            write_report(tmp_path, about, findings, runs, used, sentence, data, drawings)
        return tmp_path / "report.html"

    return write


def anatomy(page: Page) -> dict[str, int]:
    """How many elements of each kind, and attributes of each name, are outside the drawn charts."""
    return page.evaluate(
        """() => {
          const counts = {};
          for (const node of document.querySelectorAll("*")) {
            if (node.closest(".chart") && !node.matches(".chart")) continue;
            counts[node.tagName] = (counts[node.tagName] || 0) + 1;
            for (const { name } of node.attributes) {
              counts["@" + name] = (counts["@" + name] || 0) + 1;
            }
          }
          return counts;
        }"""
    )


@pytest.mark.parametrize("half", [0, 1])
def test_payloads_in_class_names_stay_text(
    study_of: Callable[..., Path], show: Callable[[Path], Opened], half: int
) -> None:
    names = tuple(PAYLOADS[half::2])
    assert len(names) == 15
    expected = anatomy(show(study_of(tuple(f"class {i}" for i in range(15)))).page)
    opened = show(study_of(names))
    check_untouched(opened, expected)
    assert opened.page.locator(".samples th").all_text_contents() == list(names)
    assert all(
        name in alt
        for name, alt in zip(
            names,
            opened.page.locator(".samples img").evaluate_all("(all) => all.map((i) => i.alt)"),
            strict=True,
        )
    )


def check_untouched(opened: Opened, expected: dict[str, int]) -> None:
    page = opened.page
    assert anatomy(page) == expected
    assert page.evaluate("window.pwned") is None and page.evaluate("location.protocol") == "file:"
    assert not page.evaluate(
        "[...document.querySelectorAll('*')].some("
        "(n) => [...n.attributes].some((a) => a.name.startsWith('on')))"
    )
    assert not page.evaluate(
        "[...document.querySelectorAll('[href]')].some("
        "(n) => /^\\s*javascript:/i.test(n.getAttribute('href')))"
    )
    assert opened.errors == []
    assert {url.partition(":")[0] for url in opened.requests} <= {"file", "data", "blob"}


MIXED = [
    "'\"></title></td></script><script>window.pwned=1</script>-->"
    "<img src=x onerror=window.pwned=1>{{7*7}}&lt;",
    PAYLOADS[5],
]


@pytest.mark.parametrize("payload", MIXED)
def test_payloads_in_every_other_place_stay_text(
    study_of: Callable[..., Path], show: Callable[[Path], Opened], payload: str
) -> None:
    expected = anatomy(show(study_of()).page)
    opened = show(study_of(name=payload, told=payload))
    check_untouched(opened, expected)
    page = opened.page
    assert (
        page.locator("h1").text_content() == payload
        and page.locator("#sentence").text_content() == f"last sentence {payload}"
    )
    assert (
        page.locator("#more h2").text_content() == f"title {payload}"
        and page.locator("#table-names td").text_content() == payload
    )
    assert (page.locator("#failures li").text_content() or "").endswith(f"broken {payload}")
    assert (
        page.locator("#more .gallery img").nth(1).get_attribute("alt")
        == f"gallery {payload}: picture {payload} 1"
    )
    assert page.locator("#more ol.proof li").nth(0).text_content() == f"step {payload}"
    assert page.locator("#found li").nth(1).locator(".badge").text_content() == f"verdict {payload}"
    assert page.locator("#more .chart").evaluate("(chart) => chart.dataset.drawn") == "yes"
    # long titles are lines of their own, without the space between them
    assert "".join(f"{payload} 1".split()) in "".join(
        (page.locator("#more .chart svg.marks").text_content() or "").split()
    )
    assert page.title().startswith(payload)


def test_right_to_left_names_are_shown_and_turn_nothing_round(
    study_of: Callable[..., Path], show: Callable[[Path], Opened]
) -> None:
    names = (
        "قطة",
        "כלב",
        "mixed עברית text",
        "override \u202egnp.exe",
        "isolate \u2067x",
        "mark \u200fx",
    )
    opened = show(study_of(names, name="a\u202eb", page_only=False))
    shown = opened.page.locator(".samples th").all_text_contents()
    assert shown[:3] == list(names[:3])
    assert shown[3] == "override \\u202egnp.exe" and "\\u2067" in shown[4] and "\\u200f" in shown[5]
    text = opened.page.locator("body").text_content() or ""
    body = text + " ".join(
        opened.page.locator("[aria-label], [alt]").evaluate_all(
            "(all) => all.map((n) => n.getAttribute('aria-label') + n.alt)"
        )
    )
    assert [mark for mark in "\u202a\u202b\u202d\u202e\u2066\u2067\u2068" if mark in body] == []
    assert opened.page.evaluate("getComputedStyle(document.body).direction") == "ltr"
    assert opened.errors == []


# --- small parts


@pytest.mark.parametrize("payload", [*PAYLOADS, "\u2028\u2029", "\x00", "\ud800"])
def test_json_inside_a_script_element_ends_nothing(payload: str) -> None:
    text = script_json({payload: [payload]})
    assert json.loads(text) == {payload: [payload]}
    assert not set("<>&\u2028\u2029") & set(text) and text.isascii()


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
