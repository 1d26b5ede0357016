"""Vega-Lite specifications of the convolution chapter: responses, counterexamples, shifts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt
import pandas as pd

from convscope.report.chart_style import (
    COLOURS,
    HEIGHT,
    WIDTH,
    finish,
    interval,
    tooltip,
    with_interval,
)

PANEL, INPUT_HEIGHT, SIDES_HEIGHT, COLUMNS = 150, 46, 84, 5

SERIES = {"x": "#000000", "y": "#009E73", "left side": "#0072B2", "right side": "#D55E00"}

MEASURES = ("predictions unchanged", "accuracy")


def impulse_response(taps: list[dict[str, Any]], signal: list[dict[str, Any]]) -> dict[str, Any]:
    """A kernel beside its impulse response, and a signal: L[x] as a line, x ∗ h as dots on it.

    taps: rows of n, value, series (text, two of them).
    signal: rows of position, value, series ("L[x]" or "x ∗ h").
    """
    frame = pd.DataFrame(taps)
    names = list(dict.fromkeys(frame["series"]))
    base = alt.Chart(frame).encode(
        x=alt.X("n:O", title="index n", axis=alt.Axis(labelAngle=0)),
        color=alt.Color("series:N", title=None, scale=_scale(names)),
    )
    side = alt.XOffset("series:N", sort=names)
    bars = base.mark_bar().encode(
        y=alt.Y("value:Q", title="value"),
        xOffset=side,
        tooltip=tooltip({"series": ("", ""), "n": ("n", ""), "value": ("value", ".4f")}),
    )
    lines = alt.Chart(pd.DataFrame(signal)).encode(
        x=alt.X("position:Q", title="position j", axis=alt.Axis(format="d")),
        y=alt.Y("value:Q", title="value"),
        color=alt.Color("series:N", title=None, scale=_scale(["L[x]", "x ∗ h"])),
        tooltip=tooltip({"series": ("", ""), "position": ("j", ""), "value": ("value", ".4f")}),
    )
    both = alt.layer(
        lines.transform_filter("datum.series === 'L[x]'").mark_line(
            strokeWidth=4, opacity=0.5, strokeJoin="round"
        ),
        lines.transform_filter("datum.series !== 'L[x]'").mark_point(
            filled=True, size=40, opacity=1
        ),
    )
    panels = alt.hconcat(
        bars.properties(width=WIDTH - 80, height=HEIGHT - 60),
        both.properties(width=WIDTH + 20, height=HEIGHT - 60),
    )
    return finish(panels.resolve_scale(color="independent"))


@dataclass(frozen=True)
class Panel:
    """One counterexample; `head` and `law` are the two lines above it.

    rows: series ("x", "y", "left side", "right side"), position, value.
    """

    head: str
    law: str
    rows: list[dict[str, Any]]


def counterexamples(panels: Sequence[Panel]) -> dict[str, Any]:
    """A small plot per counterexample: above the inputs, below the two sides of the law.

    Written down directly: Altair copies every part many times over, five seconds for a hundred.
    """
    style = finish(alt.Chart(pd.DataFrame()).mark_point())
    present = {row["series"] for panel in panels for row in panel.rows}
    names = [name for name in SERIES if name in present]
    colour = {
        "field": "series",
        "type": "nominal",
        "title": None,
        "scale": {"domain": names, "range": [SERIES[name] for name in names]},
        "legend": {"orient": "bottom", "symbolType": "circle"},
    }
    head = {"$schema": style["$schema"], "config": style["config"]}
    return {
        **head,
        "columns": COLUMNS,
        "spacing": 14,
        "concat": [_panel(panel, colour) for panel in panels],
    }


def _panel(panel: Panel, colour: dict[str, Any]) -> dict[str, Any]:
    inputs = [row for row in panel.rows if row["series"] in ("x", "y")]
    outputs = [row for row in panel.rows if row["series"] not in ("x", "y")]
    last = max(row["position"] for row in panel.rows)
    title = {
        "text": panel.head,
        "subtitle": panel.law,
        "fontSize": 11,
        "subtitleFontSize": 10,
        "anchor": "start",
        "offset": 4,
    }
    upper = _stems(inputs, "y", INPUT_HEIGHT, last, colour)
    lower = _stems(outputs, "right side", SIDES_HEIGHT, last, colour)
    return {"title": {**title, "limit": PANEL + 40}, "spacing": 2, "vconcat": [upper, lower]}


def _stems(
    rows: list[dict[str, Any]], beside: str, height: int, last: int, colour: dict[str, Any]
) -> dict[str, Any]:
    """Values as stems from 0.

    The series `beside` stands a little to the right of the other one, with open heads, so that both
    are seen. last: the largest position of the panel.
    """
    place = {
        "field": "at",
        "type": "quantitative",
        "title": None,
        "scale": {"domain": [-0.5, last + 0.8], "nice": False},
        "axis": {"tickCount": 4, "labelFontSize": 9},
    }
    axis = {"tickCount": 3, "format": "~g", "labelFontSize": 9}
    value = {"field": "value", "type": "quantitative", "title": None, "axis": axis}
    shown = [
        {"field": "series", "title": ""},
        {"field": "position", "title": "position"},
        {"field": "value", "title": "value", "type": "quantitative", "format": ".4g"},
    ]
    heads = [
        {
            "transform": [{"filter": test}],
            "mark": {
                "type": "point",
                "filled": not hollow,
                "size": 22,
                "strokeWidth": 1.5,
                "opacity": 1,
            },
            "encoding": {"y": value, "tooltip": shown},
        }
        for hollow, test in (
            (False, f"datum.series !== '{beside}'"),
            (True, f"datum.series === '{beside}'"),
        )
        if any((row["series"] == beside) == hollow for row in rows)  # Vega warns of empty layers
    ]
    stems = {
        "mark": {"type": "rule", "strokeWidth": 1.5},
        "encoding": {"y": value, "y2": {"field": "zero"}},
    }
    return {
        "width": PANEL,
        "height": height,
        "data": {
            "values": [
                {**row, "at": row["position"] + 0.3 * (row["series"] == beside), "zero": 0.0}
                for row in rows
            ]
        },
        "encoding": {"x": place, "color": colour},
        "layer": [stems, *heads],
    }


def shifts(rows: list[dict[str, Any]], borders: Sequence[str]) -> dict[str, Any]:
    """Shares of images against the shift, a panel for each way to fill the border.

    rows: border, measure (of MEASURES), pixels, share, low, high; borders: in the panels' order.
    """
    frame = pd.DataFrame(rows)
    base = alt.Chart(frame).encode(
        x=alt.X(
            "pixels:Q",
            title="shift (pixels)",
            axis=alt.Axis(tickMinStep=1, format="d"),
            scale=alt.Scale(padding=10),
        ),
        color=alt.Color("measure:N", title=None, scale=_scale(list(MEASURES))),
    )
    value = alt.Y(
        "share:Q",
        title="share of test images",
        axis=alt.Axis(format="%"),
        scale=alt.Scale(zero=False),
    )
    shown = {
        "measure": ("", ""),
        "pixels": ("shift", ""),
        **with_interval("share", ".1%"),
    }
    layers = alt.layer(
        base.mark_line(strokeWidth=2).encode(y=value),
        interval(base, "share of test images"),
        base.mark_point(filled=True, size=55, opacity=1).encode(y=value, tooltip=tooltip(shown)),
    ).properties(width=WIDTH, height=HEIGHT)
    return finish(layers.facet(column=alt.Column("border:N", title=None, sort=list(borders))))


def _scale(names: Sequence[str]) -> alt.Scale:
    return alt.Scale(domain=list(names), range=COLOURS[: len(names)])
