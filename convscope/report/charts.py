"""Vega-Lite specifications (through Altair) that the chapters share: one description serves the page, PNG and SVG."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

import altair as alt
import pandas as pd

# Okabe & Ito 2008: told apart with every common kind of colour vision
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"]

SPLIT_COLOURS = {"train": "#0072B2", "validation": "#009E73", "test": "#D55E00"}

WIDTH, HEIGHT = 340, 260

PANEL, PANEL_LETTERS = (
    170,
    28,
)  # width of a small panel in pixels, and what its title has room for in a line


def colour(field: str, title: str, domain: Sequence[str]) -> alt.Color:
    if len(domain) > len(COLOURS):  # more than can be told apart safely: the tooltip names them
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


def size_axis(field: str, title: str, ticks: Sequence[float] | None = None) -> alt.X:
    axis = (
        alt.Axis(format="~s", values=list(ticks)) if ticks else alt.Axis(format="~s", tickCount=5)
    )
    return alt.X(f"{field}:Q", title=title, scale=alt.Scale(type="log", padding=12), axis=axis)


def tooltip(fields: dict[str, tuple[str, str]]) -> list[alt.Tooltip]:
    """field -> (title, format); an empty format shows the text as it is."""
    return [
        alt.Tooltip(name, title=title, format=form) if form else alt.Tooltip(name, title=title)
        for name, (title, form) in fields.items()
    ]


def loss_against_size(rows: list[dict[str, Any]], field: str, title: str) -> dict[str, Any]:
    """Loss with 95 % intervals against a size, a panel for the best epoch and one for the last; a colour a depth, train dashed, test solid.

    rows: field, depth (text), split (train | test), when (best epoch | last epoch), loss, low, high, network.
    """
    frame = pd.DataFrame(rows)
    depths = sorted(frame["depth"].unique())
    base = alt.Chart(frame).encode(
        x=size_axis(field, title), color=colour("depth", "sweep", depths)
    )
    value = alt.Y("loss:Q", title="cross-entropy (nats)", scale=alt.Scale(zero=False))
    dash = alt.StrokeDash(
        "split:N", title="split", scale=alt.Scale(domain=["test", "train"], range=[[1, 0], [5, 4]])
    )
    shape = alt.Shape(
        "split:N",
        title="split",
        scale=alt.Scale(domain=["test", "train"], range=["circle", "triangle-up"]),
    )
    shown = {
        "network": ("network", ""),
        "split": ("split", ""),
        "loss": ("loss", ".3f"),
        "low": ("95 % from", ".3f"),
        "high": ("to", ".3f"),
    }
    layers = alt.layer(
        base.mark_line(strokeWidth=2).encode(y=value, strokeDash=dash),
        base.mark_rule(strokeWidth=1.5).encode(
            y=alt.Y("low:Q", title="cross-entropy (nats)"), y2="high:Q"
        ),
        base.mark_point(filled=True, size=55, opacity=1).encode(
            y=value, shape=shape, tooltip=tooltip({field: (title, ","), **shown})
        ),
    ).properties(width=WIDTH, height=HEIGHT)
    return finish(
        layers.facet(column=alt.Column("when:N", title=None, sort=["best epoch", "last epoch"]))
    )


def accuracy_against_size(
    rows: list[dict[str, Any]], marked: dict[str, Any] | None
) -> dict[str, Any]:
    """Test accuracy at the best epoch with 95 % intervals against parameters; `marked` is the smallest network within one SE.

    rows: parameters, depth (text; what stands beside the sweep has its own), accuracy, low, high, network, sweep (bool).
    """
    frame = pd.DataFrame(rows)
    kinds = list(dict.fromkeys(frame.sort_values("sweep", ascending=False, kind="stable")["depth"]))
    base = alt.Chart(frame).encode(
        x=size_axis("parameters", "learnable parameters"), color=colour("depth", "network", kinds)
    )
    value = alt.Y(
        "accuracy:Q", title="test accuracy", axis=alt.Axis(format="%"), scale=alt.Scale(zero=False)
    )
    shown = {
        "network": ("network", ""),
        "parameters": ("parameters", ","),
        "accuracy": ("accuracy", ".1%"),
        "low": ("95 % from", ".1%"),
        "high": ("to", ".1%"),
    }
    layers = [
        base.transform_filter("datum.sweep").mark_line(strokeWidth=2).encode(y=value),
        base.mark_rule(strokeWidth=1.5).encode(
            y=alt.Y("low:Q", title="test accuracy"), y2="high:Q"
        ),
        base.mark_point(filled=True, size=60, opacity=1).encode(y=value, tooltip=tooltip(shown)),
    ]
    if marked:
        # named in the legend: words beside the point would lie on other networks
        name = "smallest within one SE"
        legend = alt.Legend(
            title=None, symbolSize=200, symbolStrokeColor="#000000", symbolFillColor="transparent"
        )
        ring = alt.Chart(pd.DataFrame([{**marked, "mark": name}])).mark_point(
            size=320, strokeWidth=2, color="#000000", filled=False
        )
        shape = alt.Shape("mark:N", scale=alt.Scale(domain=[name], range=["circle"]), legend=legend)
        layers.append(
            ring.encode(x=size_axis("parameters", "learnable parameters"), y=value, shape=shape)
        )
    return finish(alt.layer(*layers).properties(width=2 * WIDTH, height=HEIGHT))


def gap_against_size(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Generalisation gap (validation − training loss) against parameters. rows: parameters, depth, when, gap, network."""
    frame = pd.DataFrame(rows)
    depths = sorted(frame["depth"].unique())
    base = alt.Chart(frame).encode(
        x=size_axis("parameters", "learnable parameters"),
        y=alt.Y("gap:Q", title="validation − training loss (nats)"),
        color=colour("depth", "sweep", depths),
    )
    dash = alt.StrokeDash(
        "when:N",
        title="epoch",
        scale=alt.Scale(domain=["last epoch", "best epoch"], range=[[1, 0], [5, 4]]),
    )
    shown = tooltip(
        {
            "network": ("network", ""),
            "parameters": ("parameters", ","),
            "when": ("at", ""),
            "gap": ("gap", ".3f"),
        }
    )
    return finish(
        alt.layer(
            base.mark_line(strokeWidth=2).encode(strokeDash=dash),
            base.mark_point(filled=True, size=55, opacity=1).encode(tooltip=shown),
        ).properties(width=2 * WIDTH, height=HEIGHT)
    )


def learning_curves(
    rows: list[dict[str, Any]], panels: Sequence[str], columns: int = 4
) -> dict[str, Any]:
    """Loss against epoch, a panel a network. rows: network, epoch, split (train | validation | test), loss (mean over seeds), best (bool)."""
    frame = pd.DataFrame(rows)
    titles = {name: textwrap.fill(name, PANEL_LETTERS) for name in panels}
    frame["panel"] = [titles[name] for name in frame["network"]]
    splits = [name for name in SPLIT_COLOURS if name in set(frame["split"])]
    scale = alt.Scale(domain=splits, range=[SPLIT_COLOURS[name] for name in splits])
    base = alt.Chart(frame).encode(
        x=alt.X("epoch:Q", title="epoch", axis=alt.Axis(tickMinStep=1, format="d")),
        y=alt.Y("loss:Q", title="loss (nats)", scale=alt.Scale(zero=False)),
        color=alt.Color("split:N", title="split", scale=scale),
        tooltip=tooltip(
            {
                "network": ("network", ""),
                "epoch": ("epoch", ""),
                "split": ("split", ""),
                "loss": ("loss", ".3f"),
            }
        ),
    )
    layers = alt.layer(
        base.mark_line(strokeWidth=1.8, point=alt.OverlayMarkDef(size=14)),
        alt.Chart(frame)
        .transform_filter("datum.best")
        .mark_rule(strokeDash=[3, 3], color="#666666")
        .encode(x="epoch:Q"),
    ).properties(width=PANEL, height=130)
    header = alt.Header(
        labelFontSize=11, labelExpr=r"split(datum.label, '\n')"
    )  # an array is shown as lines
    facet = alt.Facet("panel:N", title=None, sort=[titles[name] for name in panels], header=header)
    return finish(layers.facet(facet=facet, columns=columns))


def arms(
    rows: list[dict[str, Any]], group: str, groups: Sequence[str], field: str = "arm"
) -> dict[str, Any]:
    """Test accuracy of each arm as a point with its 95 % interval, a line an arm, in the order of the rows, coloured by group. rows: field, group, accuracy, low, high, parameters, seeds."""
    frame = pd.DataFrame(rows)
    used = [name for name in groups if name in set(frame[group])]
    base = alt.Chart(frame).encode(
        y=alt.Y(
            f"{field}:N",
            title=None,
            sort=[row[field] for row in rows],
            axis=alt.Axis(labelLimit=330),
        ),
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
            "accuracy": ("accuracy", ".1%"),
            "low": ("95 % from", ".1%"),
            "high": ("to", ".1%"),
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
    rows: list[dict[str, Any]], field: str, group: str, groups: Sequence[str]
) -> dict[str, Any]:
    """Differences of accuracy in points with 95 % intervals around a line at 0. rows: field, group, difference, low, high (fractions), from, to."""
    frame = pd.DataFrame(rows)
    frame[["difference", "low", "high"]] *= 100
    used = [name for name in groups if name in set(frame[group])]
    title = "points of test accuracy"
    base = alt.Chart(frame).encode(
        y=alt.Y(
            f"{field}:N",
            title=None,
            sort=[row[field] for row in rows],
            axis=alt.Axis(labelLimit=330),
        ),
        color=colour(group, "", used),
    )
    shown = tooltip(
        {
            "from": ("from", ""),
            "to": ("to", ""),
            "difference": ("points", ".1f"),
            "low": ("95 % from", ".1f"),
            "high": ("to", ".1f"),
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
            base.mark_text(dy=-11, fontSize=11).encode(
                x="difference:Q", text=alt.Text("difference:Q", format="+.1f")
            ),
        ).properties(width=440, height=max(60, 34 * len(rows)))
    )


def accuracy_against_field(
    rows: list[dict[str, Any]], panels: Sequence[str], kinds: Sequence[str]
) -> dict[str, Any]:
    """Test accuracy against receptive field, a row of panels a family, a column for the theoretical and the effective field. rows: panel, measure, field, kind, accuracy, low, high, network."""
    frame = pd.DataFrame(rows)
    used = [kind for kind in kinds if kind in set(frame["kind"])]
    base = alt.Chart(frame).encode(
        x=alt.X("field:Q", title="pixels a side", scale=alt.Scale(zero=True, padding=10)),
        color=colour("kind", "", used),
    )
    shown = tooltip(
        {
            "network": ("network", ""),
            "field": ("field", ".1f"),
            "parameters": ("parameters", ","),
            "accuracy": ("accuracy", ".1%"),
        }
    )
    value = alt.Y(
        "accuracy:Q", title="test accuracy", axis=alt.Axis(format="%"), scale=alt.Scale(zero=False)
    )
    layers = alt.layer(
        base.transform_filter("datum.kind == 'one convolution'")
        .mark_line(strokeWidth=1.5)
        .encode(y=value),
        base.mark_rule(strokeWidth=1.5).encode(
            y=alt.Y("low:Q", title="test accuracy"), y2="high:Q"
        ),
        base.mark_point(filled=True, size=70, opacity=1).encode(y=value, tooltip=shown),
    ).properties(width=WIDTH - 40, height=200)
    return finish(
        layers.facet(
            row=alt.Row(
                "panel:N",
                title=None,
                sort=list(panels),
                header=alt.Header(labelAngle=0, labelOrient="top", labelAnchor="start"),
            ),
            column=alt.Column(
                "measure:N", title=None, sort=["theoretical field", "effective field"]
            ),
        ).resolve_scale(y="independent")
    )


def spectrum(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Singular values on a logarithmic scale against their number, a line a network. rows: network, index, value (positive)."""
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
    """The specification as plain JSON, styled alike everywhere."""
    with alt.data_transformers.enable("default", max_rows=None):
        spec = chart.to_dict(validate=False)  # the tests do: it takes as long as all the rest
    # here, because each of Altair's own calls for it copies the chart
    config = spec.get("config", {})
    return spec | {
        "config": config | {part: config.get(part, {}) | style for part, style in STYLE.items()}
    }
