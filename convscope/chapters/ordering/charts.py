"""Flatten order: tables and charts."""

from __future__ import annotations

from typing import Any

from convscope.chapters.ordering.plan import EACH, MARGIN, NAMES, PIXELS, STEPS
from convscope.probes.permutation import FlattenOrder
from convscope.report import Chart, Table, charts, configurations_table
from convscope.statistics import Configuration, Difference


def exact_tables(exact: dict[str, FlattenOrder]) -> list[Table]:
    columns = (
        ("order", "order", "text"),
        ("moved", "positions moved", "int"),
        ("logits", "logits differ by", "text"),
        ("optimizer", "optimiser", "text"),
        ("losses", f"losses over {STEPS} steps differ by", "text"),
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
    caption = "The trained network and its twin whose flattened vector is permuted and whose fully connected layer's columns are permuted likewise, trained side by side in float64: largest relative differences. What is left is rounding: sums are taken in another order."
    return (
        [Table("exact", "The same network under another order", columns, rows, caption)]
        if rows
        else []
    )


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
        ("verdict", f"within ± {100 * MARGIN:g} points", "text"),
    )
    caption = "Each arm trained from scratch over seeds; differences are paired by test image, ± is half of a 95 % interval, and equivalence is that of two one-sided tests at 5 %."
    return configurations_table(
        "orders", "Orders, trained from scratch", arms.values(), more, against, caption
    )


def orders_chart(arms: dict[str, Configuration]) -> Chart:
    kinds = {EACH: "negative control", PIXELS: "before the convolutions"}
    rows = [
        {**arm.point(), "arm": arm.label, "kind": kinds.get(kind, "fixed order")}
        for kind, arm in arms.items()
    ]
    told = "; ".join(f"{row['arm']} {100 * row['accuracy']:.1f} %" for row in rows)
    return Chart(
        "orders",
        "Test accuracy by order",
        charts.arms(rows, "kind", ["fixed order", "negative control", "before the convolutions"]),
        f"Test accuracy with 95 % intervals: {told}.",
        "Bars are 95 % intervals from seeds and the finite test set together.",
    )
