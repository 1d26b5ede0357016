"""One wide layer against a cascade: tables and charts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from convscope.chapters.receptive_field.arms import NEAR, head_of, is_single
from convscope.chapters.receptive_field.comparisons import OWN, Comparison, aspects_of, learned
from convscope.chapters.receptive_field.fields import SAMPLES, FeatureField, range_of
from convscope.chapters.receptive_field.plan import MARGIN
from convscope.chapters.receptive_field.words import TEXTS
from convscope.planning import Context
from convscope.recipe import Model
from convscope.report import Chart, Gallery, Table, configurations_table, pictures
from convscope.report import comparison_charts as charts
from convscope.statistics import Configuration

FACTORS = ["field", "filters", "depth", "pooling", "head"]

Fields = Mapping[Model, FeatureField]


def comparisons_table(comparisons: Sequence[Comparison]) -> Table:
    columns = (
        ("factor", "what changes", "text"),
        ("from", "from", "text"),
        ("to", "to", "text"),
        ("difference", "accuracy gained", "percent"),
        ("low", "95 % from", "percent"),
        ("high", "to", "percent"),
        ("word", "the second is", "text"),
        ("also", "also differs", "text"),
    )
    rows = [{**c.row(), "also": TEXTS.confounded(c.confounded)} for c in comparisons]
    return Table(
        "comparisons",
        "One thing changed at a time",
        columns,
        [{k: v for k, v in row.items() if k != "confounded"} for row in rows],
        TEXTS.comparisons_caption(NEAR, MARGIN),
    )


def arms_table(arms: Sequence[Configuration], fields: Fields) -> Table:
    def seen(arm: Configuration) -> dict[str, Any]:
        field = fields[arm.model]
        before, side = field.side_before, field.side
        return {
            "filters": arm.filters,
            "learned": "yes" if learned(arm) else "no",
            "theoretical": TEXTS.theoretical(field.theoretical),
            "untrained": None if before is None else round(before, 2),
            "effective": None if side is None else round(side, 2),
        }

    more = (
        ("learned", "above chance", "text"),
        ("filters", "filters", "int"),
        ("theoretical", "theoretical field", "text"),
        ("untrained", "effective, untrained", "float"),
        ("effective", "effective, trained", "float"),
    )
    title = "The networks and their fields"
    return configurations_table("networks", title, arms, more, seen, TEXTS.networks_caption())


def effects_chart(comparisons: Sequence[Comparison], fields: Fields) -> Chart:
    rows = []
    for c in comparisons:
        rows.append({**c.row(), "arm": step_of(c, fields)})
    for row in rows:
        del row["confounded"]
    return Chart(
        "effects",
        "Test accuracy gained by one change",
        charts.effects(rows, "arm", "factor", FACTORS, width=210, legend=False),
        TEXTS.effects_alt(rows),
        TEXTS.effects_caption([c.difference.degrees > 0 for c in comparisons]),
    )


def step_of(c: Comparison, fields: Fields) -> str:
    """A step in few words: in which networks what changes, from what to what."""
    if c.factor == "head":
        return TEXTS.head_step(short_head(c.b), short_head(c.a))
    before, after = (
        aspects_of(arm, fields[arm.model].theoretical)[OWN[c.factor]] for arm in (c.b, c.a)
    )
    head = short_head(c.b)
    place = head if c.factor == "filters" else TEXTS.with_filters(c.b.filters, head)
    if not is_single(c.a.convnet):
        place = TEXTS.in_cascade()
    return TEXTS.step(c.factor, place, before, after)


def short_head(arm: Configuration) -> str:
    return head_of(arm.convnet).removesuffix(" → FC")


def accuracy_chart(
    series: Sequence[Sequence[Model]], found: Mapping[Model, Configuration]
) -> list[Chart]:
    """Accuracy against the field of single layers that differ in dilation alone."""
    rows, panels, known = [], [], []
    for part in series:
        arms = [found[model] for model in part if model in found]
        if len(arms) < 2 or not is_single(arms[0].convnet):
            continue
        first = arms[0]
        panels.append(TEXTS.panel(short_head(first), first.filters, first.parameters))
        known += [arm.test_accuracy.scatter_known for arm in arms]
        rows += [
            {
                **arm.point(),
                "panel": panels[-1],
                "field": 2 * arm.convnet.block_dilations[0] + 1,
            }
            for arm in arms
        ]
    if not rows:
        return []
    return [
        Chart(
            "accuracy_field",
            "Test accuracy against receptive field at equal parameters, filters and FLOPs",
            charts.accuracy_against_field(rows, panels),
            TEXTS.accuracy_alt(rows),
            TEXTS.accuracy_caption(known),
        )
    ]


def sides_chart(arms: Sequence[Configuration], fields: Fields) -> list[Chart]:
    """Effective fields of cascades before and after training, beside the theoretical ones."""
    rows = []
    for arm in arms:
        field = fields[arm.model]
        before, after = field.side_before, field.side
        if before is None or after is None or field.theoretical is None:
            continue
        rows.append(
            {
                "network": arm.label,
                "theoretical": field.theoretical,
                "untrained": before,
                "untrained_range": range_of(field.untrained),
                "trained": after,
                "trained_range": range_of(field.trained),
            }
        )
    if not rows:
        return []
    short = [row["network"].partition(" →")[0] for row in rows]
    if len(set(short)) == len(short):  # heads need not be named: fields end before them
        rows = [{**row, "network": name} for row, name in zip(rows, short, strict=True)]
    return [
        Chart(
            "sides",
            "Effective fields before and after training",
            charts.field_sides(rows),
            TEXTS.sides_alt(rows),
            TEXTS.sides_caption(),
        )
    ]


def field_gallery(context: Context, arms: Sequence[Configuration], fields: Fields) -> list[Gallery]:
    image = context.data.test.images[0]
    items, shown = [], 0
    for arm in arms:
        field = fields[arm.model]
        pairs = (
            ("untrained", field.before, field.side_before),
            ("trained", field.after, field.side),
        )
        known = [(when, seen, side) for when, seen, side in pairs if seen is not None]
        shown += bool(known)
        for when, seen, side in known:
            told = TEXTS.picture(arm.label, field.theoretical, side, when)
            items.append((pictures.field(image, seen, 128), told))
    if not items:
        return []
    return [
        Gallery(
            "fields",
            "Effective receptive fields on a test image",
            tuple(items),
            TEXTS.gallery_alt(shown),
            TEXTS.gallery_caption(min(SAMPLES, len(context.data.test))),
            128,
        )
    ]
