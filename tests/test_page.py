"""What the page is made of: names, formulas, links, the answers and how sure they are."""

from __future__ import annotations

import re
import subprocess
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import browsing
import pytest
from browsing import LONGEST_MS, Opened, unfold
from markupsafe import escape

from convscope.recipe import ConvNet, Custom, SoftmaxRegression, label_of, short_label_of
from convscope.report.diagram import stages_of
from convscope.report.error_chart import compact, error_chart
from convscope.report.findings import Finding, Headline, Recommended, Sized, sure_of
from convscope.report.formulas import with_formulas
from convscope.report.glossary import ENTRIES, Entry, used
from convscope.report.naming import Names
from convscope.report.opening import answers_of, asked_data
from convscope.report.page import OWN_WORDS, lead_of
from convscope.report.prose import REFERENCES, Prose

AXE = "axe-core@4.10.2"

# --- names


def test_short_names_say_what_long_ones_say() -> None:
    strong = ConvNet(16, 3, 2, norm="batch", skip=True)
    assert short_label_of(strong) == "C16·3×2 bn skip"
    assert label_of(strong) == "width 16, depth 3×2, batch norm, skip"
    assert short_label_of(ConvNet(8, 1, hidden=(32, 16))) == "C8·1 h32+16"
    assert short_label_of(SoftmaxRegression()) == "softmax"
    assert short_label_of(Custom("a.b:c")) == "a.b:c"
    many = [
        replace(ConvNet(8, 2), **change)
        for change in (
            {},
            {"growth": 1.5},
            {"kernel": 5},
            {"dilations": (1, 2)},
            {"norm": "group"},
            {"pool_at": "first"},
            {"stem": "whiten"},
            {"activation": "gelu"},
            {"pool": "avg"},
            {"head": "gap"},
            {"order": "reversed"},
            {"pixels": "random"},
        )
    ]
    assert len({short_label_of(model) for model in many}) == len(many)


def test_texts_and_charts_have_short_names_and_nothing_else_changes() -> None:
    models = [ConvNet(1, 3), ConvNet(16, 3), ConvNet(16, 3, 2, norm="batch"), ConvNet(8, 1)]
    names = Names([*models, ConvNet(8, 1, hidden=(16,)), ConvNet(4, 1, hidden=(16,))])
    for text, short in (
        ("is width 16, depth 3.", "is C16·3."),
        ("width 16, depth 3×2, batch norm is", "C16·3×2 bn is"),
        ("Width 1, depth 3: 2 epochs", "C1·3: 2 epochs"),
        ("width 8, depth 1, hidden 16, and", "C8·1 h16, and"),
        ("width 8, depth 1", "C8·1"),
        ("width 4, depth 1", "C4·1 h16"),  # all of that name have these layers
        ("width 16, depth 30", "width 16, depth 30"),
        ("depth 3, width 16", "depth 3, width 16"),
    ):
        assert names.plain(text) == short
    spec = {"values": [{"network": "width 8, depth 1", "loss": 1.5}], "on": True, "none": None}
    assert names.everywhere(spec) == {
        "values": [{"network": "C8·1", "loss": 1.5}],
        "on": True,
        "none": None,
    }
    assert names.title("C8·1 h16") == "width 8, depth 1, hidden 16"
    assert Names([]).plain("width 8, depth 1") == "width 8, depth 1"


# --- formulas, links


@pytest.mark.parametrize(
    ("text", "formulas"),
    [
        (
            "By linearity L[x](j) = Σᵢ x(i) L[δᵢ](j).",
            ["L[x](j) = Σᵢ x(i) L[δᵢ](j)"],
        ),
        ("A linear L with h = L[δ] is a sum.", ["L", "h = L[δ]"]),
        ("On a plain day I see 3 cats, and a dog.", []),
        ("the class <bold>cat</bold> & more", []),
    ],
)
def test_formulas_are_set_and_say_what_was_there(text: str, formulas: list[str]) -> None:
    made = str(with_formulas(text))
    assert re.findall(r'<math alttext="([^"]*)">', made) == formulas
    plain = re.sub(r'<math alttext="([^"]*)">.*?</math>', r"\1", made)
    assert plain.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&") == text
    assert "<bold>" not in made


def test_every_formula_of_the_glossary_is_set_without_loss() -> None:
    for entry in ENTRIES.values():
        made = str(with_formulas(entry.formula))
        plain = re.sub(r'<math alttext="([^"]*)">.*?</math>', r"\1", made)
        assert plain == str(escape(entry.formula)), entry.key


def test_words_are_linked_once_in_a_chapter_and_works_always() -> None:
    entry = Entry("loss", "Loss", "what it <is>", "f", "c", "s", "", ("losses",))
    prose = Prose(Names([ConvNet(8, 1)]), [entry])
    first = str(prose.html("Loss of width 8, depth 1 (Guo et al. 2017); losses <i>", "capacity"))
    assert first.count('href="#glossary-loss"') == 1 and "what it &lt;is&gt;" in first
    assert '<span class="net" title="width 8, depth 1">C8·1</span>' in first
    assert f'href="{REFERENCES["Guo et al. 2017"]}"' in first and "&lt;i&gt;" in first
    assert "glossary" not in str(prose.html("the loss", "capacity"))
    assert "glossary" in str(prose.html("the loss", "best"))
    assert "glossary" not in str(prose.html("the gloss", "other"))
    assert all(url.startswith("https://") for url in REFERENCES.values())
    pressed = str(prose.html("the loss", "answers", links=False))  # of what is itself pressed
    assert pressed == 'the <abbr class="word" title="what it &lt;is&gt;">loss</abbr>'
    own = {one.key for one in used([], OWN_WORDS)}
    assert own == set(OWN_WORDS)


# --- the opening


def test_stages_are_those_of_the_network() -> None:
    net = ConvNet(16, 2, 2, norm="batch", head="gap")
    told = [(stage.name, stage.size, stage.layers) for stage in stages_of(net, (3, 32, 32), 10)]
    assert told == [
        ("image", "3 maps of 32×32", ""),
        ("block 1", "16 maps of 16×16", "2 × conv, pooling"),
        ("block 2", "32 maps of 8×8", "2 × conv, pooling"),
        ("vector", "32 values", "mean of each map, flatten"),
        ("classes", "10 values", "fully connected"),
    ]
    assert stages_of(Custom("no.such:thing"), (3, 32, 32), 10) == []


def taken(model: ConvNet, parameters: int) -> Recommended:
    return Recommended(model, 0.6, 0.55, 0.65, 2, parameters, 1000, "It is so.")


def test_the_chart_of_sizes_marks_what_the_verdicts_say() -> None:
    nets = [ConvNet(2**i, 3) for i in range(4)]
    zones = ("too small", "enough", "larger than needed", "")
    sized = [
        Sized(net, 1000 * 4**i, 7 * 2**i, 0.5 - 0.1 * i, 0.45 - 0.1 * i, 0.55 - 0.1 * i, zone)
        for i, (net, zone) in enumerate(zip(nets, zones, strict=True))
    ]
    chart = error_chart(sized, taken(nets[1], 4000))
    assert chart is not None
    assert [zone.word for zone in chart.zones] == list(zones[:3])
    assert [mark.taken for mark in chart.marks] == [False, True, False, False]
    assert all(a.x < b.x and a.y < b.y for a, b in zip(chart.marks, chart.marks[1:], strict=False))
    for zone, mark in zip(chart.zones, chart.marks, strict=False):
        assert zone.x <= mark.x <= zone.x + zone.width
    assert "The network to take, C2·3, has 40.0 % with 4,000" in chart.alt
    otherwise = error_chart(sized, replace(taken(nets[1], 4000), accuracy=0.63))
    assert otherwise is not None and len(otherwise.marks) == 5  # trained in another way
    beside = error_chart(sized, taken(ConvNet(64, 3), 9_000_000))
    assert beside is not None and len(beside.marks) == 5 and beside.marks[-1].taken
    assert error_chart(sized[:1], None) is None and error_chart([], None) is None
    assert [compact(n) for n in (950, 1200, 12_400, 1_558_026)] == ["950", "1.2k", "12k", "1.6M"]


def finding(**more: Any) -> Finding:
    return Finding("capacity", "Capacity", "question?", "cannot tell", "Sentence.", {}, **more)


def test_badges_are_grey_where_nothing_is_known_or_evidence_is_missing() -> None:
    told = (
        Headline("Did nonlinearity matter?", "Yes: 3.", "sure", "Tested."),
        Headline("How many filters are enough?", "Cannot tell: 3.", "one seed", "One."),
        Headline("Does it matter, by proof?", "No: 1e-13.", "proved", "A theorem."),
    )
    answers = answers_of({"capacity": finding(headlines=told)})
    assert [(one.badge, one.key) for one in answers] == [
        ("cannot tell: one seed", "unknown"),
        ("tested: sure", "sure"),
        ("proved", "proved"),
    ]
    grey = answers_of({"capacity": finding(headlines=told, missing=("a run",))})
    assert {one.key for one in grey} == {"unknown"} and all(one.missing for one in grey)
    assert [one.key for one in answers_of({"capacity": finding()})] == ["unknown"]
    assert (sure_of(None), sure_of(0.95), sure_of(0.7)) == ("sure", "sure", "fairly sure")


def test_a_finding_without_pictures_has_none_and_the_named_one_leads() -> None:
    assert lead_of(finding()).contents == "" and lead_of(finding()).chart is None


@pytest.mark.parametrize(
    ("command", "data"),
    [
        ("convscope study cifar10 --preset quick", "cifar10"),
        ("convscope study 'my images' --seeds 2", "'my images'"),
        ("convscope study --preset quick", None),
        ("convscope study 'broken", None),
    ],
)
def test_the_strong_recipe_is_proposed_for_the_data_of_the_study(
    command: str, data: str | None
) -> None:
    assert asked_data(command) == data


# --- in the browser: the page's own security policy, themes, ways to read, accessibility


@pytest.fixture
def guarded(browser: Any, study_of: Callable[..., Path]) -> Any:
    """The page of made-up findings under its own content security policy."""
    with browsing.pages(browser, guarded=True) as show:
        yield show(study_of())


def test_charts_are_drawn_without_running_text_as_a_program(guarded: Opened) -> None:
    page = guarded.page
    policy = page.locator("meta[http-equiv=Content-Security-Policy]").get_attribute("content")
    assert policy and "unsafe-eval" not in policy and "default-src 'none'" in policy
    drawn = page.locator(".chart").evaluate_all("(all) => all.map((c) => c.dataset.drawn)")
    assert drawn and set(drawn) == {"yes"} and guarded.errors == []
    assert page.locator(".chart svg path").count() > 3


def test_themes_values_and_ways_to_read(guarded: Opened) -> None:
    page = guarded.page
    paper = "getComputedStyle(document.body).backgroundColor"
    assert page.evaluate(paper) == "rgb(255, 255, 255)"
    page.locator("#theme").click()
    assert page.evaluate(paper) == "rgb(18, 22, 29)"
    page.locator("input[value=researcher]").check(force=True)
    assert page.locator("details.more:not([open])").count() == 0
    page.locator("input[value=student]").check(force=True)
    assert page.locator("#capacity .asked-by").is_visible()
    assert page.locator("#more details.more:has(ol.proof)").get_attribute("open") is not None
    values = page.locator("#more-named details.values")
    values.locator("summary").click()
    values.locator("tbody tr").first.wait_for()  # the table is made once the browser says so
    assert values.locator("tbody tr").count() == 6  # two networks, three epochs
    assert guarded.errors == []


@pytest.fixture(scope="module")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """axe-core by npm, from its cache where it is there."""
    folder = tmp_path_factory.mktemp("axe")
    command = ["npm", "pack", AXE, "--prefer-offline", "--silent"]
    try:
        subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=60)
    except (OSError, subprocess.SubprocessError):
        pytest.skip(f"npm brings no {AXE}")
    with tarfile.open(next(folder.glob("*.tgz"))) as archive:
        file = archive.extractfile("package/axe.min.js")
        assert file is not None
        return file.read().decode()


@pytest.mark.parametrize(
    ("width", "scheme"),
    [
        (390, "dark"),
        pytest.param(1400, "light", marks=pytest.mark.slow),
        pytest.param(390, "light", marks=pytest.mark.slow),
        pytest.param(1400, "dark", marks=pytest.mark.slow),
    ],
)
def test_axe_finds_no_violation(
    browser: Any, study_of: Callable[..., Path], axe: str, width: int, scheme: str
) -> None:
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme, bypass_csp=True
    )
    context.set_default_timeout(LONGEST_MS)
    page = context.new_page()
    page.goto(study_of().as_uri())
    page.wait_for_function("document.documentElement.dataset.drawn === 'yes'")
    page.evaluate(axe)
    for _ in range(2):
        found = page.evaluate("axe.run(document, { resultTypes: ['violations'] })")
        assert [(v["id"], v["nodes"][0]["html"][:200]) for v in found["violations"]] == []
        page.locator("input[value=student]").check(force=True)  # what only a student sees
        unfold(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    context.close()
