"""One wide layer against a cascade: tables and charts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from convscope.chapters.receptive_field.comparisons import Comparison, near, single
from convscope.chapters.receptive_field.fields import FeatureField
from convscope.chapters.receptive_field.plan import HEADS, NEAR, SAMPLES
from convscope.chapters.receptive_field.words import TEXTS, kernels_of
from convscope.planning import Context
from convscope.recipe import Model
from convscope.report import Chart, Gallery, Table, configurations_table, pictures
from convscope.report import comparison_charts as charts
from convscope.statistics import Configuration


def comparisons_table(comparisons: Sequence[Comparison]) -> Table:
    columns = (
        ("factor", "what changes", "text"),
        ("head", "head", "text"),
        ("from", "from", "text"),
        ("to", "to", "text"),
        ("parameters_from", "parameters", "int"),
        ("parameters_to", "parameters then", "int"),
        ("difference", "accuracy gained", "percent"),
        ("low", "95 % from", "percent"),
        ("high", "to", "percent"),
    )
    return Table(
        "comparisons",
        "What size, field, depth and pooling buy",
        columns,
        [c.row() for c in comparisons],
        TEXTS.comparisons_caption(NEAR),
    )


def arms_table(arms: Sequence[Configuration], fields: dict[Model, FeatureField]) -> Table:
    def seen(arm: Configuration) -> dict[str, Any]:
        field = fields[arm.model]
        side = None if field.side is None else round(field.side, 2)
        return {
            "theoretical": TEXTS.theoretical(field.theoretical),
            "effective": side,
        }

    more = (("theoretical", "theoretical field", "text"), ("effective", "effective field", "float"))
    title = "The networks and their fields"
    return configurations_table("networks", title, arms, more, seen, TEXTS.networks_caption())


def effects_chart(comparisons: Sequence[Comparison]) -> Chart:
    rows = []
    for c in comparisons:
        alike = sum(1 for o in comparisons if (o.factor, o.head) == (c.factor, c.head))
        kernels = kernels_of(c) if c.factor == "field" else None
        parameters = c.a.parameters if alike > 1 else None
        named = TEXTS.effect(c.factor, kernels, HEADS[c.head], parameters)
        rows.append({**c.row(), "arm": named})
    return Chart(
        "effects",
        "Test accuracy gained",
        charts.effects(rows, "arm", "factor", ["size", "field", "depth", "pooling"]),
        TEXTS.effects_alt(rows),
        TEXTS.effects_caption(),
    )


def field_charts(
    arms: Sequence[Configuration],
    fields: dict[Model, FeatureField],
    comparisons: Sequence[Comparison],
) -> list[Chart]:
    """Accuracy against theoretical and effective field, of networks of matched parameters."""
    groups: list[tuple[str, list[Configuration]]] = []
    for head in ("flatten", "gap"):
        cascade = next((c.a for c in comparisons if c.factor == "depth" and c.head == head), None)
        if cascade is not None:
            members = [a for a in arms if a.convnet.head == head and near(a, cascade)]
            groups.append((TEXTS.panel(HEADS[head], cascade.parameters), members))
    rows = []
    for title, members in groups:
        for arm in members:
            field = fields[arm.model]
            kind = (
                "one convolution"
                if single(arm)
                else "cascade, no pooling"
                if arm.convnet.pool == "none"
                else "cascade"
            )
            both = (("theoretical field", field.theoretical), ("effective field", field.side))
            rows += [
                {**arm.point(), "panel": title, "kind": kind, "measure": measure, "field": value}
                for measure, value in both
                if value is not None
            ]
    if not rows:
        return []
    best = max(rows, key=lambda row: row["accuracy"])
    return [
        Chart(
            "accuracy_field",
            "Test accuracy against receptive field at matched parameters",
            charts.accuracy_against_field(
                rows,
                [title for title, _ in groups],
                ["one convolution", "cascade", "cascade, no pooling"],
            ),
            TEXTS.fields_alt(best["network"], best["accuracy"]),
            TEXTS.fields_caption(),
        )
    ]


def field_gallery(
    context: Context, arms: Sequence[Configuration], fields: dict[Model, FeatureField]
) -> list[Gallery]:
    image = context.data.test.images[0]
    items = []
    for arm in arms:
        field = fields[arm.model]
        if field.effective is not None:
            told = TEXTS.picture(arm.label, field.theoretical, field.effective.side)
            items.append((pictures.field(image, field.effective.image, 128), told))
    if not items:
        return []
    return [
        Gallery(
            "fields",
            "Effective receptive fields on a test image",
            tuple(items),
            TEXTS.gallery_alt(len(items)),
            TEXTS.gallery_caption(min(SAMPLES, len(context.data.test))),
            128,
        )
    ]
