"""Flatten order: tables and charts."""

from __future__ import annotations

from typing import Any

from convscope.chapters.ordering.plan import EACH, MARGIN, NAMES, PIXELS, STEPS
from convscope.chapters.ordering.words import TEXTS
from convscope.probes.permutation import FlattenOrder
from convscope.report import Chart, Table, configurations_table
from convscope.report import comparison_charts as charts
from convscope.statistics import Configuration, Difference


def exact_tables(exact: dict[str, FlattenOrder]) -> list[Table]:
    columns = (
        ("order", "order", "text"),
        ("moved", "positions moved", "int"),
        ("logits", "logits differ by", "text"),
        ("optimizer", "optimiser", "text"),
        ("losses", TEXTS.losses_heading(STEPS), "text"),
        ("weights", "weights differ by", "text"),
    )
    rows = [
        {
            "order": NAMES[order],
            "moved": e.moved,
            "logits": f"{e.logits_difference:.1e}",
            "optimizer": t.optimizer,
            "losses": f"{t.loss_difference:.1e}",
            "weights": f"{t.weight_difference:.1e}",
        }
        for order, e in exact.items()
        for t in e.trajectories
    ]
    title = "The same network under another order"
    return [Table("exact", title, columns, rows, TEXTS.exact_caption())] if rows else []


def orders_table(
    arms: dict[str, Configuration], differences: dict[str, Difference], verdicts: dict[str, str]
) -> Table:
    kinds = {arm.label: kind for kind, arm in arms.items()}

    def against(arm: Configuration) -> dict[str, Any]:
        difference = differences.get(kinds[arm.label])
        if difference is None:
            return {}
        return {
            "difference": difference.mean,
            "half": difference.high - difference.mean,
            "verdict": verdicts.get(kinds[arm.label]),
        }

    more = (
        ("difference", "accuracy − natural order", "percent"),
        ("half", "± of it", "percent"),
        ("verdict", TEXTS.verdict_heading(MARGIN), "text"),
    )
    title = "Orders, trained from scratch"
    seeds = max(arm.test_accuracy.n for arm in arms.values())
    caption = TEXTS.orders_caption(seeds, len(verdicts))
    return configurations_table("orders", title, arms.values(), more, against, caption)


def orders_chart(arms: dict[str, Configuration]) -> Chart:
    kinds = {EACH: "negative control", PIXELS: "before the convolutions"}
    rows = [
        {**arm.point(), "arm": arm.label, "kind": kinds.get(kind, "fixed order")}
        for kind, arm in arms.items()
    ]
    return Chart(
        "orders",
        "Test accuracy by order",
        charts.arms(rows, "kind", ["fixed order", "negative control", "before the convolutions"]),
        TEXTS.orders_alt(rows),
        TEXTS.orders_chart_caption(max(arm.test_accuracy.n for arm in arms.values())),
    )
