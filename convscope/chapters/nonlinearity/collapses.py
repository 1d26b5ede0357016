"""Trained linear networks as one affine map: its figures, computed once per study, and shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from convscope.chapters.nonlinearity.optimum import training_loss
from convscope.data import Dataset
from convscope.errors import UserError, one_line
from convscope.planning import Context
from convscope.probes.affine import Collapse, NotAffineError, collapse
from convscope.recipe import Model
from convscope.report import Chart, Gallery, Table, pictures
from convscope.report import comparison_charts as charts
from convscope.statistics import Configuration, Difference, equivalence
from convscope.training import Run, network, note_unreadable, resident, stratified_subset
from convscope.words import texts_beside

TEXTS = texts_beside(__file__)


@dataclass(frozen=True)
class Collapsed:
    """The figures of a trained network's affine map that are reported: see `Collapse`.

    train_loss: of the map, over all images that the network was trained on, in float64; None where
        an earlier version has not computed it.
    """

    outputs: int
    inputs: int
    rank: int
    singular_values: Sequence[float]
    max_error: float
    agreement: float | None
    checked: int
    train_loss: float | None = None


def collapsed(context: Context, run: Run, most: int | None = None) -> Collapsed | str:
    """The affine map of a trained network; the reason, where there is none.

    It is checked on all test images, or on `most` of them, stratified.
    """
    key = "collapse" if most is None else f"collapse on {most}"
    try:
        return Collapsed(**context.computed(key, run, lambda: figures_of(run, context.data, most)))
    except UserError as error:
        if not isinstance(error, NotAffineError):
            note_unreadable("the affine map", run, error)
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
            training_loss(found.weight, found.bias, run.recipe, data),
        )
    )


def map_of(run: Run, data: Dataset) -> Collapse | None:
    """The map itself; None where there is none."""
    try:
        return collapse(network(run, data=data).double(), data.in_shape, method="gradients")
    except UserError as error:
        if not isinstance(error, NotAffineError):
            note_unreadable("the affine map", run, error)
        return None


def collapse_table(
    linears: Sequence[Configuration],
    collapses: dict[str, Collapsed | str],
    against: Mapping[Model, Difference],
    margin: float,
) -> Table:
    """A row for each trained linear network, with its arm's difference from softmax regression."""
    columns = (
        ("network", "linear network", "text"),
        ("seed", "seed", "int"),
        ("parameters", "its parameters", "int"),
        ("map", "as one map", "text"),
        ("rank", "rank", "int"),
        ("error", "largest relative error of logits", "text"),
        ("agreement", "same predictions", "percent"),
        ("train_loss", "training loss of the map", "loss"),
        ("difference", "accuracy − softmax regression", "percent"),
        ("interval", "±", "percent"),
        ("verdict", TEXTS.verdict_heading(margin), "text"),
    )
    rows = []
    for arm in linears:
        difference = against.get(arm.model)
        for run in arm.runs:
            found = collapses[run.id]
            row: dict[str, Any] = {
                "network": arm.label,
                "seed": run.recipe.seed,
                "parameters": arm.parameters,
            }
            if isinstance(found, Collapsed):
                row |= {
                    "map": TEXTS.map_size(found.outputs, found.inputs),
                    "rank": found.rank,
                    "error": f"{found.max_error:.1e}",
                    "agreement": found.agreement,
                    "train_loss": found.train_loss,
                }
            else:
                row |= {"map": one_line(found)}
            if difference is not None:
                row |= {
                    "difference": difference.mean,
                    "interval": difference.high - difference.mean,
                    "verdict": equivalence(difference, margin),
                }
            rows.append(row)
    checked = next(
        (found.checked for found in collapses.values() if isinstance(found, Collapsed)), 0
    )
    return Table(
        "collapse",
        "Linear networks collapsed into one affine map",
        columns,
        rows,
        TEXTS.collapse_caption(checked),
    )


def spectrum_chart(
    linears: Sequence[Configuration], collapses: dict[str, Collapsed | str]
) -> list[Chart]:
    rows = []
    for arm in linears:
        found = collapses.get(arm.run.id)
        if isinstance(found, Collapsed) and found.singular_values:
            rows += [
                {"network": arm.label, "index": i, "value": value}
                for i, value in enumerate(found.singular_values, 1)
                if value > 0
            ]
    if not rows:
        return []
    return [
        Chart(
            "singular_values",
            "Singular values of the collapsed maps",
            charts.spectrum(rows),
            TEXTS.spectrum_alt(len({row["network"] for row in rows})),
            TEXTS.spectrum_caption(),
        )
    ]


def templates(
    context: Context, linear: Configuration, softmax: Configuration | None
) -> list[Gallery]:
    """The rows of W as images: what each class of a linear network looks for."""
    maps = [
        (
            "linear_templates",
            TEXTS.templates_title(linear.label),
            map_of(linear.run, context.data),
        )
    ]
    if softmax is not None:
        maps.append(
            (
                "softmax_templates",
                "Class templates of softmax regression",
                map_of(softmax.run, context.data),
            )
        )
    out = []
    for name, title, map_ in maps:
        if map_ is not None:
            # what all classes share decides nothing
            shown = map_.templates - map_.templates.mean(0, keepdim=True)
            largest = float(torch.quantile(shown.abs().flatten()[: 1 << 22], 0.995))
            items = tuple(
                (pictures.signed(template, largest), one_line(label, 30))
                for template, label in list(zip(shown, context.data.classes, strict=True))[:20]
            )
            out.append(
                Gallery(
                    name,
                    title,
                    items,
                    TEXTS.templates_alt(len(items)),
                    TEXTS.templates_caption(),
                    88,
                )
            )
    return out
