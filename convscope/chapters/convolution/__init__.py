"""Is this operator linear, translation-equivariant, a convolution; with which impulse response?

The theorem with its proof and a numerical check, the operators of the theory measured one by one,
the layers of the best trained network, and what is left of its predictions when images are shifted.
Definitions and proofs: docs/theory.md.
"""

from __future__ import annotations

from collections.abc import Generator

from convscope.chapters.convolution.analysis import QUESTION, TITLE, finding_of
from convscope.chapters.convolution.network import measure_network
from convscope.chapters.convolution.operators import Measured, measure_operator, measure_operators
from convscope.chapters.convolution.shifts import measure_shifts
from convscope.chapters.convolution.theorem import Check, check_response
from convscope.planning import Context
from convscope.recipe import Recipe
from convscope.report import Finding
from convscope.training import Run

# the chapter's interface, and what the glossary names beside it
__all__ = ["QUESTION", "TITLE", "chapter", "forecast", "measure_operator", "measure_shifts"]


def forecast(context: Context) -> list[Recipe]:
    """Nothing is trained for this chapter: it looks at the network that the search found."""
    return []


def chapter(context: Context) -> Generator[list[Recipe], list[Run], Finding]:
    yield []
    winner, why = None, "the study has no search for the best network (the chapter best)"
    measured: tuple[Check, list[Measured]] | None = None
    if "best" in context.chapters:
        while "best" not in context.findings:
            known = context.announced.get("winner")
            if (
                known is not None and context.live
            ):  # measured while other chapters' networks are trained
                measured = measured or (check_response(), measure_operators())
                measure_network(context, known, "")
            yield []
        winner, why = (
            context.findings["best"].runs.get("winner"),
            "the search has no winner that was trained",
        )
    if winner is not None:
        runs = yield [
            winner.recipe
        ]  # finished: it is read, so that the report counts it as used here, too
        winner = next((run for run in runs if run.recipe == winner.recipe), winner)
    if winner is not None and winner.status != "finished":
        winner, why = None, f"the run of the best network {winner.status.replace('_', ' ')}"
    check, operators = measured or (check_response(), measure_operators())
    return finding_of(context, check, operators, measure_network(context, winner, why))
