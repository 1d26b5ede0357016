"""Trained linear networks as one affine map: its figures, and how they are shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from convscope.data import Dataset
from convscope.errors import UserError, one_line
from convscope.planning import Context
from convscope.probes.affine import Collapse, collapse
from convscope.recipe import Model
from convscope.report import Chart, Gallery, Table, charts, pictures
from convscope.statistics import Configuration, Difference
from convscope.training import Run, network, resident, stratified_subset
from convscope.words import count


@dataclass(frozen=True)
class Collapsed:
    """The figures of a trained network as one affine map: see `Collapse`."""

    outputs: int
    inputs: int
    rank: int
    singular_values: Sequence[float]
    max_error: float
    agreement: float | None
    checked: int


def collapsed(context: Context, run: Run, most: int | None = None) -> Collapsed | str:
    """The affine map of a trained network, computed once per study; or why there is none.

    most: the number of test images, stratified, on which it is checked; None: all of them.
    """
    key = "collapse" if most is None else f"collapse on {most}"
    try:
        return Collapsed(**context.computed(key, run, lambda: figures_of(run, context.data, most)))
    except UserError as error:  # NotAffineError among them
        return str(error)


def figures_of(run: Run, data: Dataset, most: int | None) -> dict[str, Any]:
    net = network(run, data=data).double()
    tensors, labels = resident(run.recipe, data), data.test.labels
    chosen = (
        slice(None)
        if most is None or most >= len(labels)
        else stratified_subset(labels, most, 0).to(run.recipe.device)
    )
    images = tensors.inputs("test", chosen).cpu()
    found = collapse(net, data.in_shape, inputs=images, method="gradients")
    outputs, inputs = found.weight.shape
    return asdict(
        Collapsed(
            outputs,
            inputs,
            found.rank,
            found.singular_values,
            found.max_error,
            found.agreement,
            found.checked,
        )
    )


def map_of(run: Run, data: Dataset) -> Collapse | None:
    """The map itself; None where there is none, or the weights cannot be read."""
    try:
        return collapse(network(run, data=data).double(), data.in_shape, method="gradients")
    except UserError:
        return None


def collapse_table(
    linears: Sequence[Configuration],
    collapses: dict[str, Collapsed | str],
    against: dict[Model, Difference],
    verdicts: dict[Model, str],
    margin: float,
) -> Table:
    """A row per trained linear network.

    collapses: the maps, or why there is none, by id of the run.
    against, verdicts: the comparisons with softmax regression, by model; empty where there is no
        softmax regression.
    margin: of accuracy, within which networks count as equivalent.
    """
    columns = (
        ("network", "linear network", "text"),
        ("seed", "seed", "int"),
        ("parameters", "its parameters", "int"),
        ("map", "as one map", "text"),
        ("rank", "rank", "int"),
        ("error", "largest relative error of logits", "text"),
        ("agreement", "same predictions", "percent"),
        ("difference", "accuracy − softmax regression", "percent"),
        ("interval", "±", "percent"),
        ("verdict", f"within ± {100 * margin:g} points", "text"),
    )
    rows = []
    for arm in linears:
        compared: dict[str, Any] = {}
        if (difference := against.get(arm.model)) is not None:
            compared = {
                "difference": difference.mean,
                "interval": difference.high - difference.mean,
                "verdict": verdicts[arm.model],
            }
        for run in arm.runs:
            named = {
                "network": arm.label,
                "seed": run.recipe.seed,
                "parameters": arm.parameters,
            }
            rows.append({**named, **row_of(collapses[run.id]), **compared})
    done = (one for one in collapses.values() if isinstance(one, Collapsed))
    checked = next((one.checked for one in done), 0)
    where = f" on {checked:,} test images" if checked else ""
    caption = (
        f"Each linear network as W x + b, both sides in float64{where}. The difference from "
        "softmax regression is that of the means over seeds, paired by test image, with half of "
        "its 95 % interval."
    )
    title = "Linear networks collapsed into one affine map"
    return Table("collapse", title, columns, rows, caption)


def row_of(found: Collapsed | str) -> dict[str, Any]:
    """What the table says of one map."""
    if isinstance(found, str):
        return {"map": one_line(found)}
    return {
        "map": f"{found.outputs} × {found.inputs:,} and {found.outputs} biases",
        "rank": found.rank,
        "error": f"{found.max_error:.1e}",
        "agreement": found.agreement,
    }


def spectrum_chart(
    linears: Sequence[Configuration], collapses: dict[str, Collapsed | str]
) -> list[Chart]:
    """Singular values of each configuration's best seed; no chart where there are none."""
    found = [(arm.label, collapses.get(arm.run.id)) for arm in linears]
    rows = [
        {"network": label, "index": i, "value": value}
        for label, one in found
        if isinstance(one, Collapsed)
        for i, value in enumerate(one.singular_values, 1)
        if value > 0
    ]
    if not rows:
        return []
    networks = count(len({row["network"] for row in rows}), "linear network")
    return [
        Chart(
            "singular_values",
            "Singular values of the collapsed maps",
            charts.spectrum(rows),
            f"Singular values of the affine maps of {networks}, the largest first, "
            "on a logarithmic scale.",
            "The seed of lowest validation loss of each size.",
        )
    ]


MOST_TEMPLATES = 20

BRIGHTEST = 0.995  # the quantile of absolute weights that is drawn in full colour


def templates(
    context: Context, linear: Configuration, softmax: Configuration | None
) -> list[Gallery]:
    """The rows of W as images: what a linear network looks for in each class."""
    shown = [("linear_templates", f"the linear network ({linear.label})", linear)]
    if softmax is not None:
        shown.append(("softmax_templates", "softmax regression", softmax))
    maps = [(name, whose, map_of(arm.run, context.data)) for name, whose, arm in shown]
    return [
        gallery_of(name, f"Class templates of {whose}", map_, context.data.classes)
        for name, whose, map_ in maps
        if map_ is not None
    ]


def gallery_of(name: str, title: str, map_: Collapse, classes: Sequence[str]) -> Gallery:
    # what all classes share decides nothing
    shown = map_.templates - map_.templates.mean(0, keepdim=True)
    largest = float(torch.quantile(shown.abs().flatten()[: 1 << 22], BRIGHTEST))
    named = list(zip(shown, classes, strict=True))[:MOST_TEMPLATES]
    return Gallery(
        name,
        title,
        tuple(
            (pictures.signed(template, largest), one_line(label, 30)) for template, label in named
        ),
        f"{count(len(named), 'weight image')}, one per class.",
        "The rows of the collapsed matrix as images, minus their mean; grey is 0.",
        88,
    )
