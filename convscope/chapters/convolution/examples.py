"""Counterexamples: files in the study's folder that can be replayed, and small plots."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from convscope.chapters.convolution.operators import ASKED, Measured
from convscope.chapters.convolution.tables import law_name
from convscope.chapters.convolution.words import TEXTS
from convscope.planning import Context
from convscope.probes import Counterexample
from convscope.report import Chart, Panel, operator_charts

FILES = "counterexamples"


def file_name(name: str, law: str) -> str:
    return f"{name}-{law.replace(' ', '-')}.safetensors"


def save_counterexamples(
    context: Context, measured: Sequence[Measured]
) -> dict[tuple[str, str], str]:
    """(operator, law) -> file in the study's folder, for those that are there.

    They are written by the study itself, not by a later report.
    """
    if context.folder is None:
        return {}
    folder = context.folder / FILES
    there = {}
    for one in measured:
        for example in one.found.counterexamples if one.found is not None else ():
            path = folder / file_name(one.name, example.law)
            if context.live:
                write_counterexample(path, example)
            if path.exists():
                there[one.name, example.law] = f"{FILES}/{path.name}"
    return there


def write_counterexample(path: Path, example: Counterexample) -> None:
    """Beside its place, then renamed: the old file or the new one, never a torn one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    example.save(part)
    part.replace(path)


def panel_of(name: str, example: Counterexample) -> Panel:
    """Both sides of the law along a line through the place where they differ most, and the inputs.

    The inputs are shown along the line through their largest value.
    """
    spatial = len(example.shape) - 1
    axis = int(example.numbers.get("axis", spatial - 1)) - spatial  # counted from the end
    same_rank = example.left.ndim == example.x.ndim
    rows = line_of("x", example.x, place_of(example.x), axis)
    rows += line_of("y", example.y, place_of(example.y), axis) if example.y is not None else []
    worst = place_of(example.left - example.right)
    rows += line_of("left side", example.left, worst, axis if same_rank else -1)
    rows += line_of("right side", example.right, worst, axis if same_rank else -1)
    if "factor" in example.numbers:
        sign = example.law.removesuffix(" homogeneity")
        law = f"{sign} factor a = {example.numbers['factor']:.3g}".replace("-", "−")
    elif example.law == "equivariance":
        law = f"shift by {int(example.numbers['shift'])}"
    else:
        law = law_name(example.law)
    return Panel(name, law, rows)


def place_of(values: Tensor) -> tuple[int, ...]:
    """Where a tensor has its largest magnitude."""
    return tuple(int(i) for i in torch.unravel_index(values.abs().argmax(), values.shape))


def line_of(series: str, values: Tensor, place: tuple[int, ...], axis: int) -> list[dict[str, Any]]:
    index: list[int | slice] = list(place)
    index[axis] = slice(None)
    return [
        {"series": series, "position": i, "value": v}
        for i, v in enumerate(values[tuple(index)].tolist())
    ]


def chosen_examples(
    measured: Sequence[Measured],
) -> tuple[list[tuple[str, Counterexample]], list[tuple[str, Counterexample]]]:
    """(asked, further): all counterexamples of the operators of the assignment, two of the others.

    These two are the first against linearity and the one against equivariance.
    """
    asked, further = [], []
    for one in measured:
        examples = one.found.counterexamples if one.found is not None else ()
        if one.name in ASKED:
            asked += [(one.name, example) for example in examples]
        else:
            kinds = {example.law == "equivariance": example for example in reversed(examples)}
            further += [(one.name, kinds[kind]) for kind in sorted(kinds)]
    return asked, further


def counterexample_charts(
    measured: Sequence[Measured], files: dict[tuple[str, str], str]
) -> list[Chart]:
    """Small plots in two charts: the operators of the assignment, and the further ones.

    files: (operator, law) -> file in the study's folder; the first one stands in the caption.
    """
    asked, further = chosen_examples(measured)
    (name, _), file = next(iter(files.items()), (("", ""), ""))
    caption = TEXTS.counterexamples_caption(file, name, FILES)
    charts = []
    for key, title, examples in (
        ("counterexamples", "Counterexamples: the operators of the assignment", asked),
        ("counterexamples_further", "Counterexamples: further operators", further),
    ):
        if examples:
            shown = [
                {"name": name, "law": law_name(example.law), "error": example.error}
                for name, example in examples
            ]
            spec = operator_charts.counterexamples([panel_of(*example) for example in examples])
            told = TEXTS.counterexamples_again() if charts else caption
            charts.append(Chart(key, title, spec, TEXTS.counterexamples_alt(shown), told))
    return charts
