"""One wide layer against a cascade: from runs to the finding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from convscope import planning as plans
from convscope.chapters.receptive_field.charts import (
    arms_table,
    comparisons_table,
    effects_chart,
    field_charts,
    field_gallery,
)
from convscope.chapters.receptive_field.comparisons import (
    chosen_head,
    comparisons_of,
    single,
    spec,
    verdict_of,
)
from convscope.chapters.receptive_field.fields import field_of
from convscope.chapters.receptive_field.plan import HEADS, PRESETS, QUESTION, TITLE, recipes_of
from convscope.chapters.receptive_field.words import brief_of, name_of, paragraphs_of, sentence_of
from convscope.errors import one_line
from convscope.planning import Chapter, Context, Request, Wait, tuned_rates
from convscope.planning import arms as experiment
from convscope.recipe import ConvNet
from convscope.report import Finding
from convscope.training import Run


def chapter(context: Context) -> Chapter:
    """Single wide layers and cascades, among these the network that capacity found."""
    yield Wait(needs=("capacity",))
    preset, recipes = PRESETS[context.preset], recipes_of(context)
    tuned = yield from tuned_rates(context, recipes, preset.rates)
    wanted = [
        replace(r, lr=tuned.rate(r.model), seed=seed) for r in recipes for seed in context.seeds
    ]
    answer = yield [Request(wanted, "final")]
    return finding(context, tuned.pilots, answer.of("final"))


def finding(context: Context, pilots: Sequence[Run], runs: Sequence[Run]) -> Finding:
    name = one_line(context.data.name)
    found = experiment.arms_of(context, runs, name_of)
    arms = [arm for arm in found.values() if isinstance(arm.model, ConvNet)]
    comparisons = comparisons_of(arms)
    if not comparisons:
        sentence = f"On {name} too few of the networks were trained to the end to compare one wide layer with a cascade."
        return Finding(
            "receptive_field",
            TITLE,
            QUESTION,
            "cannot tell",
            sentence,
            {},
            [plans.rates_table(pilots)] if pilots else [],
        )
    fields = {arm.model: field_of(context, arm) for arm in arms}
    choice = chosen_head([a for a in arms if single(a)])
    numbers = {
        "comparisons": [c.row() for c in comparisons],
        "choice": None
        if choice is None
        else {"head": HEADS[spec(choice).head], "network": choice.label, **choice.numbers()},
        "arms": [
            {
                **arm.numbers(),
                "kernel": spec(arm).kernel,
                "head": spec(arm).head,
                "depth": spec(arm).depth,
                "theoretical_field": fields[arm.model].theoretical,
                "effective_field": fields[arm.model].side,
            }
            for arm in arms
        ],
        "seeds": min(a.accuracy.n for a in arms),
    }
    return Finding(
        "receptive_field",
        TITLE,
        QUESTION,
        verdict_of(comparisons),
        sentence_of(name, comparisons, choice),
        numbers,
        tables=[
            comparisons_table(comparisons),
            arms_table(arms, fields),
            plans.rates_table(pilots, {a.model: a.label for a in arms}),
        ],
        charts=[effects_chart(comparisons), *field_charts(arms, fields, comparisons)],
        paragraphs=paragraphs_of(context, arms, comparisons, choice),
        galleries=field_gallery(context, arms, fields),
        brief=brief_of(comparisons),
    )
