"""Which configuration has the lowest error, and which is the smallest that is as good?

A search (convscope/planning/search.py) proposes configurations, judged by validation after a few
epochs; the reference recipe, which it begins with, and the best others are trained to the end over
all seeds. Winner and smallest are chosen by validation among these and the networks of the capacity
chapter.
"""

from __future__ import annotations

from collections.abc import Sequence

from convscope.chapters.best.choice import candidates, chosen, near
from convscope.chapters.best.clock import latencies_of, latency
from convscope.chapters.best.compared import candidates_table, front_of, pareto_charts, rows_of
from convscope.chapters.best.plan import (
    BATCH,
    NEEDS,
    PRESETS,
    Preset,
    budget_of,
    finals_of,
    forecast,
    rungs_of,
)
from convscope.chapters.best.trials import search_numbers, search_tables, trial_charts
from convscope.chapters.best.winner import confusion_chart, pictures_of
from convscope.chapters.best.words import (
    brief_of,
    figures,
    nothing_finished,
    selection_of,
    sentence_of,
    strategy_of,
    verdict_of,
)
from convscope.errors import one_line
from convscope.planning import Chapter, Context, Give, Proposer, Request, Wait
from convscope.report import BestResult, Finding
from convscope.statistics import Configuration
from convscope.training import Run

# the chapter's interface, and what the glossary names beside it
__all__ = [
    "NEEDS",
    "PRESETS",
    "QUESTION",
    "TITLE",
    "Preset",
    "chapter",
    "confusion_chart",
    "forecast",
    "front_of",
    "latency",
]

TITLE = "Best network"
QUESTION = "Which configuration has the lowest error, and which is the smallest that is as good?"


def chapter(context: Context) -> Chapter:
    """The search, then the best of its trials and the reference recipe to the end.

    Raises UserError where sampler or budget are wrong, or the images leave no room for a network.
    """
    search = Proposer(context, *budget_of(context), rungs_of(context))
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
    found = candidates(finals, context.capacity.runs if context.capacity else (), context)
    if found:
        winner, small = chosen(found)
        yield Give(BestResult(winner.run, small.run))
    yield Wait(quiet=True)  # latencies are measured where nothing trains meanwhile
    return finding(context, search, finals, found)


def finding(
    context: Context, search: Proposer, finals: Sequence[Run], found: Sequence[Configuration]
) -> Finding:
    importance = search.importance()
    told = search_numbers(context, search, importance)
    tables, charts = search_tables(search), trial_charts(search, importance)
    strategy = strategy_of(context, search, importance)
    name = one_line(context.data.name)
    if not found:
        sentence = nothing_finished(name, finals)
        numbers = {
            **told,
            "winner": None,
            "smallest": None,
            "test_loss": None,
            "test_accuracy": None,
            "configurations": [],
        }
        return Finding(
            "best", TITLE, QUESTION, "cannot tell", sentence, numbers, tables, charts, strategy
        )
    winner, small = chosen(found)
    latencies = latencies_of(context, found)
    seen, galleries, missing = pictures_of(context, winner)
    numbers = {
        **told,
        "winner": winner.run.id,
        "smallest": small.run.id,
        "winner_label": winner.label,
        "smallest_label": small.label,
        **figures(winner, ""),
        **figures(small, "smallest_"),
        "configurations": [
            row | {"runs": [run.id for run in c.runs]}
            for c, row in zip(found, rows_of(found, latencies), strict=True)
        ],
        "not_told_apart": [c.label for c in near(winner, found)],
    }
    return Finding(
        "best",
        TITLE,
        QUESTION,
        verdict_of(winner, small, found),
        sentence_of(name, winner, small, found, search),
        numbers,
        tables=[candidates_table(found, latencies), *tables],
        charts=[*pareto_charts(found, latencies, winner, small), *charts, *seen],
        paragraphs=[*strategy, *selection_of(context, winner, found, latencies), *missing],
        galleries=galleries,
        gives=BestResult(winner.run, small.run),
        brief=brief_of(winner, small),
    )
