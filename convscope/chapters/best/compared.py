"""The candidates beside each other: as a table, and on Pareto fronts of error and cost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from convscope.chapters.best.clock import LATENCY_BATCH, Latencies
from convscope.report import Chart, Table, search_charts
from convscope.statistics import Configuration


def rows_of(found: Sequence[Configuration], latencies: Latencies) -> list[dict[str, Any]]:
    """For results.json: a row per configuration, in their order; latencies in seconds."""
    rows = []
    for one in found:
        seconds = latencies[one.recipe]
        rows.append(
            {
                "network": one.label,
                "chapter": one.chapters,
                "parameters": one.parameters,
                "flops": one.flops,
                "latency_one": seconds["one"] if seconds else None,
                "latency_batch": seconds["batch"] if seconds else None,
                "val_loss": one.val_loss.mean,
                "val_se": one.val_loss.se,
                "val_accuracy": one.val_accuracy.mean,
                "test_loss": one.test_loss.mean,
                "test_accuracy": one.test_accuracy.mean,
                "interval": (one.test_accuracy.high - one.test_accuracy.low) / 2,
                "lr": one.rate,
                "epochs": one.recipe.epochs,
                "seeds": one.val_loss.n,
            }
        )
    return rows


COLUMNS = (
    ("network", "configuration", "text"),
    ("chapter", "trained for", "text"),
    ("parameters", "learnable parameters", "int"),
    ("flops", "FLOPs", "int"),
    ("latency_ms", "one image (ms)", "float"),
    ("images_second", f"images per second (batch {LATENCY_BATCH})", "int"),
    ("val_loss", "val loss", "loss"),
    ("val_se", "± SE", "loss"),
    ("test_loss", "test loss", "loss"),
    ("test_accuracy", "test accuracy", "percent"),
    ("interval", "±", "percent"),
    ("epochs", "epochs", "int"),
    ("seeds", "seeds", "int"),
)

CAPTION = (
    "Ordered by validation loss; means over seeds at each run's best epoch. "
    "± behind the accuracy is half of its 95 % interval. "
    "Test figures are quoted, nothing is chosen by them."
)


def candidates_table(found: Sequence[Configuration], latencies: Latencies) -> Table:
    rows = rows_of(sorted(found, key=lambda one: one.val_loss.mean), latencies)
    for row in rows:
        one, batch = row["latency_one"], row["latency_batch"]
        row["latency_ms"] = None if one is None else float(f"{1000 * one:.3g}")
        row["images_second"] = None if batch is None else round(LATENCY_BATCH / batch)
    return Table("candidates", "Configurations trained to the end", COLUMNS, rows, CAPTION)


@dataclass(frozen=True)
class Cost:
    """What validation error is drawn against, on one chart."""

    name: str
    title: str
    axis: str  # how numbers stand on the axis, in d3's notation
    of: Callable[[Configuration], float | None]  # None: not known
    shown: Callable[[float], str]


def costs_of(latencies: Latencies) -> tuple[Cost, ...]:
    def milliseconds(one: Configuration) -> float | None:
        seconds = latencies[one.recipe]
        return None if seconds is None else 1000 * seconds["one"]

    return (
        Cost("parameters", "learnable parameters", "~s", lambda one: one.parameters, "{:,}".format),
        Cost("flops", "FLOPs per image", "~s", lambda one: one.flops, "{:,}".format),
        Cost("latency", "ms for one image", "~g", milliseconds, "{:.3g}".format),
    )


def pareto_charts(
    found: Sequence[Configuration],
    latencies: Latencies,
    winner: Configuration,
    small: Configuration,
) -> list[Chart]:
    """A chart for each cost that is known and above 0 for some configuration."""
    marks = {small: "smallest within one SE", winner: "winner"}
    charts = (pareto_chart(found, cost, marks) for cost in costs_of(latencies))
    return [chart for chart in charts if chart is not None]


def pareto_chart(
    found: Sequence[Configuration], cost: Cost, marks: dict[Configuration, str]
) -> Chart | None:
    shown = [(one, value) for one in found if (value := cost.of(one)) is not None and value > 0]
    if not shown:
        return None
    front = front_of([(value, 1 - one.val_accuracy.mean) for one, value in shown])
    rows = [
        {
            "network": one.label,
            "chapter": one.chapters,
            "cost": value,
            "shown": cost.shown(value),
            "error": 1 - one.val_accuracy.mean,
            "low": 1 - one.val_accuracy.high,
            "high": 1 - one.val_accuracy.low,
            "front": i in front,
            "mark": marks.get(one, ""),
        }
        for i, (one, value) in enumerate(shown)
    ]
    on_front = "; ".join(shown[i][0].label for i in front)
    return Chart(
        f"pareto_{cost.name}",
        f"Validation error against {cost.title}",
        search_charts.pareto(rows, cost.title, cost.axis),
        f"Validation error of {len(shown)} configurations with 95 % intervals against "
        f"{cost.title}. No other one is both better and cheaper than these: {on_front}.",
        "Dashed: the front, with no configuration at once cheaper and of lower mean error. "
        "Winner and smallest are chosen by validation loss, not by error.",
    )


def front_of(points: Sequence[tuple[float, float]]) -> list[int]:
    """Indices of the points (cost, error) on the Pareto front, by rising cost.

    No other point has a lower value of one without a higher value of the other.
    """
    front: list[int] = []
    for i in sorted(range(len(points)), key=lambda i: points[i]):
        if not front or points[i][1] < points[front[-1]][1]:
            front.append(i)
    return front
