"""What was measured, in tables and words: the trained network's layers, its predictions on shifted images, and the paragraphs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from convscope.chapters.convolution.layers import LAYER_TRIALS
from convscope.chapters.convolution.network import Network
from convscope.chapters.convolution.operators import Measured, plain, translation_words
from convscope.chapters.convolution.shifts import BORDERS, DIRECTIONS
from convscope.chapters.convolution.theorem import Check, against_kernel, check_words
from convscope.probes.trials import show_shape
from convscope.report import MEASURES, Chart, Table
from convscope.report import operator_charts as charts_operators

BORDER_WORDS = {"circular": "circular shift", "edge": "edge pixels repeated"}

# layers


def layers_table(net: Network) -> Table:
    columns = (
        ("layer", "layer", "text"),
        ("kind", "kind", "text"),
        ("sizes", "in the network", "text"),
        ("mode", "mode", "text"),
        ("linearity", "linear", "text"),
        ("equivariant", "translation-equivariant", "text"),
        ("period", "period", "text"),
        ("border", "border", "text"),
        ("response", "impulse response of f − f(0)", "text"),
        ("kernel_error", "against the flipped kernel", "float"),
    )
    rows = []
    for layer in net.layers:
        judged = layer["equivariant"] is not None
        shown = {
            "equivariant": plain(layer["equivariant"]) if judged else "",
            "period": plain(layer["period"]) if judged else "",
            "border": str(layer["border"]) if judged else "",
            "response": show_shape(layer["response"]) if layer["response"] else "",
            "kernel_error": None
            if layer["kernel_error"] is None
            else float(f"{layer['kernel_error']:.2g}"),
        }
        rows.append({key: shown.get(key, layer[key]) for key, _, _ in columns})
    caption = (
        f"Each distinct module with its trained weights and the channels it has, measured on small maps in float64, {LAYER_TRIALS} trials each. Layers whose input or output has no two axes "
        "of positions are judged for linearity alone. The last column is the largest difference of a convolution's recovered response and its kernel flipped, relative to the largest weight."
    )
    if net.left_out:
        caption += f" Left out: {', '.join(net.left_out)}."
    return Table(
        "layers", f"The layers of the best trained network: {net.label}", columns, rows, caption
    )


def kinds_of(layers: Sequence[dict[str, Any]]) -> str:
    """As "2 × Conv2d: affine, equivariant but for a border of 1; MaxPool(2): nonlinear, not equivariant, period 2"."""
    counted = Counter((layer["kind"], layer["mode"], layer_words(layer)) for layer in layers)
    both = {kind for kind, mode, _ in counted if mode == "training"}
    parts = []
    for (kind, mode, words), count in counted.items():
        when = f" in {mode} mode" if kind in both else ""
        parts.append(f"{f'{count} × ' if count > 1 else ''}{kind}{when}: {words}")
    return "; ".join(parts)


def layer_words(layer: dict[str, Any]) -> str:
    if layer["equivariant"] is None:
        return layer["linearity"]
    return f"{layer['linearity']}, {translation_words(layer['equivariant'], layer['period'], layer['border'])}"


def layers_words(net: Network) -> str:
    if not net.layers:
        return f"Layers. In a quick look, no layer of {net.label} could be measured." + (
            f" Left out: {', '.join(net.left_out)}." if net.left_out else ""
        )
    text = f"Layers. As measured with their trained weights: {kinds_of(net.layers)}."
    found = [layer["kernel_error"] for layer in net.layers if layer["kernel_error"] is not None]
    convolutions = sum(1 for layer in net.layers if layer["kind"] == "Conv2d")
    if convolutions:
        text += f" An impulse response (of f − f(0), a bias apart) was recovered from {len(found)} of {convolutions} convolutions"
        text += f"; it {against_kernel(max(found))}." if found else "."
    return text


# shifts


def shifts_table(net: Network) -> Table:
    columns = (
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
    rows = [
        {
            **{key: row.get(key, row["ways"].get(key)) for key, _, _ in columns},
            "border": BORDER_WORDS[row["border"]],
        }
        for row in net.shifts
    ]
    caption = f"Of {net.images:,} test images, means over the four directions in which the picture is moved; the four columns are the shares of unchanged predictions for each. Intervals are Wilson's for {net.images:,} images."
    return Table("shifts", "Predictions on shifted images", columns, rows, caption)


def shifts_chart(net: Network) -> Chart:
    keys = {MEASURES[0]: "unchanged", MEASURES[1]: "accuracy"}
    rows = [
        {
            "border": BORDER_WORDS[row["border"]],
            "measure": measure,
            "pixels": row["pixels"],
            "share": row[key],
            "low": row[f"{key}_low"],
            "high": row[f"{key}_high"],
        }
        for row in net.shifts
        for measure, key in keys.items()
        if row[key] is not None
    ]
    return Chart(
        "shifts",
        "Predictions and accuracy against the shift",
        charts_operators.shifts(rows, [BORDER_WORDS[border] for border in BORDERS]),
        f"Shares of test images against the shift in pixels, left for circular shifts, right with edge pixels repeated. {shift_words(net)}",
        f"{net.images:,} test images, means over four directions, bars: 95 % intervals.",
    )


def percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def span(row: dict[str, Any], key: str) -> str:
    return f"{percent(row[key])} (95 %: {100 * row[f'{key}_low']:.1f} to {percent(row[f'{key}_high'])})"


def shift_words(net: Network) -> str:
    """What shifts do to predictions, by the smallest and by the largest one, for both ways to fill the border."""
    return ". ".join(border_words(net, border) for border in BORDERS if rows_of(net, border)) + "."


def rows_of(net: Network, border: str) -> list[dict[str, Any]]:
    return [row for row in net.shifts if row["border"] == border and row["pixels"] > 0]


def border_words(net: Network, border: str) -> str:
    rows = rows_of(net, border)
    ends = rows[:1] if len(rows) == 1 else [rows[0], rows[-1]]
    kept = " and ".join(f"{span(row, 'unchanged')} for {pixels(row['pixels'])}" for row in ends)
    head = BORDER_WORDS[border]
    return f"{head[0].upper()}{head[1:]}: predictions unchanged {kept}; {change_words(rows[-1], net.images)}"


def change_words(row: dict[str, Any], images: int) -> str:
    change, low, high, by = (
        row["change"],
        row["change_low"],
        row["change_high"],
        pixels(row["pixels"]),
    )
    if low is None:
        return f"what {by} do to accuracy can't be told from {images:,} image{'' if images == 1 else 's'}"
    if low == high == 0:
        return f"by {by}, every image is judged as rightly or wrongly as before"
    if low <= 0 <= high:
        told = f"{100 * change:+.1f} points (95 %: {100 * low:+.1f} to {100 * high:+.1f})".replace(
            "-", "−"
        )
        return f"by {by}, accuracy changes by {told}, no difference that {images:,} image{'s' if images > 1 else ''} can show"
    verb, sign = ("falls", -1) if change < 0 else ("rises", 1)
    ends = sorted((100 * sign * low, 100 * sign * high))
    return f"by {by}, accuracy {verb} by {100 * abs(change):.1f} points (95 %: {ends[0]:.1f} to {ends[1]:.1f})"


def pixels(count: int) -> str:
    return f"{count} pixel{'' if count == 1 else 's'}"


# sentences


def network_sentence(net: Network) -> str:
    if net.run is None:
        return f"Of a trained network nothing can be said: {net.why}."
    if net.shifts_why:
        return f"Whether predictions of the best network ({net.label}) hold under shifts can't be told: {net.shifts_why}."
    if not rows_of(net, BORDERS[0]):
        return f"The images are too small to be shifted, so whether predictions of the best network ({net.label}) hold can't be told."
    told = border_words(net, BORDERS[0])
    return f"The best network ({net.label}) on {net.images:,} shifted test images, mean of four directions: {told[0].lower()}{told[1:]}."


def paragraphs_of(measured: Sequence[Measured], check: Check, net: Network) -> list[str]:
    test = next((one.found.linearity_test for one in measured if one.found is not None), None)
    out = [
        f"Check of the theorem. {check_words(check)} The chart shows the same on a line of 24 points."
    ]
    if test is not None:
        low, high = test.scales
        out.append(
            f"Operators. Each is tried on {test.trials} pairs of inputs of {len(test.kinds)} kinds ({', '.join(test.kinds)}) and of magnitudes {low:g} to {high:g}, with positive and negative factors apart, and on "
            "circular shifts, in float64. Where a law fails, the input that shows it is made as small as it can be. A verdict “nonlinear” or “not equivariant” is a "
            f"proof up to the tolerance of {test.tolerance:g}; “linear”, “affine” and “equivariant” mean that no counterexample was found."
        )
    if net.run is None:
        return [
            *out,
            f"Trained network. {net.why[:1].upper()}{net.why[1:]}; the theorem and the operators don't need one.",
        ]
    out.append(layers_words(net))
    if net.shifts_why:
        out.append(f"Shifts. Predictions could not be taken: {net.shifts_why}.")
    elif rows_of(net, BORDERS[0]):
        out.append(
            f"Shifts. {net.images:,} test images are moved by up to {max(row['pixels'] for row in net.shifts)} pixels right, left, down and up, once circularly, once with the edge pixels repeated. {shift_words(net)} "
            "A network whose convolutions are equivariant need not be: padding and pooling break the condition, and so does a fully connected layer, which weighs each position by itself. "
            "The shares are of one trained network (one seed); the intervals are of the finite number of images."
        )
    return out
