"""Is this operator linear, translation-equivariant, a convolution; with which impulse response, or with which counterexample?

The theorem with its proof and a numerical check, the operators of the theory measured one by one, the layers of the best trained network,
and what is left of its predictions when images are shifted. Definitions and proofs: docs/theory.md.
"""

from __future__ import annotations

from collections.abc import Sequence

from convscope.chapters.convolution.examples import counterexample_charts, save_counterexamples
from convscope.chapters.convolution.network import Network, measure_network, network_numbers
from convscope.chapters.convolution.operators import (
    Measured,
    measure_operator,
    measure_operators,
    operator_numbers,
    operators_sentence,
    operators_table,
)
from convscope.chapters.convolution.shifts import BORDERS, measure_shifts
from convscope.chapters.convolution.theorem import PROOF, Check, check_response, check_words
from convscope.chapters.convolution.words import (
    layers_table,
    network_sentence,
    paragraphs_of,
    rows_of,
    shifts_chart,
    shifts_table,
)
from convscope.planning import Chapter, Context, Request, Wait
from convscope.recipe import Recipe
from convscope.report import Chart, Finding
from convscope.report import operator_charts as charts_operators

# the chapter's interface, and what the glossary names beside it
__all__ = [
    "NEEDS",
    "QUESTION",
    "TITLE",
    "chapter",
    "forecast",
    "measure_operator",
    "measure_shifts",
]

TITLE = "Convolution"
QUESTION = "Is this operator linear, translation-equivariant, a convolution; with which impulse response, or with which counterexample?"

NEEDS: tuple[str, ...] = ("best",)


def forecast(context: Context) -> list[Recipe]:
    """Nothing is trained for this chapter: it looks at the network that the search found."""
    return []


def chapter(context: Context) -> Chapter:
    """Operators by themselves, and the network that the search found, while others train."""
    yield Wait(needs=NEEDS)
    winner, why = None, "the study has no search for the best network (the chapter best)"
    if "best" in context.chapters:
        winner = context.best.winner if context.best is not None else None
        why = "the search has no winner that was trained"
    if winner is not None:
        # finished: it is read, so that the report counts it as used here, too
        answer = yield [Request([winner.recipe], "final")]
        runs = answer.of("final")
        winner = next((run for run in runs if run.recipe == winner.recipe), winner)
        if winner.status != "finished":
            winner, why = None, f"the run of the best network {winner.status.replace('_', ' ')}"
    check, operators = check_response(), measure_operators()
    return finding_of(context, check, operators, measure_network(context, winner, why))


def finding_of(
    context: Context, check: Check, measured: Sequence[Measured], net: Network
) -> Finding:
    files = save_counterexamples(context, measured)
    differing = [one for one in measured if one.differs]
    agree = len(measured) - len(differing)
    verdict = f"{agree} of {len(measured)} operators are as the theory says"
    if differing:
        verdict += f"; not {', '.join(one.title for one in differing)}"
    alt = f"A kernel of five taps beside the response to an impulse: the same values in reverse order. Right: L[x] of a random signal and x ∗ h. {check_words(check)}"
    response = Chart(
        "impulse_response",
        "Impulse response",
        charts_operators.impulse_response(check.taps, check.signal),
        alt,
    )
    tables = [operators_table(measured)]
    charts = [response, *counterexample_charts(measured, files)]
    if net.layers:
        tables.append(layers_table(net))
    if rows_of(net, BORDERS[0]):
        tables.append(shifts_table(net))
        charts.append(shifts_chart(net))
    return Finding(
        name="convolution",
        title=TITLE,
        question=QUESTION,
        verdict=verdict,
        sentence=f"{operators_sentence(measured)} {network_sentence(net)}",
        numbers={
            "agree": agree,
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
        },
        tables=tables,
        charts=charts,
        paragraphs=paragraphs_of(measured, check, net),
        proof=list(PROOF),
    )
