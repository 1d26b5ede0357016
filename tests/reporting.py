"""A report on data, runs and findings that are made up."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from convscope.chapters import capacity
from convscope.data.dataset import Dataset, Split
from convscope.planning.context import Context
from convscope.recipe.networks import ConvNet, Custom, SoftmaxRegression
from convscope.recipe.recipe import Recipe
from convscope.report import pictures, size_charts
from convscope.report.drawing import Drawings
from convscope.report.files import results
from convscope.report.findings import Chart, Finding, Gallery, Table
from convscope.report.page import page_of
from convscope.report.rendering import write_report
from convscope.training.runs import Run

HARMLESS = "plain"


def write(
    folder: Path,
    make_run: Callable[..., Run],
    drawings: Drawings,
    classes: tuple[str, ...] = ("a", "b"),
    name: str = HARMLESS,
    told: str = HARMLESS,
    tables: list[Table] | None = None,
    page_only: bool = True,
) -> Path:
    """A report on data that were made up.

    name: goes to every place where a text from outside stands.
    told: goes into the texts of the findings.
    """
    data = made_data(classes, name)
    pilots, sweep, failed = made_runs(make_run, name)
    finding = capacity.finding(
        Context(data, "quick", (0, 1), Recipe()), pilots, [*sweep, failed], [], 0
    )
    more = second_finding(data, told, tables)
    finding = replace(finding, charts=[]) if page_only else finding
    about = about_of(data, told)
    base = sweep[0]
    others = [
        replace(base, recipe=replace(base.recipe, model=model), path=base.path.with_name(key))
        for key, model in (
            ("softmax", SoftmaxRegression()),
            ("custom", Custom("package.module:factory")),
        )
    ]
    runs = (*pilots, *sweep, failed, *others)
    used = {run.id: {"capacity": "pilot" if run in pilots else "sweep"} for run in runs}
    used[others[0].id] = {"capacity": "sweep", "more": "final"}
    findings, sentence = {"capacity": finding, "more": more}, f"last sentence {told}"
    if page_only:
        tree = results(about, findings, runs, used, sentence)
        (folder / "report.html").write_bytes(page_of(about, findings, tree, data, drawings, runs))
    else:
        write_report(folder, about, findings, runs, used, sentence, data, drawings)
    return folder / "report.html"


def made_data(classes: tuple[str, ...], name: str) -> Dataset:
    """Four images of noise for each class."""
    generator = torch.Generator().manual_seed(0)
    count = 4 * len(classes)
    images = torch.randint(0, 256, (count, 3, 8, 8), generator=generator, dtype=torch.uint8)
    split = Split(images, torch.arange(count) % len(classes))
    return Dataset(
        name,
        split,
        split,
        split,
        classes,
        "0" * 64,
        f"source {name}",
        f"licence {name}",
        (f"note {name}",),
    )


def made_runs(make_run: Callable[..., Run], name: str) -> tuple[list[Run], list[Run], Run]:
    """Pilots, the sweep, and a run that failed."""
    draw = random.Random(0)
    models = [ConvNet(width, 1) for width in (2, 4, 8)]
    pilots = [
        make_run(model, [1.0], [draw.random()], lr=lr) for model in models for lr in (1e-3, 2e-3)
    ]
    sweep = [
        make_run(model, [1.0, draw.random()], [1.1, draw.random()], seed=seed, sd=0.1)
        for model in models
        for seed in (0, 1)
    ]
    failed = replace(
        make_run(ConvNet(16, 1), [1.0], [1.0], status="failed"),
        message=f"broken {name}",
        rows=(),
    )
    return pilots, sweep, failed


def second_finding(data: Dataset, told: str, tables: list[Table] | None) -> Finding:
    """A finding with all that a finding can have: a chart, a gallery, a table, a proof."""
    names = Table(
        "names",
        f"table {told}",
        (("name", f"heading {told}", "text"),),
        [{"name": told}],
        f"caption {told}",
    )
    return Finding(
        "more",
        f"title {told}",
        f"question {told}",
        f"verdict {told}",
        f"sentence {told}",
        {"x": told},
        tables or [names],
        [named_chart(told)],
        [f"head {told}. paragraph {told}"],
        galleries=[gallery_of(data, told)],
        proof=[f"step {told}", "L[x(i+k)](j) = L[x(i)](j+k)"],
    )


def named_chart(told: str) -> Chart:
    labels = [
        {
            "network": f"{told} {i}",
            "epoch": e,
            "split": "train",
            "loss": 1.0 / e,
            "best": e == 2,
        }
        for i in (1, 2)
        for e in (1, 2, 3)
    ]
    return Chart(
        "named",
        f"chart {told}",
        size_charts.learning_curves(labels, [f"{told} 1", f"{told} 2"]),
        f"words {told}",
        f"caption {told}",
    )


def gallery_of(data: Dataset, told: str) -> Gallery:
    images = data.train.images[:3]
    shown = [(pictures.image(image, 64), f"picture {told} {i}") for i, image in enumerate(images)]
    shown.append((pictures.map_of(torch.eye(8), 64), ""))  # grey, and nothing below it
    return Gallery(
        "pictures",
        f"gallery {told}",
        tuple(shown),
        f"pictures in words {told}",
        f"below {told}",
        64,
    )


def about_of(data: Dataset, told: str) -> dict[str, Any]:
    count = len(data.train.labels)
    return {
        "data": data.name,
        "data_hash": "0" * 64,
        "source": data.source,
        "licence": data.licence,
        "notes": list(data.notes),
        "fallback": "",
        "preset": "quick",
        "chapters": ["capacity", "more"],
        "seeds": [0, 1],
        "val": 0.1,
        "split_seed": 0,
        "complete": False,
        "seconds": 60.0,
        "images": {"train": count, "val": count, "test": count},
        "in_shape": [3, 8, 8],
        "classes": list(data.classes),
        "command": f"convscope study {data.name}",
        "machine": {
            "processor": told,
            "cores": 2,
            "memory_gb": 8.0,
            "gpu": told,
            "system": "Linux",
            "python": "3",
            "torch": "2",
        },
        "choice": {
            "device": "cpu",
            "precision": "float32",
            "layout": "contiguous",
            "threads": 1,
            "workers": 2,
            "measured": {told: 1.0},
        },
    }
