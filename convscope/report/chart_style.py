"""What all charts share: colours, sizes, axes, tooltips and the look of a finished specification.

Charts are Vega-Lite specifications, made through Altair. One specification serves the page, PNG
and SVG.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt

# Okabe & Ito 2008: told apart with every common kind of colour vision
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"]
WIDTH, HEIGHT = 340, 260  # pixels


def colour(field: str, title: str, domain: Sequence[str]) -> alt.Color:
    """One colour per value of a text field; domain: the values in the order of their colours."""
    if len(domain) > len(COLOURS):  # too many to be told apart safely: the tooltip names them
        return alt.Color(
            f"{field}:N",
            title=title,
            scale=alt.Scale(domain=list(domain), scheme="tableau20"),
            legend=alt.Legend(symbolLimit=0),
        )
    return alt.Color(
        f"{field}:N",
        title=title,
        scale=alt.Scale(domain=list(domain), range=COLOURS[: len(domain)]),
    )


def size_axis(field: str, title: str) -> alt.X:
    """A logarithmic horizontal axis of a positive number."""
    axis = alt.Axis(format="~s", tickCount=5)
    return alt.X(f"{field}:Q", title=title, scale=alt.Scale(type="log", padding=12), axis=axis)


def tooltip(fields: dict[str, tuple[str, str]]) -> list[alt.Tooltip]:
    """fields: {field: (title, format)}; an empty format shows the value as it is."""
    return [
        alt.Tooltip(name, title=title, format=form) if form else alt.Tooltip(name, title=title)
        for name, (title, form) in fields.items()
    ]


def with_interval(field: str, form: str, title: str = "") -> dict[str, tuple[str, str]]:
    """For `tooltip`: a figure with its 95 % interval, which is in the fields low and high."""
    return {field: (title or field, form), "low": ("95 % from", form), "high": ("to", form)}


def interval(base: alt.Chart, title: str) -> alt.Chart:
    """An upright line from low to high at each point; title: of the axis."""
    return base.mark_rule(strokeWidth=1.5).encode(y=alt.Y("low:Q", title=title), y2="high:Q")


STYLE = {
    "view": {"stroke": "#dddddd"},
    "axis": {
        "gridColor": "#eeeeee",
        "labelFontSize": 11,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
    },
    "legend": {"labelFontSize": 11, "titleFontSize": 12, "labelLimit": 320},
    "header": {"labelFontSize": 12, "labelFontWeight": "bold"},
}


def finish(chart: Any) -> dict[str, Any]:
    """A chart's specification as plain JSON, in the style that all charts have."""
    with alt.data_transformers.enable("default", max_rows=None):
        spec = chart.to_dict(validate=False)  # tests validate; it doubles the time
    # set here: each of Altair's own configure_… calls copies the whole chart
    config = spec.get("config", {})
    return spec | {
        "config": config | {part: config.get(part, {}) | style for part, style in STYLE.items()}
    }
