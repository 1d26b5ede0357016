"""A page as PDF, printed by a browser that is installed: Chromium, Chrome or Edge."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from convscope.errors import UserError, one_line

BROWSERS = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "chrome",
    "microsoft-edge",
    "microsoft-edge-stable",
    "msedge",
)
IN_PLACE = (  # systems whose browsers are on no PATH
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "/Applications/Microsoft Edge.app/Contents/MacOS/Microsoft Edge",
)

DRAWING = 20_000  # milliseconds of the page's own clock, which runs ahead while nothing happens

PATIENCE = 180.0  # seconds


def installed_browser() -> str | None:
    """The path of a browser that prints; None where none is found."""
    found = (shutil.which(name) for name in BROWSERS)
    places = (path for path in IN_PLACE if sys.platform == "darwin" and os.access(path, os.X_OK))
    return next((path for path in (*found, *places) if path), None)


def check_browser(page: Path) -> str:
    """The path of a browser that prints. Raises UserError where none is found."""
    browser = installed_browser()
    if browser is None:
        raise UserError(
            "--pdf: needs Chromium, Chrome or Edge on PATH, and none is there; install one, or "
            f"open {one_line(page)} in your browser and print it"
        )
    return browser


def print_pdf(page: Path, pdf: Path) -> None:
    """Print a page to a PDF file; nothing is loaded from the network.

    page: an HTML file.
    pdf: where it goes; it is whole, or what was there stays.
    Raises UserError where no browser is installed, or where it fails.
    """
    browser = check_browser(page)
    with tempfile.TemporaryDirectory(prefix="convscope-pdf-") as work:
        made = Path(work) / "page.pdf"
        command = [
            browser,
            "--headless=new",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-background-networking",
            "--host-resolver-rules=MAP * ~NOTFOUND",
            f"--user-data-dir={work}/profile",
            f"--virtual-time-budget={DRAWING}",
            "--no-pdf-header-footer",
            f"--print-to-pdf={made}",
            page.absolute().as_uri(),
        ]
        if hasattr(os, "geteuid") and os.geteuid() == 0:  # a browser has no sandbox for root
            command.insert(1, "--no-sandbox")
        why = ran(command)
        if why or not made.exists() or not made.read_bytes().startswith(b"%PDF"):
            raise UserError(
                f"--pdf: {one_line(browser)} printed nothing{f' ({why})' if why else ''}; open "
                f"{one_line(page)} in your browser and print it"
            )
        part = pdf.with_name(f"{pdf.name}.part")
        shutil.copyfile(made, part)
        part.replace(pdf)


def ran(command: list[str]) -> str:
    """Run a browser to its end; why it failed, in one line, or nothing."""
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE
        )
    except subprocess.TimeoutExpired:
        return f"not within {PATIENCE:.0f} s"
    except OSError as error:
        return error.strerror or type(error).__name__
    if done.returncode == 0:
        return ""
    last = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
    return one_line(f"exit code {done.returncode}: {' '.join(last)}")
