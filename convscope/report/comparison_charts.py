"""Configurations beside each other: accuracies, effects, receptive fields, singular values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt
import pandas as pd

from convscope.report.chart_style import COLOURS, WIDTH, colour, finish, tooltip, with_interval


def named_lines(field: str, rows: Sequence[dict[str, Any]]) -> alt.Y:
    """A line for each row, in their order, with its name in `field`."""
    names = [row[field] for row in rows]
    return alt.Y(f"{field}:N", title=None, sort=names, axis=alt.Axis(labelLimit=330))


def panels_below(field: str, names: Sequence[str]) -> alt.Row:
    """A panel below the other for each of the names in `field`, its name above it."""
    header = alt.Header(labelAngle=0, labelOrient="top", labelAnchor="start")
    return alt.Row(f"{field}:N", title=None, sort=list(names), header=header)


def arms(
    rows: list[dict[str, Any]], group: str, groups: Sequence[str], field: str = "arm"
) -> dict[str, Any]:
    """Test accuracy of each configuration with its 95 % interval, one line per row, in their order.

    rows: `field` (the configuration's name), `group` (a text, shown as a colour), accuracy, low,
    high, parameters, seeds.
    groups: the values of `group`, in the order of their colours.
    """
    frame = pd.DataFrame(rows)
    used = [name for name in groups if name in set(frame[group])]
    base = alt.Chart(frame).encode(
        y=named_lines(field, rows),
        color=colour(group, "", used),
    )
    value = alt.X(
        "accuracy:Q",
        title="test accuracy",
        axis=alt.Axis(format="%"),
        scale=alt.Scale(zero=False, padding=12),
    )
    shown = tooltip(
        {
            field: ("network", ""),
            "parameters": ("parameters", ","),
            **with_interval("accuracy", ".1%"),
            "seeds": ("seeds", ""),
        }
    )
    return finish(
        alt.layer(
            base.mark_rule(strokeWidth=2).encode(
                x=alt.X("low:Q", title="test accuracy"), x2="high:Q"
            ),
            base.mark_point(filled=True, size=80, opacity=1).encode(x=value, tooltip=shown),
            base.mark_text(dy=-11, fontSize=11).encode(
                x="accuracy:Q", text=alt.Text("accuracy:Q", format=".1%")
            ),
        ).properties(width=440, height=max(60, 34 * len(rows)))
    )


def effects(
    rows: list[dict[str, Any]],
    field: str,
    group: str,
    groups: Sequence[str],
    *,
    width: int = 440,
    legend: bool = True,
) -> dict[str, Any]:
    """Differences of test accuracy in percentage points with 95 % intervals, beside a line at 0.

    rows: `field` (the difference's name), `group` (a text, shown as a colour), difference, low and
    high (as fractions), from and to (the two configurations).
    groups: the values of `group`, in the order of their colours.
    width: of the plot, in pixels.
    legend: whether the colours are explained; not needed where the names say what they are.
    """
    frame = pd.DataFrame(rows)
    frame[["difference", "low", "high"]] *= 100
    frame["told"] = [f"{value:+.1f}".replace("-", "−") for value in frame["difference"]]
    frame["told"] = frame["told"].replace({"−0.0": "0.0", "+0.0": "0.0"})
    used = [name for name in groups if name in set(frame[group])]
    title = "points of test accuracy"
    colours = colour(group, "", used)
    if not legend:
        colours = colours.legend(None)
    base = alt.Chart(frame).encode(
        y=named_lines(field, rows),
        color=colours,
    )
    shown = tooltip(
        {
            "from": ("from", ""),
            "to": ("to", ""),
            **with_interval("difference", ".1f", "points"),
        }
    )
    zero = (
        alt.Chart(pd.DataFrame([{"x": 0}]))
        .mark_rule(color="#666666", strokeDash=[3, 3])
        .encode(x="x:Q")
    )
    return finish(
        alt.layer(
            zero,
            base.mark_rule(strokeWidth=2).encode(x=alt.X("low:Q", title=title), x2="high:Q"),
            base.mark_point(filled=True, size=80, opacity=1).encode(
                x=alt.X("difference:Q", title=title), tooltip=shown
            ),
            base.mark_text(dy=-11, fontSize=11).encode(x="difference:Q", text="told:N"),
        ).properties(width=width, height=max(60, 34 * len(rows)))
    )


def accuracy_against_field(rows: list[dict[str, Any]], panels: Sequence[str]) -> dict[str, Any]:
    """Test accuracy against receptive field, with 95 % intervals: a panel for each family.

    rows: panel (the family), field (pixels a side), accuracy, low, high, parameters, network.
    panels: the families, from top to bottom.
    """
    base = alt.Chart(pd.DataFrame(rows)).encode(
        x=alt.X(
            "field:Q",
            title="side of the receptive field, pixels",
            axis=alt.Axis(tickMinStep=2, format="d"),
            scale=alt.Scale(zero=False, padding=12),
        )
    )
    shown = tooltip(
        {
            "network": ("network", ""),
            "field": ("field", "d"),
            "parameters": ("parameters", ","),
            **with_interval("accuracy", ".1%"),
            "seeds": ("seeds", ""),
        }
    )
    value = alt.Y(
        "accuracy:Q", title="test accuracy", axis=alt.Axis(format="%"), scale=alt.Scale(zero=False)
    )
    layers = alt.layer(
        base.mark_line(strokeWidth=1.5, color=COLOURS[0]).encode(y=value),
        base.mark_rule(strokeWidth=1.5, color=COLOURS[0]).encode(
            y=alt.Y("low:Q", title="test accuracy"), y2="high:Q"
        ),
        base.mark_point(filled=True, size=70, opacity=1, color=COLOURS[0]).encode(
            y=value, tooltip=shown
        ),
    ).properties(width=WIDTH - 60, height=150)
    return finish(layers.facet(row=panels_below("panel", panels)).resolve_scale(y="independent"))


def field_sides(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Sides of fields: theoretical, and effective before and after training, a panel per network.

    rows: network, theoretical, untrained, trained (pixels a side), untrained_range and
    trained_range (their smallest and largest values).
    """
    kinds = ["theoretical", "untrained", "trained"]
    points = []
    for row in rows:
        for kind in kinds:
            low, high = row.get(f"{kind}_range", (row[kind], row[kind]))
            named = {"network": row["network"], "field": kind}
            points.append({**named, "side": row[kind], "low": low, "high": high})
    base = alt.Chart(pd.DataFrame(points)).encode(
        y=alt.Y("field:N", title=None, sort=kinds), color=colour("field", "", kinds).legend(None)
    )
    scale = alt.Scale(domainMin=0, nice=True)
    shown = tooltip(
        {
            "network": ("network", ""),
            "field": ("field", ""),
            "side": ("side", ".1f"),
            "low": ("from", ".1f"),
            "high": ("to", ".1f"),
        }
    )
    layers = alt.layer(
        base.mark_rule(strokeWidth=2).encode(
            x=alt.X("low:Q", title="pixels a side", scale=scale), x2="high:Q"
        ),
        base.mark_point(filled=True, size=80, opacity=1).encode(
            x=alt.X("side:Q", title="pixels a side", scale=scale), tooltip=shown
        ),
        base.mark_text(dy=-9, fontSize=11).encode(
            x="side:Q", text=alt.Text("side:Q", format=".1f")
        ),
    ).properties(width=WIDTH - 100, height=90)
    return finish(layers.facet(row=panels_below("network", [row["network"] for row in rows])))


def spectrum(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Singular values on a logarithmic axis against their number, one line per network.

    rows: network, index, value (positive).
    """
    frame = pd.DataFrame(rows)
    names = list(dict.fromkeys(frame["network"]))
    shown = tooltip(
        {"network": ("network", ""), "index": ("number", ""), "value": ("singular value", ".4g")}
    )
    return finish(
        alt.Chart(frame)
        .mark_line(point=True)
        .encode(
            x=alt.X("index:Q", title="number", axis=alt.Axis(tickMinStep=1, format="d")),
            y=alt.Y("value:Q", title="singular value", scale=alt.Scale(type="log")),
            color=colour("network", "", names),
            tooltip=shown,
        )
        .properties(width=440, height=220)
    )
