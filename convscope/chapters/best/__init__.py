"""Which configuration has the lowest error, and which is the smallest that is as good?

A search (search.py) proposes configurations, judged by validation after a few epochs; the strong recipe, which it begins with, and the best others are
trained to the end over all seeds. Winner and smallest are chosen by validation among these and the networks of the capacity chapter.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence

from convscope.chapters.best.choice import candidates, chosen, near
from convscope.chapters.best.clock import latencies_of, latency
from convscope.chapters.best.compared import candidates_table, front_of, pareto_charts, rows_of
from convscope.chapters.best.plan import (
    BATCH,
    PRESETS,
    Preset,
    budget_of,
    finals_of,
    forecast,
    is_final,
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
from convscope.planning import Context, Proposer
from convscope.recipe import Recipe
from convscope.report import Finding
from convscope.statistics import Configuration
from convscope.training import Run

# the chapter's interface, and what the glossary names beside it
__all__ = [
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


def chapter(context: Context) -> Generator[list[Recipe], list[Run], Finding]:
    """Raises UserError where sampler or budget are wrong, or the images leave no room for a network."""
    search = Proposer(context, *budget_of(context), rungs_of(context))
    finals: list[Run] = []
    asked = search.ask(BATCH)
    while asked and not finals:
        runs = yield asked
        finals = [run for run in runs if is_final(run)]  # only where an older search was shorter
        search.tell([run for run in runs if not is_final(run)])
        asked = (
            search.ask(BATCH) if runs else []
        )  # nothing was sent: an interrupted study is told as far as it went
    search.close()
    while not finals:
        runs = yield finals_of(context, search)
        finals = [run for run in runs if is_final(run)]
        if len(finals) == len(runs):
            break
        search.tell(
            [run for run in runs if not is_final(run)]
        )  # only where an older search was longer
    while (
        "capacity" in context.chapters and "capacity" not in context.findings
    ):  # its networks compete with these
        yield []
    capacity = context.findings.get("capacity")
    found = candidates(finals, list(capacity.runs.values()) if capacity else [], context)
    if found:
        context.announced["winner"] = chosen(found)[0].run
    # the others are waited for because latencies are measured where nothing trains meanwhile
    awaited = [
        "receptive_field",
        "ordering",
        *(["nonlinearity"] if context.preset != "full" else []),
    ]
    while any(name in context.chapters and name not in context.findings for name in awaited):
        yield []
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
        runs={"winner": winner.run, "smallest": small.run},
        brief=brief_of(winner, small),
    )
