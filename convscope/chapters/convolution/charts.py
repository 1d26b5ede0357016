"""The chapter's charts of the theorem and of predictions under shifts."""

from __future__ import annotations

from convscope.chapters.convolution.network import NetworkMeasures
from convscope.chapters.convolution.shifts import BORDERS
from convscope.chapters.convolution.theorem import Check
from convscope.chapters.convolution.words import TEXTS, shift_words
from convscope.report import MEASURES, Chart, operator_charts


def response_chart(check: Check) -> Chart:
    """A kernel beside its impulse response, and a signal beside its reconstruction."""
    spec = operator_charts.impulse_response(check.taps, check.signal)
    return Chart("impulse_response", "Impulse response", spec, TEXTS.response_alt(check))


def shifts_chart(net: NetworkMeasures) -> Chart:
    """Shares of predictions unchanged and of right ones against the number of pixels."""
    names = {border: TEXTS.border_name(border) for border in BORDERS}
    rows = [
        {
            "border": names[row["border"]],
            "measure": measure,
            "pixels": row["pixels"],
            "share": row[key],
            "low": row[f"{key}_low"],
            "high": row[f"{key}_high"],
        }
        for row in net.shifts
        for measure, key in zip(MEASURES, ("unchanged", "accuracy"), strict=True)
        if row[key] is not None
    ]
    return Chart(
        "shifts",
        "Predictions and accuracy against the shift",
        operator_charts.shifts(rows, list(names.values())),
        TEXTS.shifts_alt(shift_words(net)),
        TEXTS.shifts_chart_caption(net.images),
    )
