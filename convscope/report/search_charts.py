"""Charts of a search: Pareto fronts, history, importance, settings, confusion matrix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt
import pandas as pd

from convscope.report.chart_style import (
    COLOURS,
    HEIGHT,
    WIDTH,
    colour,
    finish,
    interval,
    tooltip,
    with_interval,
)
from convscope.words import count

MOST_CLASSES_WITH_COUNTS = 20  # of more, a confusion matrix shows colours alone


def pareto(rows: list[dict[str, Any]], title: str, form: str) -> dict[str, Any]:
    """Validation error with 95 % intervals against a cost; the front is a dashed step line.

    rows: cost, shown (the cost in words), error, low, high, network, chapter, front (whether it is
    on the front), mark (a text beside the point, or "").
    title: the cost in words.
    form: the number format of the logarithmic cost axis.
    """
    frame = pd.DataFrame(rows)
    chapters = list(dict.fromkeys(frame["chapter"]))
    x = alt.X(
        "cost:Q",
        title=title,
        scale=alt.Scale(type="log", padding=12),
        axis=alt.Axis(format=form, tickCount=5),
    )
    y = alt.Y(
        "error:Q", title="validation error", axis=alt.Axis(format="%"), scale=alt.Scale(zero=False)
    )
    base = alt.Chart(frame).encode(x=x)
    shown = {
        "network": ("network", ""),
        "shown": (title, ""),
        **with_interval("error", ".1%", "validation error"),
        "mark": ("chosen as", ""),
    }
    layers = [
        base.transform_filter("datum.front")
        .mark_line(interpolate="step-after", color="#666666", strokeDash=[5, 3])
        .encode(y=y, order=alt.Order("cost:Q")),
        interval(base, "validation error").encode(color=colour("chapter", "trained for", chapters)),
        base.mark_point(filled=True, size=65, opacity=1).encode(
            y=y, color=colour("chapter", "trained for", chapters), tooltip=tooltip(shown)
        ),
        base.transform_filter("datum.mark != ''")
        .mark_point(size=320, strokeWidth=2, color="#000000")
        .encode(y=y),
        base.transform_filter("datum.mark != ''")
        .mark_text(dx=14, align="left", fontSize=11, color="#000000")
        .encode(y=y, text="mark:N"),
    ]
    return finish(alt.layer(*layers).properties(width=2 * WIDTH, height=HEIGHT))


def loss_scale(lowest: float, **options: Any) -> alt.Scale:
    """Logarithmic, so that one bad trial leaves room for the others; linear where a loss is 0."""
    return alt.Scale(
        type="log" if lowest > 0 else "linear",
        zero=alt.Undefined if lowest > 0 else False,
        nice=False,
        **options,
    )


def history(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Validation loss of each trial at each rung; a step line is the lowest so far at its rung.

    rows: number (the trial), epochs (the rung), loss, lowest, state, network.
    """
    frame = pd.DataFrame([{**row, "rung": count(row["epochs"], "epoch")} for row in rows])
    rungs = list(dict.fromkeys(frame.sort_values("epochs", kind="stable")["rung"]))
    base = alt.Chart(frame).encode(
        x=alt.X("number:Q", title="trial", axis=alt.Axis(tickMinStep=1, format="d")),
        color=colour("rung", "rung", rungs),
    )
    title = "validation loss (nats)"
    shown = tooltip(
        {
            "number": ("trial", ""),
            "network": ("network", ""),
            "rung": ("rung", ""),
            "loss": ("validation loss", ".3f"),
            "state": ("what became of it", ""),
        }
    )
    return finish(
        alt.layer(
            base.mark_line(interpolate="step-after", strokeWidth=1.5).encode(
                y=alt.Y("lowest:Q", title=title, scale=loss_scale(min(row["loss"] for row in rows)))
            ),
            base.mark_point(filled=True, size=55, opacity=0.9).encode(
                y=alt.Y("loss:Q", title=title), tooltip=shown
            ),
        ).properties(width=2 * WIDTH, height=HEIGHT)
    )


def importances(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """One bar per setting. rows: setting, share (0 to 1)."""
    return finish(
        alt.Chart(pd.DataFrame(rows))
        .mark_bar(color=COLOURS[0])
        .encode(
            x=alt.X("share:Q", title="share of importance", axis=alt.Axis(format="%")),
            y=alt.Y("setting:N", title=None, sort="-x"),
            tooltip=tooltip({"setting": ("setting", ""), "share": ("share", ".1%")}),
        )
        .properties(width=2 * WIDTH, height=18 * len(rows))
    )


def parallel(rows: list[dict[str, Any]], settings: Sequence[str]) -> dict[str, Any]:
    """One line per trial through one axis per setting; the colour is its validation loss.

    rows: number (the trial), setting, place (0 to 1 in the setting's own range), shown (the value
    in words), loss (after the lowest rung), network.
    settings: the axes from left to right.
    """
    frame = pd.DataFrame(rows)
    scale = loss_scale(min(row["loss"] for row in rows), scheme="viridis")
    base = alt.Chart(frame).encode(
        x=alt.X("setting:N", title=None, sort=list(settings), axis=alt.Axis(labelAngle=-40)),
        y=alt.Y(
            "place:Q",
            title="lowest to highest value searched",
            axis=alt.Axis(values=[0, 0.5, 1], labels=False),
        ),
        color=alt.Color(
            "loss:Q", title="validation loss", scale=scale, legend=alt.Legend(type="gradient")
        ),
        detail="number:N",
    )
    shown = {
        "number": ("trial", ""),
        "network": ("network", ""),
        "setting": ("setting", ""),
        "shown": ("value", ""),
        "loss": ("validation loss", ".3f"),
    }
    return finish(
        alt.layer(
            base.mark_line(strokeWidth=1.5, opacity=0.6),
            base.mark_point(filled=True, size=40, opacity=0.9).encode(tooltip=tooltip(shown)),
        ).properties(width=2 * WIDTH, height=HEIGHT)
    )


def confusion(rows: list[dict[str, Any]], classes: Sequence[str]) -> dict[str, Any]:
    """Test images by true class (rows) and predicted class (columns), coloured by share of a row.

    rows: true, predicted, count, share.
    classes: all names, in their order.
    """
    names = list(classes)
    side = min(2 * WIDTH, max(220, 42 * len(names)))
    base = alt.Chart(pd.DataFrame(rows)).encode(
        x=alt.X(
            "predicted:N",
            title="predicted",
            sort=names,
            scale=alt.Scale(domain=names),
            axis=alt.Axis(labelAngle=-40),
        ),
        y=alt.Y("true:N", title="true class", sort=names, scale=alt.Scale(domain=names)),
    )
    shown = {
        "true": ("true class", ""),
        "predicted": ("predicted", ""),
        "count": ("images", ","),
        "share": ("share", ".1%"),
    }
    cells = base.mark_rect().encode(
        color=alt.Color(
            "share:Q",
            title="share of class",
            scale=alt.Scale(scheme="blues", domain=[0, 1]),
            legend=alt.Legend(format="%"),
        ),
        tooltip=tooltip(shown),
    )
    if len(names) > MOST_CLASSES_WITH_COUNTS:
        return finish(cells.properties(width=2 * WIDTH, height=2 * WIDTH))
    # not the black and white that the page turns round on dark paper: the cells stay light there
    text = base.mark_text(fontSize=11).encode(
        text="count:Q",
        color=alt.condition("datum.share > 0.5", alt.value("#fefefe"), alt.value("#111111")),
    )
    return finish(alt.layer(cells, text).properties(width=side, height=side))
