"""The chapter's tables: operators, the trained network's layers, its predictions under shifts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from convscope.chapters.convolution.layers import LAYER_TRIALS
from convscope.chapters.convolution.network import NetworkMeasures
from convscope.chapters.convolution.operators import ASKED, Measured, plain
from convscope.chapters.convolution.shifts import DIRECTIONS
from convscope.chapters.convolution.words import TEXTS
from convscope.probes import Probe, show_shape
from convscope.report import Table

OPERATORS_COLUMNS = (
    ("operator", "operator", "text"),
    ("linearity", "linear", "text"),
    ("equivariant", "translation-equivariant", "text"),
    ("period", "period", "text"),
    ("border", "border", "text"),
    ("invariant", "invariant", "text"),
    ("response", "impulse response", "text"),
    ("law", "laws that fail: largest error", "text"),
    ("theory", "as the theory says", "text"),
    ("why", "why", "text"),
)
LAYERS_COLUMNS = (
    ("layer", "layer", "text"),
    ("kind", "kind", "text"),
    ("sizes", "in the network", "text"),
    ("mode", "mode", "text"),
    ("linearity", "linear", "text"),
    ("equivariant", "translation-equivariant", "text"),
    ("period", "period", "text"),
    ("border", "border", "text"),
    ("invariant", "invariant", "text"),
    ("response", "impulse response of f − f(0)", "text"),
    ("kernel_error", "against the flipped kernel", "float"),
)
SHIFTS_COLUMNS = (
    ("border", "border", "text"),
    ("pixels", "shift (pixels)", "int"),
    ("unchanged", "predictions unchanged", "percent"),
    ("unchanged_low", "95 % from", "percent"),
    ("unchanged_high", "to", "percent"),
    *((way, way, "percent") for way in DIRECTIONS),
    ("accuracy", "accuracy", "percent"),
    ("accuracy_low", "95 % from", "percent"),
    ("accuracy_high", "to", "percent"),
)


def operators_table(measured: Sequence[Measured]) -> Table:
    """A row for each operator of the theory, those of the assignment first."""
    rows: list[dict[str, Any]] = []
    for one in measured:
        row: dict[str, Any] = {"operator": one.title, "theory": "; ".join(one.differs) or "yes"}
        row["why"] = one.why
        rows.append(row | (probe_cells(one.found) if one.found is not None else {}))
    caption = TEXTS.operators_caption(len(ASKED))
    return Table("operators", "Operators, measured", OPERATORS_COLUMNS, rows, caption)


def probe_cells(found: Probe) -> dict[str, str]:
    moves, response = found.translation, found.impulse_response
    worst = max((example.error for example in found.counterexamples), default=None)
    laws = ", ".join(law_name(example.law) for example in found.counterexamples)
    return {
        "linearity": found.linearity,
        "equivariant": TEXTS.equivariant_cell(moves.kind),
        "period": TEXTS.period_cell(moves.kind, moves.period, moves.inside),
        "border": str(moves.border),
        "invariant": plain(moves.invariant),
        "response": "no"
        if response is None
        else TEXTS.response_cell(show_shape(response.shape), found.convolution.first),
        "law": "" if worst is None else f"{laws}: {worst:.2g}",
    }


def law_name(law: str) -> str:
    return "f(0) = 0" if law == "zero" else law


def layers_table(net: NetworkMeasures) -> Table:
    """A row for each layer of the trained network, and mode where it has two."""
    rows = []
    for layer in net.layers:
        judged, error = layer["equivariant"] is not None, layer["kernel_error"]
        cells = {
            "equivariant": TEXTS.equivariant_cell(layer["moves"]) if judged else "",
            "period": TEXTS.period_cell(layer["moves"], layer["period"], layer["inside"])
            if judged
            else "",
            "border": str(layer["border"]) if judged else "",
            "invariant": "" if layer["invariant"] is None else plain(layer["invariant"]),
            "response": TEXTS.response_cell(show_shape(layer["response"]), layer["first"])
            if layer["response"]
            else "",
            "kernel_error": None if error is None else float(f"{error:.2g}"),
        }
        rows.append({key: cells.get(key, layer[key]) for key, _, _ in LAYERS_COLUMNS})
    title = f"The layers of the best trained network: {net.label}"
    caption = TEXTS.layers_caption(LAYER_TRIALS, net.left_out)
    return Table("layers", title, LAYERS_COLUMNS, rows, caption)


def shifts_table(net: NetworkMeasures) -> Table:
    """A row for each way to fill the border and number of pixels."""
    rows = []
    for row in net.shifts:
        cells = {key: row.get(key, row["ways"].get(key)) for key, _, _ in SHIFTS_COLUMNS}
        rows.append({**cells, "border": TEXTS.border_name(row["border"])})
    caption = TEXTS.shifts_caption(net.images)
    return Table("shifts", "Predictions on shifted images", SHIFTS_COLUMNS, rows, caption)
