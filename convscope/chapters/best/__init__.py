"""Which configuration has the lowest error, and which is the smallest that is as good?

A pilot tells whether images may be mirrored. A search (convscope/planning/search.py) proposes
configurations, judged by validation after a few epochs; the reference recipe, which it begins with,
and the best others are trained to the end. Winner and smallest are chosen by validation among these
and the networks of the capacity chapter, and trained anew with seeds that chose nothing: those
figures are quoted.
"""

from __future__ import annotations

from collections.abc import Sequence

from convscope.chapters.best.answers import (
    BEST,
    SMALLEST,
    change_of,
    headlines_of,
    nothing_told,
    recommended_of,
)
from convscope.chapters.best.choice import candidates, selection_of
from convscope.chapters.best.clock import latencies_of, latency
from convscope.chapters.best.compared import candidates_table, front_of, pareto_charts, rows_of
from convscope.chapters.best.device import (
    Fitted,
    device_numbers,
    device_table,
    device_text,
    fitted_of,
    sentence_of_device,
    that_fit,
    twice_of,
)
from convscope.chapters.best.doubts import doubts_of
from convscope.chapters.best.flips import Flips, piloted_flips
from convscope.chapters.best.outcome import Outcome, fresh_table, given_by
from convscope.chapters.best.plan import (
    BATCH,
    NEEDS,
    PRESETS,
    Preset,
    budget_of,
    finals_of,
    forecast,
    fresh_of,
    limit_of,
    rungs_of,
)
from convscope.chapters.best.trials import search_numbers, search_tables, trial_charts
from convscope.chapters.best.winner import class_names, confusion_chart, pictures_of
from convscope.chapters.best.words import (
    brief_of,
    nothing_finished,
    selection_text,
    sentence_of,
    strategy_of,
    verdict_of,
)
from convscope.errors import one_line
from convscope.planning import Chapter, Context, Give, Proposer, Request, Wait
from convscope.report import BestResult, Finding
from convscope.training import Run

# the chapter's interface, and what the glossary names beside it
__all__ = ["ASKS", "NEEDS", "PRESETS", "QUESTION", "TITLE", "Preset", "chapter", "forecast"]
__all__ += ["confusion_chart", "fresh_of", "front_of", "latency", "piloted_flips", "selection_of"]

ASKS = (BEST, SMALLEST)
TITLE = "Best network"
QUESTION = "Which configuration has the lowest error, and which is the smallest that is as good?"


def chapter(context: Context) -> Chapter:
    """The search, then the best of its trials and the reference recipe to the end, then winner and
    smallest anew.

    Raises UserError where sampler or budget are wrong, or the images leave no room for a network.
    """
    # begun before the pilot, so that wrong options are refused before anything is trained
    search = begun(context)
    flips = yield from piloted_flips(context)
    if not flips.allowed:
        search = begun(context, flips=False)
    asked = search.ask(BATCH)
    while asked:
        answer = yield [Request(asked, "trial")]
        runs = answer.of("trial")
        search.tell(runs)
        # nothing was sent: an interrupted study is told as far as it went
        asked = search.ask(BATCH) if runs else []
    search.close()
    answer = yield [Request(finals_of(context, search), "final")]
    if trials := answer.of("trial"):  # those that the search made in its time, and not today
        search.tell(trials)
    finals = answer.of("final")
    yield Wait(needs=("capacity",))  # its networks compete with these
    every = candidates(finals, context.capacity.runs if context.capacity else (), context)
    found, outside = that_fit(context, every)
    if not found:
        yield Wait(quiet=True)
        return nothing_found(context, search, finals, flips)
    selection = selection_of(found, context)
    gives = given_by(context, selection)
    yield Give(gives)
    chosen = [selection.winner.recipe, selection.smallest.recipe]
    wider = twice_of(context, selection.winner.recipe)
    chosen += [] if wider is None else [wider]
    answer = yield [Request(fresh_of(context, chosen), "final")]
    fresh = answer.of("final")
    outcome = Outcome.of(context, selection, fresh)
    yield Wait(quiet=True)  # latencies are measured where nothing trains meanwhile
    fitted = fitted_of(context, outcome, fresh, outside)
    return finding(context, search, outcome, flips, gives, fitted)


def begun(context: Context, flips: bool = True) -> Proposer:
    """A search that has proposed nothing yet; flips: whether images may be mirrored."""
    trials, seconds = budget_of(context)
    return Proposer(
        context, trials, seconds, rungs_of(context), flips=flips, limit=limit_of(context)
    )


def nothing_found(
    context: Context, search: Proposer, finals: Sequence[Run], flips: Flips
) -> Finding:
    """The finding where no run to the end has finished."""
    importance = search.importance()
    numbers = {
        **search_numbers(context, search, importance),
        "flips": flips.numbers(),
        "winner": None,
        "smallest": None,
        "test_loss": None,
        "test_accuracy": None,
        "configurations": [],
    }
    return Finding(
        "best",
        TITLE,
        QUESTION,
        "cannot tell",
        nothing_finished(one_line(context.data.name), finals),
        numbers,
        search_tables(search),
        trial_charts(search, importance),
        strategy_of(context, search, importance, flips),
        headlines=nothing_told(len(finals)),
    )


def finding(
    context: Context,
    search: Proposer,
    outcome: Outcome,
    flips: Flips,
    gives: BestResult,
    fitted: Fitted | None,
) -> Finding:
    importance, selection = search.importance(), outcome.selection
    found = selection.found
    latencies = latencies_of(context, found)
    seen, galleries, missing = pictures_of(context, outcome.winner)
    doubts, doubted, on_doubts = doubts_of(context, outcome, class_names(context))
    rows = rows_of(selection, latencies, found)
    numbers = {
        **search_numbers(context, search, importance),
        "flips": flips.numbers(),
        **outcome.numbers(),
        **device_numbers(fitted, outcome),
        **doubts,
        "affordable": gives.affordable.id if gives.affordable is not None else None,
        "configurations": [
            row | {"runs": [run.id for run in c.runs]} for c, row in zip(found, rows, strict=True)
        ],
    }
    told = sentence_of(one_line(context.data.name), outcome, search)
    return Finding(
        "best",
        TITLE,
        QUESTION,
        verdict_of(outcome),
        f"{told} {sentence_of_device(fitted, outcome)}".rstrip(),
        numbers,
        tables=[
            fresh_table(outcome),
            *device_table(context, fitted, outcome),
            candidates_table(selection, latencies),
            *search_tables(search),
        ],
        charts=[
            *pareto_charts(found, latencies, selection.winner, selection.smallest),
            *trial_charts(search, importance),
            *seen,
        ],
        paragraphs=[
            *strategy_of(context, search, importance, flips),
            *selection_text(context, outcome, latencies, gives),
            *device_text(context, fitted, selection),
            *on_doubts,
            *missing,
        ],
        galleries=[*galleries, *doubted],
        gives=gives,
        brief=brief_of(outcome),
        headlines=headlines_of(outcome),
        change=change_of(outcome, len(search.tried)),
        lead="pareto_parameters",
        explains=("What it can't tell", "Limits of the search"),
        recommended=recommended_of(outcome),
    )
