"""Which parts are nonlinear, and what each buys: tables and charts."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from convscope.chapters.nonlinearity.ablation import Ablation
from convscope.chapters.nonlinearity.plan import KINDS, kinds_of, removed_from
from convscope.chapters.nonlinearity.words import TEXTS
from convscope.probes.affine import Part
from convscope.recipe import ConvNet, Model
from convscope.report import Chart, Table, configurations_table
from convscope.report import comparison_charts as charts
from convscope.statistics import Configuration, Difference


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


def effects_table(ablation: Ablation) -> Table:
    """Every effect of the factorial, in points of test accuracy."""
    columns = (
        ("effect", "effect", "text"),
        ("difference", "difference of test accuracy", "percent"),
        ("low", "95 % from", "percent"),
        ("high", "to", "percent"),
    )
    rows = [
        {"effect": name, "difference": found.mean, "low": found.low, "high": found.high}
        for name, found in named_effects(ablation)
    ]
    caption = TEXTS.effects_caption(len(ablation.factorial.kinds), ablation.learnt)
    return Table("effects", "What each part buys", columns, rows, caption)


def named_effects(ablation: Ablation) -> list[tuple[str, Difference]]:
    """(name, difference) of every effect whose arms were trained."""
    found: list[tuple[str, Difference | None]] = []
    one, kinds = ablation.factorial, ablation.factorial.kinds
    if len(kinds) > 1:
        found += [(TEXTS.effect("alone", [kind]), one.alone(kind)) for kind in kinds]
        found += [(TEXTS.effect("cost", [kind]), one.cost(kind)) for kind in kinds]
        found += [(TEXTS.effect("main", [kind]), one.main_effect(kind)) for kind in kinds]
        found.append((TEXTS.effect("interaction"), one.interaction))
    if len(kinds) > 2:
        pairs = itertools.combinations(kinds, 2)
        found += [(TEXTS.effect("pair", pair), one.effect(pair)) for pair in pairs]
        found += [(TEXTS.effect("shapley", [kind]), one.shapley(kind)) for kind in kinds]
    found.append((TEXTS.effect("drop"), ablation.drop))
    found += [
        (TEXTS.effect("size", [f"{factor:g}"]), size) for factor, size in ablation.sizes.items()
    ]
    return [(name, difference) for name, difference in found if difference is not None]


def effects_chart(ablation: Ablation) -> list[Chart]:
    """The same as a chart; none where there is one kind, whose drop the chart of arms shows."""
    named = named_effects(ablation)
    if len(ablation.factorial.kinds) < 2:
        return []
    group = "direction"
    rows = [
        {
            "effect": name,
            group: "interval above 0" if d.low > 0 else "below 0" if d.high < 0 else "across 0",
            "difference": d.mean,
            "low": d.low,
            "high": d.high,
            "from": "",
            "to": "",
        }
        for name, d in named
    ]
    groups = ["interval above 0", "below 0", "across 0"]
    return [
        Chart(
            "effects",
            "What each part buys",
            charts.effects(rows, "effect", group, groups),
            TEXTS.effects_alt([(name, d) for name, d in named]),
            TEXTS.effects_chart_caption(all(d.tells for _, d in named), ablation.learnt),
        )
    ]


def arms_table(
    arms: Mapping[Model, Configuration], groups: Mapping[ConvNet, Sequence[Configuration]]
) -> Table:
    of_base = reversed(list(groups.items()))
    base_for = {arm.model: base for base, members in of_base for arm in members}

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
    drawn = [*members, *([softmax] if softmax is not None else [])]
    known = [arm.test_accuracy.scatter_known for arm in drawn]
    return Chart(
        "factorial",
        "Test accuracy with nonlinear parts taken out",
        charts.arms(rows, "kind", ["complete", "partly nonlinear", "linear"]),
        TEXTS.arms_alt(rows, best["arm"]),
        TEXTS.arms_chart_caption(known),
    )
