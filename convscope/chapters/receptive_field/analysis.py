"""One wide layer against a cascade: from runs to the finding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from convscope.chapters.receptive_field.charts import (
    arms_table,
    comparisons_table,
    effects_chart,
    field_charts,
    field_gallery,
)
from convscope.chapters.receptive_field.comparisons import (
    Comparison,
    chosen_head,
    comparisons_of,
    single,
    verdict_of,
)
from convscope.chapters.receptive_field.fields import FeatureField, field_of
from convscope.chapters.receptive_field.plan import HEADS, PRESETS, QUESTION, TITLE, recipes_of
from convscope.chapters.receptive_field.words import (
    brief_of,
    name_of,
    no_answer,
    paragraphs_of,
    sentence_of,
)
from convscope.errors import one_line
from convscope.planning import Chapter, Context, Request, Wait, rates_table, tuned_rates
from convscope.recipe import ConvNet, Model
from convscope.report import Finding
from convscope.statistics import Configuration, configurations, grouped
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
    """What the comparisons say; `pilots` are the short runs that chose the learning rates."""
    name = one_line(context.data.name)
    groups = grouped(runs, lambda run: run.recipe.model)
    found = configurations(groups, context.data, name_of)
    arms = [arm for arm in found.values() if isinstance(arm.model, ConvNet)]
    comparisons = comparisons_of(arms)
    if not comparisons:
        tables = [rates_table(pilots)] if pilots else []
        return Finding(
            "receptive_field", TITLE, QUESTION, "cannot tell", no_answer(name), {}, tables
        )
    fields = {arm.model: field_of(context, arm) for arm in arms}
    choice = chosen_head([arm for arm in arms if single(arm)])
    return Finding(
        "receptive_field",
        TITLE,
        QUESTION,
        verdict_of(comparisons),
        sentence_of(name, comparisons, choice),
        numbers_of(arms, fields, comparisons, choice),
        tables=[
            comparisons_table(comparisons),
            arms_table(arms, fields),
            rates_table(pilots, {arm.model: arm.label for arm in arms}),
        ],
        charts=[effects_chart(comparisons), *field_charts(arms, fields, comparisons)],
        paragraphs=paragraphs_of(context, arms, comparisons, choice),
        galleries=field_gallery(context, arms, fields),
        brief=brief_of(comparisons),
    )


def numbers_of(
    arms: Sequence[Configuration],
    fields: dict[Model, FeatureField],
    comparisons: Sequence[Comparison],
    choice: Configuration | None,
) -> dict[str, Any]:
    """For results.json. choice: the best single layer by validation."""
    chosen = None
    if choice is not None:
        head = HEADS[choice.convnet.head]
        chosen = {"head": head, "network": choice.label, **choice.numbers()}
    return {
        "comparisons": [comparison.row() for comparison in comparisons],
        "choice": chosen,
        "arms": [
            {
                **arm.numbers(),
                "kernel": arm.convnet.kernel,
                "head": arm.convnet.head,
                "depth": arm.convnet.depth,
                "theoretical_field": fields[arm.model].theoretical,
                "effective_field": fields[arm.model].side,
            }
            for arm in arms
        ],
        "seeds": min(arm.test_accuracy.n for arm in arms),
    }
