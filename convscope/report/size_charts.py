"""Loss, accuracy and generalisation gap against the size of networks, and learning curves."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

import altair as alt
import pandas as pd

from convscope.report.chart_style import (
    HEIGHT,
    WIDTH,
    colour,
    finish,
    interval,
    size_axis,
    tooltip,
    with_interval,
)

SPLIT_COLOURS = {"train": "#0072B2", "validation": "#009E73", "test": "#D55E00"}
EPOCHS_SHOWN = ["best epoch", "last epoch"]
SERIES_PANEL = 230  # pixels, the width of a series' panel
PANEL = 170  # pixels, the width of a small panel
PANEL_LETTERS = 28  # letters of a panel's title that fit on one line


def loss_against_size(
    rows: list[dict[str, Any]], field: str, title: str, panels: Sequence[str]
) -> dict[str, Any]:
    """Loss with 95 % intervals against a size, a panel per series of networks.

    One colour per split. The best epoch has filled marks and solid lines, the last one open marks
    and dashed lines; a ring marks the lowest test loss of a panel.

    rows: `field` (the size), panel, split ("train" or "test"), when ("best epoch" or "last
    epoch"), loss, low, high, network, lowest (whether the ring is around it).
    title: the size in words.
    panels: the series in the order of their panels.
    """
    frame = pd.DataFrame(rows)
    splits = alt.Scale(
        domain=["train", "test"], range=[SPLIT_COLOURS[s] for s in ("train", "test")]
    )
    base = alt.Chart(frame).encode(
        x=size_axis(field, title), color=alt.Color("split:N", title="split", scale=splits)
    )
    value = alt.Y("loss:Q", title="cross-entropy (nats)", scale=alt.Scale(zero=False))
    dash = alt.StrokeDash(
        "when:N", title="epoch", scale=alt.Scale(domain=EPOCHS_SHOWN, range=[[1, 0], [5, 4]])
    )
    shown = {
        "network": ("network", ""),
        "split": ("split", ""),
        "when": ("at", ""),
        **with_interval("loss", ".3f"),
    }
    points = base.encode(y=value, tooltip=tooltip({field: (title, ","), **shown}))
    best, last = (points.transform_filter(f"datum.when == '{when}'") for when in EPOCHS_SHOWN)
    layers = alt.layer(
        base.mark_line(strokeWidth=2).encode(y=value, strokeDash=dash),
        interval(base, "cross-entropy (nats)"),
        best.mark_point(filled=True, size=50, opacity=1),
        last.mark_point(filled=False, fill="#ffffff", size=45, opacity=1, strokeWidth=1.8),
        alt.Chart(frame)
        .transform_filter("datum.lowest")
        .mark_point(size=220, strokeWidth=1.8, color="#000000", filled=False)
        .encode(x=size_axis(field, title), y=value),
    ).properties(width=SERIES_PANEL if len(panels) > 1 else 2 * SERIES_PANEL, height=HEIGHT)
    return finish(layers.facet(facet=panel_facet(panels), columns=3))


def panel_facet(panels: Sequence[str]) -> alt.Facet:
    return alt.Facet("panel:N", title=None, sort=list(panels))


def loss_against_images(
    points: list[dict[str, Any]], lines: list[dict[str, Any]], networks: Sequence[str]
) -> dict[str, Any]:
    """Validation loss with 95 % intervals against training images, one colour per network.

    points: images, network, parameters, loss, low, high.
    lines: images, network, loss of a law; none: the points are joined.
    networks: the networks in the order of their colours.
    """
    shades = alt.Color(
        "network:N",
        title="network",
        scale=alt.Scale(domain=list(networks), scheme="viridis"),
        legend=alt.Legend(symbolLimit=0),
    )
    x = size_axis("images", "training images")
    value = alt.Y("loss:Q", title="validation loss (nats)", scale=alt.Scale(zero=False))
    base = alt.Chart(pd.DataFrame(points)).encode(x=x, color=shades)
    joined = alt.Chart(pd.DataFrame(lines)).encode(x=x, color=shades) if lines else base
    shown = {
        "network": ("network", ""),
        "images": ("training images", ","),
        "parameters": ("parameters", ","),
        **with_interval("loss", ".3f"),
    }
    return finish(
        alt.layer(
            joined.mark_line(strokeWidth=1.8).encode(y=value),
            interval(base, "validation loss (nats)"),
            base.mark_point(filled=True, size=60, opacity=1).encode(
                y=value, tooltip=tooltip(shown)
            ),
        ).properties(width=2 * WIDTH, height=HEIGHT)
    )


def accuracy_against_size(
    rows: list[dict[str, Any]], marked: dict[str, Any] | None
) -> dict[str, Any]:
    """Test accuracy at the best epoch with 95 % intervals against parameters.

    rows: parameters, depth (the sweep's name, another one beside the sweeps), sweep (whether it
    belongs to a sweep), accuracy, low, high, network.
    marked: parameters and accuracy of the smallest network as good as the best, if any.
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
        **with_interval("accuracy", ".1%"),
    }
    layers = [
        base.transform_filter("datum.sweep").mark_line(strokeWidth=2).encode(y=value),
        interval(base, "test accuracy"),
        base.mark_point(filled=True, size=60, opacity=1).encode(y=value, tooltip=tooltip(shown)),
    ]
    if marked:
        # named in the legend: words beside the point would lie on other networks
        name = "as good as the sweep's best"
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
    """Generalisation gap (validation − training loss) against parameters, one colour per series.

    rows: parameters, depth (the series' name), when ("best epoch" or "last epoch"), gap, network.
    """
    frame = pd.DataFrame(rows)
    depths = list(dict.fromkeys(frame["depth"]))
    base = alt.Chart(frame).encode(
        x=size_axis("parameters", "learnable parameters"),
        y=alt.Y("gap:Q", title="validation − training loss (nats)"),
        color=colour("depth", "series", depths),
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
    """Loss against epoch, one panel per network.

    rows: network, epoch, split ("train", "validation" or "test"), loss (mean over seeds), best
    (whether it is the epoch of lowest validation loss).
    panels: the networks in the order of their panels.
    columns: panels side by side.
    """
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
    # an array of texts is shown as lines
    header = alt.Header(labelFontSize=11, labelExpr=r"split(datum.label, '\n')")
    facet = alt.Facet("panel:N", title=None, sort=[titles[name] for name in panels], header=header)
    return finish(layers.facet(facet=facet, columns=columns))
