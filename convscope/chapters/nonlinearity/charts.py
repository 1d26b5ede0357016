"""Which parts are nonlinear, and what each buys: tables and charts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from convscope.chapters.nonlinearity.plan import KINDS, kinds_of, removed_from
from convscope.chapters.nonlinearity.words import TEXTS
from convscope.probes.affine import Part
from convscope.recipe import ConvNet, Model
from convscope.report import Chart, Table, configurations_table
from convscope.report import comparison_charts as charts
from convscope.statistics import Configuration


def parts_table(measured: Sequence[Part]) -> Table:
    columns = (
        ("part", "part", "text"),
        ("kind", "kind", "text"),
        ("verdict", "measured", "text"),
        ("error", "error of additivity and homogeneity", "float"),
        ("shape", "its input", "text"),
    )
    rows = [
        {
            "part": part.name,
            "kind": KINDS.get(part.kind, part.kind),
            "verdict": "affine" if part.affine else "nonlinear",
            "error": None if part.error == float("inf") else float(f"{part.error:.3g}"),
            "shape": "×".join(map(str, part.in_shape)),
        }
        for part in measured
    ]
    title = "The network's parts, measured"
    return Table("parts", title, columns, rows, TEXTS.parts_caption())


def arms_table(
    arms: dict[Model, Configuration], groups: Sequence[tuple[ConvNet, list[Configuration]]]
) -> Table:
    base_for = {arm.model: base for base, members in reversed(groups) for arm in members}

    def removed(arm: Configuration) -> dict[str, Any]:
        base = base_for.get(arm.model)
        if base is None or not isinstance(arm.model, ConvNet):
            return {"removed": "one affine layer"}
        factor = arm.model.width / base.width
        return {"removed": TEXTS.removed(removed_from(base, arm.model), factor)}

    return configurations_table(
        "arms",
        "The factorial: every kind of nonlinear part taken out alone and together",
        arms.values(),
        (("removed", "taken out", "text"),),
        removed,
        TEXTS.arms_caption(),
    )


def arms_chart(
    members: Sequence[Configuration], base: ConvNet, softmax: Configuration | None
) -> Chart:
    rows = []
    for arm in members:
        assert isinstance(arm.model, ConvNet)
        gone = removed_from(base, arm.model)
        factor = arm.model.width / base.width
        kind = (
            "complete" if not gone else "linear" if not kinds_of(arm.model) else "partly nonlinear"
        )
        rows.append({**arm.point(), "arm": TEXTS.arm(gone, factor), "kind": kind})
    if softmax is not None:
        rows.append({**softmax.point(), "arm": "softmax regression", "kind": "linear"})
    best = max(rows, key=lambda row: row["accuracy"])
    return Chart(
        "factorial",
        "Test accuracy with nonlinear parts taken out",
        charts.arms(rows, "kind", ["complete", "partly nonlinear", "linear"]),
        TEXTS.arms_alt(rows, best["arm"]),
        TEXTS.arms_chart_caption(),
    )
