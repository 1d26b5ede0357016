"""A page in a real browser: what it asks for, what fails in it, what stands in its tables."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))),
    None,
)
ARGUMENTS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]


LONGEST_MS = 180_000  # a busy machine draws forty charts slowly
DRAWN = """() => {
  const root = document.documentElement.dataset;
  return [...document.querySelectorAll(".chart")].every((chart) => chart.dataset.drawn)
    && (!root.charts || root.drawn === "yes");
}"""


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
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


@contextlib.contextmanager
def pages(browser: Browser, guarded: bool = False) -> Iterator[Callable[[Path], Opened]]:
    """Open a page, and wait until its charts are drawn or have failed.

    guarded: under the page's own content security policy, which forbids what Playwright's
        wait_for_function does.
    """
    context = browser.new_context(viewport={"width": 1200, "height": 900}, bypass_csp=not guarded)

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
        opened.page.set_default_timeout(LONGEST_MS)
        opened.page.goto(path.as_uri())
        for _ in range(LONGEST_MS // 50):
            if opened.page.evaluate(DRAWN):
                return opened
            opened.page.wait_for_timeout(50)
        raise TimeoutError(f"the charts of {path} are not drawn after {LONGEST_MS // 1000} s")

    yield show
    context.close()


def unfold(page: Page) -> None:
    """Open whatever is folded."""
    page.evaluate("document.querySelectorAll('details').forEach((d) => { d.open = true; })")


def column(page: Page, table: str, index: int) -> list[str]:
    return page.locator(f"#table-{table} tbody tr > :nth-child({index + 1})").evaluate_all(
        "(all) => all.map((cell) => cell.dataset.value)"
    )
