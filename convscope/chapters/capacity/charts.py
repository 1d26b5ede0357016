"""How many filters, layers and parameters: tables and charts."""

from __future__ import annotations

from collections.abc import Sequence

from convscope.chapters.capacity.words import kind_of, percent
from convscope.report import Chart, Table, charts
from convscope.statistics import Configuration


def networks_table(networks: Sequence[Configuration]) -> Table:
    columns = (
        ("network", "network", "text"),
        ("verdict", "verdict", "text"),
        ("filters", "filters", "int"),
        ("parameters", "learnable parameters", "int"),
        ("flops", "FLOPs", "int"),
        ("lr", "learning rate", "float"),
        ("train_loss", "train loss", "loss"),
        ("val_loss", "val loss", "loss"),
        ("test_loss", "test loss", "loss"),
        ("test_accuracy", "test accuracy", "percent"),
        ("interval", "±", "percent"),
        ("gap", "gap at end", "loss"),
        ("best_epoch", "best epoch", "text"),
        ("seeds", "seeds", "int"),
    )
    rows = [
        {
            "network": n.label,
            "filters": n.filters,
            "parameters": n.parameters,
            "flops": n.flops,
            "lr": n.rate,
            "train_loss": n.train_loss.mean,
            "val_loss": n.val_loss.mean,
            "test_loss": n.test_loss.mean,
            "test_accuracy": n.test_accuracy.mean,
            "interval": n.test_accuracy.high - n.test_accuracy.mean,
            "gap": n.gap_last,
            "best_epoch": n.best_epochs,
            "seeds": n.val_loss.n,
            "verdict": n.verdict,
        }
        for n in networks
    ]
    caption = "Means over seeds at each run's best epoch (lowest validation loss). ± is half of the 95 % interval of the accuracy. The gap is validation − training loss after the last epoch."
    return Table(
        "networks", "The networks, their size and what became of them", columns, rows, caption
    )


def charts_of(
    networks: Sequence[Configuration], beside: Sequence[Configuration], small: Configuration
) -> list[Chart]:
    losses, gaps, accuracies = [], [], []
    for n in networks:
        size = {
            "filters": n.filters,
            "parameters": n.parameters,
            "flops": n.flops,
            "network": n.label,
            "depth": kind_of(n.convnet, networks),
        }
        for split, when, e in (
            ("train", "best epoch", n.train_loss),
            ("test", "best epoch", n.test_loss),
            ("train", "last epoch", n.train_last),
            ("test", "last epoch", n.test_last),
        ):
            losses.append(
                {
                    **size,
                    "split": split,
                    "when": when,
                    "loss": e.mean,
                    "low": max(0.0, e.low),
                    "high": e.high,
                }
            )
        gaps += [
            {**size, "when": "best epoch", "gap": n.gap},
            {**size, "when": "last epoch", "gap": n.gap_last},
        ]
    for n in [*networks, *beside]:
        depth = "beside the sweep" if n in beside else kind_of(n.convnet, networks)
        e = n.test_accuracy
        accuracies.append(
            {
                "parameters": n.parameters,
                "depth": depth,
                "sweep": n not in beside,
                "network": n.label,
                "accuracy": e.mean,
                "low": max(0.0, e.low),
                "high": min(1.0, e.high),
            }
        )
    low = min(networks, key=lambda n: n.test_loss.mean)
    high = max(networks, key=lambda n: n.test_loss.mean)
    span = f"Test loss at the best epoch goes from {high.test_loss.mean:.2f} ({high.label}) to {low.test_loss.mean:.2f} ({low.label})."
    out = [
        Chart(
            f"loss_{field}",
            f"Loss against {title}",
            charts.loss_against_size(losses, field, title),
            f"Training and test loss of {len(networks)} networks against {title}, with 95 % intervals over seeds, at the best epoch and at the last. {span}",
            "Solid: test, dashed: training. Bars are 95 % intervals, from seeds and the finite evaluated set together.",
        )
        for field, title in (
            ("filters", "filters (all convolutions)"),
            ("parameters", "learnable parameters"),
            ("flops", "FLOPs of one image"),
        )
    ]
    mark = {"parameters": small.parameters, "accuracy": small.test_accuracy.mean}
    best = max([*networks, *beside], key=lambda n: n.test_accuracy.mean)
    out.append(
        Chart(
            "accuracy",
            "Test accuracy against parameters",
            charts.accuracy_against_size(accuracies, mark),
            f"Test accuracy against parameters with 95 % intervals; the highest is {percent(best.test_accuracy)} ({best.label}), and the smallest network of the "
            f"sweep within one standard error of its best is {small.label}.",
        )
    )
    widest = max(networks, key=lambda n: n.gap_last)
    out.append(
        Chart(
            "gap",
            "Generalisation gap",
            charts.gap_against_size(gaps),
            f"Validation minus training loss against parameters; after the last epoch it is largest for {widest.label}, {widest.gap_last:.2f} nats.",
        )
    )
    rows = [row for n in [*networks, *beside] for row in n.curve_rows()]
    counts = {
        v: sum(1 for n in networks if n.verdict.split(" ")[0] == v)
        for v in ("underfits", "undertrained", "overfits", "fits")
    }
    told = ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count)
    out.append(
        Chart(
            "learning_curves",
            "Learning curves",
            charts.learning_curves(rows, [n.label for n in [*networks, *beside]]),
            f"Loss of every network on training, validation and test images after each epoch, mean over seeds. Verdicts in the sweep: {told}.",
            "Dashed: the epoch of lowest mean validation loss.",
        )
    )
    return out
