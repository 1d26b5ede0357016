"""The candidates beside each other: as a table, and on Pareto fronts of error and cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from convscope.chapters.best.choice import Selection
from convscope.chapters.best.clock import LATENCY_BATCH
from convscope.deployment import needs_of
from convscope.deployment.device_sizes import KIB
from convscope.recipe import Recipe
from convscope.report import Chart, Table, with_balanced
from convscope.report import search_charts as charts_search
from convscope.statistics import Configuration
from convscope.words import texts_beside

TEXTS = texts_beside(__file__)


def rows_of(
    selection: Selection,
    latencies: Mapping[Recipe, dict[str, float] | None],
    found: Sequence[Configuration],
) -> list[dict[str, Any]]:
    """A row for each of the candidates `found`."""
    rows = []
    for c in found:
        seconds = latencies[c.recipe]
        needs = needs_of(c.convnet, c.data.in_shape, c.data.num_classes)
        rows.append(
            {
                "network": c.label,
                "chapter": c.chapters,
                "parameters": c.parameters,
                "flops": c.flops,
                "peak_bytes": needs.peak_bytes,
                "weight_bytes": needs.weight_bytes,
                "latency_one": seconds["one"] if seconds else None,
                "latency_batch": seconds["batch"] if seconds else None,
                "val_error": 1 - c.val_accuracy.mean,
                "val_loss": c.val_loss.mean,
                "val_se": c.val_loss.se,
                "val_accuracy": c.val_accuracy.mean,
                "temperature": selection.temperature(c),
                "scaled_loss": selection.scaled(c),
                "test_loss": c.test_loss.mean,
                "test_accuracy": c.test_accuracy.mean,
                "interval": (c.test_accuracy.high - c.test_accuracy.low) / 2,
                "lr": c.recipe.lr,
                "schedule": c.recipe.schedule,
                "epochs": c.recipe.epochs,
                "seeds": c.val_loss.n,
                **c.balanced_row(),
            }
        )
    return rows


def candidates_table(
    selection: Selection, latencies: Mapping[Recipe, dict[str, float] | None]
) -> Table:
    rows = rows_of(selection, latencies, selection.ordered)
    for row in rows:
        for key in ("peak", "weight"):
            row[f"{key}_kib"] = round(row[f"{key}_bytes"] / KIB, 1)
        one = row["latency_one"]
        row["latency_ms"] = None if one is None else float(f"{1000 * one:.3g}")
        batch = row["latency_batch"]
        row["images_second"] = None if batch is None else round(LATENCY_BATCH / batch)
    columns = (
        ("network", "configuration", "text"),
        ("chapter", "trained for", "text"),
        ("parameters", "learnable parameters", "int"),
        ("flops", "FLOPs", "int"),
        ("peak_kib", "peak memory at 8 bits (KiB)", "float"),
        ("weight_kib", "weights at 8 bits (KiB)", "float"),
        ("latency_ms", "one image (ms)", "float"),
        ("images_second", f"images a second (batch {LATENCY_BATCH})", "int"),
        ("val_error", "val error", "percent"),
        ("val_loss", "val loss", "loss"),
        ("scaled_loss", "val loss after temperature", "loss"),
        ("temperature", "temperature", "float"),
        ("test_loss", "test loss", "loss"),
        ("test_accuracy", "test accuracy", "percent"),
        ("interval", "±", "percent"),
        ("epochs", "epochs", "int"),
        ("schedule", "learning rate", "text"),
        ("seeds", "seeds", "int"),
    )
    return Table(
        "candidates",
        "Configurations trained to the end",
        with_balanced(columns, rows),
        rows,
        TEXTS.candidates_caption(),
    )


def pareto_charts(
    found: Sequence[Configuration],
    latencies: Mapping[Recipe, dict[str, float] | None],
    winner: Configuration,
    small: Configuration,
) -> list[Chart]:
    costs: dict[str, tuple[str, str, dict[Recipe, float]]] = {
        "parameters": ("learnable parameters", "~s", {c.recipe: c.parameters for c in found}),
        "flops": ("FLOPs of one image", "~s", {c.recipe: c.flops for c in found}),
        "memory": (
            "peak memory of the feature maps at 8 bits (KiB)",
            "~g",
            {
                c.recipe: needs_of(c.convnet, c.data.in_shape, c.data.num_classes).peak_bytes / KIB
                for c in found
            },
        ),
        "latency": (
            "ms for one image",
            "~g",
            {k: 1000 * v["one"] for k, v in latencies.items() if v is not None},
        ),
    }
    out = []
    for key, (title, form, cost) in costs.items():
        points = [c for c in found if cost.get(c.recipe, 0) > 0]
        if not points:
            continue
        front = front_of([(cost[c.recipe], 1 - c.val_accuracy.mean) for c in points])
        rows = []
        for i, c in enumerate(points):
            mark = "winner" if c is winner else "smallest that is close" if c is small else ""
            e, value = c.val_accuracy, cost[c.recipe]
            shown = f"{value:.3g}" if key in ("latency", "memory") else f"{value:,}"
            rows.append(
                {
                    "network": c.label,
                    "chapter": c.chapters,
                    "cost": value,
                    "shown": shown,
                    "error": 1 - e.mean,
                    "low": 1 - e.high,
                    "high": 1 - e.low,
                    "front": i in front,
                    "mark": mark,
                }
            )
        out.append(
            Chart(
                f"pareto_{key}",
                f"Validation error against {title}",
                charts_search.pareto(rows, title, form),
                TEXTS.front_alt(len(points), title, [points[i].label for i in front]),
                TEXTS.front_caption(),
                title,
            )
        )
    return out


def front_of(points: Sequence[tuple[float, float]]) -> list[int]:
    """Indices of the points (cost, error) on the Pareto front, by rising cost."""
    front: list[int] = []
    for i in sorted(range(len(points)), key=lambda i: points[i]):
        if not front or points[i][1] < points[front[-1]][1]:
            front.append(i)
    return front
