"""One wide layer against a cascade: tables and charts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from convscope.chapters.receptive_field.comparisons import Comparison, near, single
from convscope.chapters.receptive_field.fields import FeatureField
from convscope.chapters.receptive_field.plan import HEADS, NEAR, SAMPLES
from convscope.planning import Context
from convscope.recipe import Model
from convscope.report import Chart, Gallery, Table, charts, configurations_table, pictures
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
    caption = f"Differences of mean test accuracy, paired by test image. Field, depth and pooling change at matched parameters (within {100 * NEAR:g} %, as the columns show); the single layer that a cascade is compared with is the one of lowest validation loss among those of its size."
    return Table(
        "comparisons",
        "What size, field, depth and pooling buy",
        columns,
        [c.row() for c in comparisons],
        caption,
    )


def arms_table(arms: Sequence[Configuration], fields: dict[Model, FeatureField]) -> Table:
    def seen(arm: Configuration) -> dict[str, Any]:
        field = fields[arm.model]
        side = None if field.side is None else round(field.side, 2)
        return {
            "theoretical": "whole input" if field.theoretical is None else str(field.theoretical),
            "effective": side,
        }

    more = (("theoretical", "theoretical field", "text"), ("effective", "effective field", "float"))
    caption = "Fields are those of the features that the head sees, in pixels a side: the theoretical one by arithmetic (not clipped to the image), the effective one the square root of the area above 4.55 % of the gradient's peak."
    return configurations_table(
        "networks", "The networks and their fields", arms, more, seen, caption
    )


def effects_chart(comparisons: Sequence[Comparison]) -> Chart:
    rows = []
    for c in comparisons:
        kernel = f" {c.b.convnet.kernel}→{c.a.convnet.kernel}" if c.factor == "field" else ""
        size = (
            f", {c.a.parameters:,} parameters"
            if sum(1 for o in comparisons if (o.factor, o.head) == (c.factor, c.head)) > 1
            else ""
        )
        rows.append({**c.row(), "arm": f"{c.factor}{kernel}, {HEADS[c.head]}{size}"})
    told = "; ".join(f"{row['arm']}: {100 * row['difference']:.1f}" for row in rows)
    return Chart(
        "effects",
        "Test accuracy gained",
        charts.effects(rows, "arm", "factor", ["size", "field", "depth", "pooling"]),
        f"Points of test accuracy gained with 95 % intervals: {told}.",
        "Right of the line: the change helps. Bars are 95 % intervals.",
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
            groups.append((f"{HEADS[head]}, about {cascade.parameters:,} parameters", members))
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
            f"Test accuracy with 95 % intervals against the theoretical and the effective receptive field, networks of matched parameters. The highest is {best['network']} with {100 * best['accuracy']:.1f} %.",
            "Fields in pixels a side. A single layer's field grows with its kernel; its filters shrink, so that the number of parameters stays.",
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
            size = "whole input" if field.theoretical is None else f"{field.theoretical}"
            items.append(
                (
                    pictures.field(image, field.effective.image, 128),
                    f"{arm.label}: theoretical {size}, effective {field.effective.side:.1f}",
                )
            )
    if not items:
        return []
    return [
        Gallery(
            "fields",
            "Effective receptive fields on a test image",
            tuple(items),
            f"The first test image, {len(items)} times; in orange the pixels that act on the feature in the middle of the map.",
            f"Mean absolute gradient of the middle feature with respect to each pixel, over {min(SAMPLES, len(context.data.test))} test images, with trained weights; its square root is shown.",
            128,
        )
    ]
