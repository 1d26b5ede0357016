"""Is this operator linear, translation-equivariant, a convolution; with which impulse response?

The theorem with its proof and a numerical check, the operators of the theory measured one by one,
the layers of the best trained network, and what is left of its predictions when images are shifted.
Definitions and proofs: docs/theory.md.
"""

from __future__ import annotations

from convscope.chapters.convolution.analysis import QUESTION, TITLE, finding_of
from convscope.chapters.convolution.answers import OPERATORS, THEOREM
from convscope.chapters.convolution.network import measure_network
from convscope.chapters.convolution.operators import measure_operator, measure_operators
from convscope.chapters.convolution.shifts import measure_shifts
from convscope.chapters.convolution.theorem import check_response
from convscope.planning import Chapter, Context, Request, Wait
from convscope.recipe import Recipe

# the chapter's interface, and what the glossary names beside it
__all__ = ["ASKS", "NEEDS", "QUESTION", "TITLE", "chapter", "forecast"]
__all__ += ["measure_operator", "measure_shifts"]

ASKS = (THEOREM, OPERATORS)

NEEDS: tuple[str, ...] = ("best",)


def forecast(context: Context) -> list[Recipe]:
    """Nothing is trained for this chapter: it looks at the network that the search found."""
    return []


def chapter(context: Context) -> Chapter:
    """Operators by themselves, and the network that the search found, while others train."""
    yield Wait(needs=NEEDS)
    winner, why = None, "the study has no search for the best network (the chapter best)"
    if "best" in context.chapters:
        winner = context.best.run if context.best is not None else None
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
