"""How many filters, layers and parameters: the table of networks and the charts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

from convscope.chapters.capacity.judgement import Judgement, main_series, sweep_name
from convscope.deployment import needs_of
from convscope.deployment.device_sizes import KIB
from convscope.recipe import short_label_of
from convscope.report import Chart, Table, size_charts, with_balanced
from convscope.statistics import Configuration
from convscope.words import texts_beside

CAPTIONS = texts_beside(__file__, "captions.jinja")

COLUMNS = (
    ("network", "network", "text"),
    ("images", "training images", "int"),
    ("verdict", "verdict", "text"),
    ("filters", "filters", "int"),
    ("parameters", "learnable parameters", "int"),
    ("flops", "FLOPs", "int"),
    ("peak_kib", "peak memory at 8 bits (KiB)", "float"),
    ("weight_kib", "weights at 8 bits (KiB)", "float"),
    ("lr", "learning rate", "float"),
    ("train_loss", "train loss", "loss"),
    ("val_loss", "val loss", "loss"),
    ("test_loss", "test loss", "loss"),
    ("test_accuracy", "test accuracy", "percent"),
    ("interval", "±", "percent"),
    ("gap", "gap at end", "loss"),
    ("best_epoch", "best epoch", "text"),
    ("epochs", "epochs", "int"),
    ("seeds", "seeds", "int"),
)

CURVES: tuple[tuple[Literal["train", "val", "test"], str], ...] = (
    ("train", "train"),
    ("val", "validation"),
    ("test", "test"),
)


def on_device(one: Configuration) -> dict[str, float]:
    """KiB that a network needs on a device that computes with 8 bits."""
    needs = needs_of(one.convnet, one.data.in_shape, one.data.num_classes)
    return {
        "peak_kib": round(needs.peak_bytes / KIB, 1),
        "weight_kib": round(needs.weight_bytes / KIB, 1),
    }


def networks_table(judgement: Judgement) -> Table:
    most = judgement.images
    found = [*judgement.all, *((most, one) for one in judgement.beside)]
    rows = [
        {
            "network": n.label,
            "images": images,
            "filters": n.filters,
            "parameters": n.parameters,
            "flops": n.flops,
            **on_device(n),
            "lr": n.rate,
            "train_loss": n.train_loss.mean,
            "val_loss": n.val_loss.mean,
            "test_loss": n.test_loss.mean,
            "test_accuracy": n.test_accuracy.mean,
            "interval": n.test_accuracy.high - n.test_accuracy.mean,
            "gap": n.gap_last,
            "best_epoch": n.best_epochs,
            "epochs": n.recipe.epochs,
            "seeds": n.val_loss.n,
            "verdict": n.verdict,
            **n.balanced_row(),
        }
        for images, n in found
    ]
    title = "The networks, their size and what became of them"
    columns = with_balanced(COLUMNS, rows)
    return Table("networks", title, columns, rows, CAPTIONS.networks_caption())


def charts_of(judgement: Judgement) -> list[Chart]:
    return [
        *loss_charts(judgement),
        accuracy_chart(judgement),
        gap_chart(judgement),
        law_chart(judgement),
        curves_chart(judgement),
    ]


def series_names(judgement: Judgement) -> dict[tuple[int, Configuration], str]:
    """The series of each network, with its training images where they differ, in their order."""
    several = len({sweep_name(n.convnet, judgement.whole) for n in judgement.whole}) > 1
    out = {}
    for images, one in judgement.all:
        name = sweep_name(one.convnet, judgement.whole)
        on = f"{images:,} images"
        numbers = len(judgement.networks) > 1
        out[images, one] = (f"{name}, {on}" if several else on) if numbers else name
    return out


def loss_charts(judgement: Judgement) -> list[Chart]:
    """Losses against filters, parameters and FLOPs."""
    names = series_names(judgement)
    lowest: dict[str, Configuration] = {}
    for (_, n), name in names.items():
        if name not in lowest or n.test_loss.mean < lowest[name].test_loss.mean:
            lowest[name] = n
    rows = [
        {
            "filters": n.filters,
            "parameters": n.parameters,
            "flops": n.flops,
            "network": n.label,
            "panel": name,
            "split": split,
            "when": when,
            "loss": loss.mean,
            "low": max(0.0, loss.low),
            "high": loss.high,
            "lowest": lowest[name] is n and split == "test" and when == "best epoch",
        }
        for (_, n), name in names.items()
        for split, when, loss in (
            ("train", "best epoch", n.train_loss),
            ("test", "best epoch", n.test_loss),
            ("train", "last epoch", n.train_last),
            ("test", "last epoch", n.test_last),
        )
    ]
    every = [n for _, n in judgement.all]
    least = min(every, key=lambda n: n.test_loss.mean)
    highest = max(every, key=lambda n: n.test_loss.mean)
    sizes = {
        "filters": "filters (all convolutions)",
        "parameters": "learnable parameters",
        "flops": "FLOPs of one image",
    }
    panels = list(dict.fromkeys(names.values()))
    return [
        Chart(
            f"loss_{field}",
            f"Loss against {size}",
            size_charts.loss_against_size(rows, field, size, panels),
            CAPTIONS.loss_alt(len(every), size, highest, least),
            CAPTIONS.loss_caption(
                [n.test_loss.scatter_known for n in every], panels_without_scatter(names)
            ),
            size,
        )
        for field, size in sizes.items()
    ]


def panels_without_scatter(names: dict[tuple[int, Configuration], str]) -> list[str]:
    """Those of the panels in which of no network the scatter is known; none if one is mixed."""
    found: dict[str, set[bool]] = {}
    for (_, one), name in names.items():
        found.setdefault(name, set()).add(one.test_loss.scatter_known)
    if any(len(kinds) > 1 for kinds in found.values()):
        return []
    return [name for name, kinds in found.items() if kinds == {False}]


def accuracy_chart(judgement: Judgement) -> Chart:
    names = series_names(judgement)
    beside = [(judgement.images, one) for one in judgement.beside]
    rows = [
        {
            "parameters": n.parameters,
            "depth": names.get((images, n), "beside the sweep"),
            "sweep": (images, n) in names,
            "network": n.label,
            "accuracy": n.test_accuracy.mean,
            "low": n.test_accuracy.low,
            "high": n.test_accuracy.high,
        }
        for images, n in (*names, *beside)
    ]
    small = judgement.small
    marked = {"parameters": small.parameters, "accuracy": small.test_accuracy.mean}
    best = max([*judgement.whole, *judgement.beside], key=lambda n: n.test_accuracy.mean)
    return Chart(
        "accuracy",
        "Test accuracy against parameters",
        size_charts.accuracy_against_size(rows, marked),
        CAPTIONS.accuracy_alt(best, small),
    )


def gap_chart(judgement: Judgement) -> Chart:
    rows = [
        {
            "parameters": n.parameters,
            "network": n.label,
            "depth": name,
            "when": when,
            "gap": gap,
        }
        for (_, n), name in series_names(judgement).items()
        for when, gap in (("best epoch", n.gap), ("last epoch", n.gap_last))
    ]
    widest = max((n for _, n in judgement.all), key=lambda n: n.gap_last)
    spec = size_charts.gap_against_size(rows)
    return Chart("gap", "Generalisation gap", spec, CAPTIONS.gap_alt(widest))


def law_chart(judgement: Judgement) -> Chart:
    """Validation loss against images, with the law where there is one."""
    found, law = main_series(judgement.networks), judgement.forecast.law
    points = [
        {
            "images": images,
            "network": n.label,
            "parameters": n.parameters,
            "loss": n.val_loss.mean,
            "low": max(0.0, n.val_loss.low),
            "high": n.val_loss.high,
        }
        for images, n in found
    ]
    lines = []
    if law is not None:
        low, high = min(judgement.networks), 2 * judgement.images
        for label, parameters in {n.label: n.parameters for _, n in found}.items():
            for step in range(13):
                images = low * (high / low) ** (step / 12)
                loss = law.loss(images, parameters)
                lines.append({"images": images, "network": label, "loss": loss})
    widths = sorted({(n.parameters, n.label) for _, n in found})
    return Chart(
        "law",
        "Validation loss against training images",
        size_charts.loss_against_images(points, lines, [label for _, label in widths]),
        CAPTIONS.law_alt(judgement.forecast),
        CAPTIONS.law_caption() if lines else "",
    )


def curves_chart(judgement: Judgement) -> Chart:
    """For each number of images the narrowest, the best and the widest network of the series."""
    shown: list[tuple[int, Configuration]] = []
    for images, found in sorted(judgement.networks.items(), reverse=True):
        best = min(found, key=lambda n: n.val_loss.mean)
        name = sweep_name(best.convnet, found)
        members = [n for n in found if sweep_name(n.convnet, found) == name]
        members.sort(key=lambda n: n.parameters)
        shown += [(images, n) for n in dict.fromkeys((members[0], best, members[-1]))]
        if len({id(n) for n in (members[0], best, members[-1])}) < 3 and len(members) > 2:
            others = [n for n in members if (images, n) not in shown]
            turned = (n for n in others if n.verdict.startswith("overfits"))
            shown.append((images, next(turned, others[len(others) // 2])))
    shown.sort(key=lambda item: (-item[0], item[1].parameters))
    shown += [(judgement.images, one) for one in judgement.beside]
    one = len({sweep_name(n.convnet, judgement.whole) for _, n in shown}) == 1
    panels = {
        (images, n): f"{f'width {n.convnet.width}' if one else short_label_of(n.model)}, "
        f"{images:,} images: {n.verdict}"
        for images, n in shown
    }
    rows = [row for item, panel in panels.items() for row in curve_rows(item[1], panel)]
    return Chart(
        "learning_curves",
        "Learning curves",
        size_charts.learning_curves(rows, list(dict.fromkeys(panels.values())), columns=3),
        CAPTIONS.curves_alt(len(panels)),
        CAPTIONS.curves_caption(),
    )


def curve_rows(network: Configuration, panel: str) -> list[dict[str, Any]]:
    """A row per split and evaluated epoch; `best` marks the lowest mean validation loss."""
    by_epoch: dict[int, list[dict[str, Any]]] = {}
    for run in network.runs:
        for row in run.rows:
            by_epoch.setdefault(row["epoch"], []).append(row)
    whole = {epoch: rows for epoch, rows in by_epoch.items() if len(rows) == len(network.runs)}

    def mean(rows: Sequence[dict[str, Any]], split: str) -> float:
        return math.fsum(row[f"{split}_loss"] for row in rows) / len(rows)

    best = min(whole, key=lambda epoch: mean(whole[epoch], "val"))
    return [
        {
            "network": panel,
            "epoch": epoch,
            "split": shown,
            "loss": mean(rows, split),
            "best": split == "val" and epoch == best,
        }
        for split, shown in CURVES
        for epoch, rows in sorted(whole.items())
    ]
