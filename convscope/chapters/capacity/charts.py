"""How many filters, layers and parameters: the table of networks and the charts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from convscope.chapters.capacity.words import TEXTS, sweep_name
from convscope.report import Chart, Table, size_charts
from convscope.statistics import Configuration

COLUMNS = (
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
VERDICTS = ("underfits", "undertrained", "overfits", "fits")  # in the order in which they are told


def networks_table(networks: Sequence[Configuration]) -> Table:
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
    title = "The networks, their size and what became of them"
    return Table("networks", title, COLUMNS, rows, TEXTS.networks_caption())


def charts_of(
    networks: Sequence[Configuration], beside: Sequence[Configuration], small: Configuration
) -> list[Chart]:
    """networks: of the sweeps. small: the smallest of them within one standard error."""
    return [
        *loss_charts(networks),
        accuracy_chart(networks, beside, small),
        gap_chart(networks),
        curves_chart(networks, beside),
    ]


def sizes_of(network: Configuration, networks: Sequence[Configuration]) -> dict[str, Any]:
    """What a row of a chart says about its network; the sweep is its `depth`."""
    return {
        "filters": network.filters,
        "parameters": network.parameters,
        "flops": network.flops,
        "network": network.label,
        "depth": sweep_name(network.convnet, networks),
    }


def loss_charts(networks: Sequence[Configuration]) -> list[Chart]:
    """Losses against filters, parameters and FLOPs."""
    rows = [
        {
            **sizes_of(n, networks),
            "split": split,
            "when": when,
            "loss": loss.mean,
            "low": max(0.0, loss.low),
            "high": loss.high,
        }
        for n in networks
        for split, when, loss in (
            ("train", "best epoch", n.train_loss),
            ("test", "best epoch", n.test_loss),
            ("train", "last epoch", n.train_last),
            ("test", "last epoch", n.test_last),
        )
    ]
    lowest = min(networks, key=lambda n: n.test_loss.mean)
    highest = max(networks, key=lambda n: n.test_loss.mean)
    sizes = {
        "filters": "filters (all convolutions)",
        "parameters": "learnable parameters",
        "flops": "FLOPs of one image",
    }
    return [
        Chart(
            f"loss_{field}",
            f"Loss against {size}",
            size_charts.loss_against_size(rows, field, size),
            TEXTS.loss_alt(len(networks), size, highest, lowest),
            TEXTS.loss_caption(),
        )
        for field, size in sizes.items()
    ]


def accuracy_chart(
    networks: Sequence[Configuration], beside: Sequence[Configuration], small: Configuration
) -> Chart:
    rows = [
        {
            "parameters": n.parameters,
            "depth": "beside the sweep" if n in beside else sweep_name(n.convnet, networks),
            "sweep": n not in beside,
            "network": n.label,
            "accuracy": n.test_accuracy.mean,
            "low": max(0.0, n.test_accuracy.low),
            "high": min(1.0, n.test_accuracy.high),
        }
        for n in (*networks, *beside)
    ]
    marked = {"parameters": small.parameters, "accuracy": small.test_accuracy.mean}
    best = max([*networks, *beside], key=lambda n: n.test_accuracy.mean)
    return Chart(
        "accuracy",
        "Test accuracy against parameters",
        size_charts.accuracy_against_size(rows, marked),
        TEXTS.accuracy_alt(best, small),
    )


def gap_chart(networks: Sequence[Configuration]) -> Chart:
    rows = [
        {**sizes_of(n, networks), "when": when, "gap": gap}
        for n in networks
        for when, gap in (("best epoch", n.gap), ("last epoch", n.gap_last))
    ]
    widest = max(networks, key=lambda n: n.gap_last)
    spec = size_charts.gap_against_size(rows)
    return Chart("gap", "Generalisation gap", spec, TEXTS.gap_alt(widest))


def curves_chart(networks: Sequence[Configuration], beside: Sequence[Configuration]) -> Chart:
    rows = [row for n in (*networks, *beside) for row in n.curve_rows()]
    panels = [n.label for n in (*networks, *beside)]
    found = Counter(n.verdict.split(" ")[0] for n in networks)
    return Chart(
        "learning_curves",
        "Learning curves",
        size_charts.learning_curves(rows, panels),
        TEXTS.curves_alt({verdict: found[verdict] for verdict in VERDICTS if found[verdict]}),
        TEXTS.curves_caption(),
    )
