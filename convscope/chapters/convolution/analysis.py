"""From what was measured to the chapter's finding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from convscope.chapters.convolution.answers import change_of, headlines_of
from convscope.chapters.convolution.charts import response_chart, shifts_chart
from convscope.chapters.convolution.examples import counterexample_charts, save_counterexamples
from convscope.chapters.convolution.network import NetworkMeasures, network_numbers
from convscope.chapters.convolution.operators import Measured, operator_numbers
from convscope.chapters.convolution.shifts import BORDERS
from convscope.chapters.convolution.tables import layers_table, operators_table, shifts_table
from convscope.chapters.convolution.theorem import Check
from convscope.chapters.convolution.words import moved_by, paragraphs_of, proof_of, sentence_of
from convscope.planning import Context
from convscope.report import Finding

TITLE = "Convolution"
QUESTION = (
    "Is this operator linear, translation-equivariant, a convolution; with which impulse response, "
    "or with which counterexample?"
)


def finding_of(
    context: Context, check: Check, measured: Sequence[Measured], net: NetworkMeasures
) -> Finding:
    """The finding; counterexamples are saved in the study's folder while it is live."""
    files = save_counterexamples(context, measured)
    tables = [operators_table(measured)]
    charts = [response_chart(check), *counterexample_charts(measured, files)]
    if net.layers:
        tables.append(layers_table(net))
    if moved_by(net, BORDERS[0]):
        tables.append(shifts_table(net))
        charts.append(shifts_chart(net))
    return Finding(
        name="convolution",
        title=TITLE,
        question=QUESTION,
        verdict=verdict_of(measured),
        sentence=sentence_of(measured, net),
        numbers=numbers_of(check, measured, net, files),
        tables=tables,
        charts=charts,
        paragraphs=paragraphs_of(measured, check, net),
        proof=proof_of(),
        headlines=headlines_of(check, measured, net),
        change=change_of(),
        lead="counterexamples",
        explains=("Equivariant and invariant", "Edges"),
    )


def verdict_of(measured: Sequence[Measured]) -> str:
    differing = [one.title for one in measured if one.differs]
    agree = len(measured) - len(differing)
    verdict = f"{agree} of {len(measured)} operators are as the theory says"
    return f"{verdict}; not {', '.join(differing)}" if differing else verdict


def numbers_of(
    check: Check,
    measured: Sequence[Measured],
    net: NetworkMeasures,
    files: dict[tuple[str, str], str],
) -> dict[str, Any]:
    return {
        "agree": sum(not one.differs for one in measured),
        "of": len(measured),
        "operators": {one.name: operator_numbers(one, files) for one in measured},
        "check": {
            "holds": check.holds,
            "kernel": list(check.kernel),
            "kernel_error": check.kernel_error,
            "reconstruction_error": check.reconstruction_error,
        },
        "network": network_numbers(net),
        "shifts": list(net.shifts),
    }
