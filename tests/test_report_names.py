"""Names from outside, of classes, data and texts, stay text on the page."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from browsing import Opened
from playwright.sync_api import Page

from convscope.report.page import script_json

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


def anatomy(page: Page) -> dict[str, int]:
    """How many elements of each kind, and attributes of each name, are outside the drawn charts.

    Without formulas, which convscope itself makes of texts.
    """
    return page.evaluate(
        """() => {
          const counts = {};
          for (const node of document.querySelectorAll("*")) {
            if (node.closest(".chart") && !node.matches(".chart")) continue;
            if (node.closest("#next")) continue; // no command where the study's cannot be read
            if (node.namespaceURI.endsWith("MathML")) continue; // "a=1" in a text is a formula
            counts[node.tagName] = (counts[node.tagName] || 0) + 1;
            for (const { name } of node.attributes) {
              counts["@" + name] = (counts["@" + name] || 0) + 1;
            }
          }
          return counts;
        }"""
    )


@pytest.mark.slow
def test_payloads_in_class_names_stay_text(
    study_of: Callable[..., Path], show: Callable[[Path], Opened]
) -> None:
    expected = anatomy(show(study_of(tuple(f"class {i}" for i in range(15)))).page)
    for names in (tuple(PAYLOADS[half::2]) for half in (0, 1)):
        assert len(names) == 15
        opened = show(study_of(names))
        check_untouched(opened, expected)
        assert opened.page.locator(".samples th").all_text_contents() == list(names)
        alts = opened.page.locator(".samples img").evaluate_all("(all) => all.map((i) => i.alt)")
        assert all(name in alt for name, alt in zip(names, alts, strict=True))


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


@pytest.mark.slow
def test_payloads_in_every_other_place_stay_text(
    study_of: Callable[..., Path], show: Callable[[Path], Opened]
) -> None:
    expected = anatomy(show(study_of()).page)
    for payload in MIXED:
        check_payload(show(study_of(name=payload, told=payload)), payload, expected)


def check_payload(opened: Opened, payload: str, expected: dict[str, int]) -> None:
    check_untouched(opened, expected)
    page = opened.page
    assert (page.locator("h1").text_content() or "").strip() == payload and page.locator(
        "#sentence"
    ).text_content() == f"last sentence {payload}"
    assert (
        page.locator("#more h2").text_content() == f"title {payload}"
        and page.locator("#table-names tbody th").text_content() == payload
    )
    assert (page.locator("#failures li").text_content() or "").endswith(f"broken {payload}")
    assert (
        page.locator("#more .gallery img").nth(1).get_attribute("alt")
        == f"gallery {payload}: picture {payload} 1"
    )
    assert page.locator("#more ol.proof li").nth(0).text_content() == f"step {payload}"
    found = page.locator("#found li strong").all_text_contents()
    assert f"verdict {payload}" in found, found
    assert page.locator("#more .chart").evaluate("(chart) => chart.dataset.drawn") == "yes"
    # long titles are lines of their own, without the space between them
    assert "".join(f"{payload} 1".split()) in "".join(
        (page.locator("#more .chart svg.marks").text_content() or "").split()
    )
    assert page.title().startswith(payload)


@pytest.mark.slow
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
