"""The page of a sweep: one file that opens without network and runs no script."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from importlib.resources import files

from convscope.report.drawing import Drawings
from convscope.report.findings import Chart, Finding, Table
from convscope.report.page import environment


def sweep_page_of(
    title: str,
    sentences: Sequence[str],
    notes: Sequence[str],
    tables: Sequence[Table],
    charts: Sequence[Chart],
    command: str,
    drawings: Drawings,
) -> bytes:
    """The page as bytes of UTF-8; charts are pictures inside it, and every name is escaped.

    title: what was asked; sentences: the verdicts; notes: what a reader must know first.
    command: that asks for the same again; drawings: draws the charts.
    """
    drawn = Finding("sweep", title, "", "", "", {}, charts=list(charts))
    drawings.add(drawn)
    pictures = [
        (
            chart,
            "data:image/svg+xml;base64,"
            + base64.b64encode(drawings.of("sweep", chart.name).svg).decode(),
        )
        for chart in charts
    ]
    text = (files("convscope.report") / "sweep_page.jinja").read_text(encoding="utf-8")
    page = (
        environment()
        .from_string(text)
        .render(
            title=title,
            sentences=sentences,
            notes=notes,
            tables=tables,
            charts=pictures,
            command=command,
        )
    )
    return page.encode("utf-8", "backslashreplace")
