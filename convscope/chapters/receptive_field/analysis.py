"""One wide layer against a cascade: from runs to the finding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from convscope.chapters.receptive_field.answers import change_of, headlines_of
from convscope.chapters.receptive_field.arms import Arms, head_of, is_single
from convscope.chapters.receptive_field.charts import (
    accuracy_chart,
    arms_table,
    comparisons_table,
    effects_chart,
    field_gallery,
    sides_chart,
)
from convscope.chapters.receptive_field.comparisons import (
    Question,
    chosen,
    comparisons_of,
    heads_of,
    path_of,
    question_of,
)
from convscope.chapters.receptive_field.fields import FeatureField, field_of
from convscope.chapters.receptive_field.layers import layer_gallery
from convscope.chapters.receptive_field.plan import (
    QUESTION,
    TITLE,
    network_of_question_1,
    planned_arms,
    preset_in,
    recipes_of,
    shared_rate,
)
from convscope.chapters.receptive_field.words import (
    TEXTS,
    Evidence,
    brief_of,
    name_of,
    no_answer,
    paragraphs_of,
    reason_of,
    sentence_of,
)
from convscope.errors import one_line
from convscope.planning import Chapter, Context, Request, Wait, final_arms, rates_table, tuned_rates
from convscope.recipe import ConvNet, Model
from convscope.report import Finding, Table
from convscope.statistics import Configuration, configurations, grouped
from convscope.training import Run


def chapter(context: Context) -> Chapter:
    """Single layers and cascades, then the network of question 1, trained like them."""
    preset, arms = preset_in(context), planned_arms(context)
    tuned = yield from tuned_rates(context, recipes_of(context, arms.tuned), preset.rates)
    rates: dict[Model, float] = {
        model: rate
        for part in arms.series
        if (rate := shared_rate(tuned.pilots, (part[0], part[-1]))) is not None
        for model in part
    }
    wanted = final_arms(
        context,
        recipes_of(context, arms.models),
        lambda model: rates.get(model, tuned.rate(model)),
        preset.seeds,
    )
    answer = yield [Request(wanted, "final")]
    runs, pilots = answer.of("final"), list(tuned.pilots)
    yield Wait(needs=("capacity", "best"))
    net, _ = network_of_question_1(context)
    if net not in arms.models:
        recipes = recipes_of(context, [net])
        tuned = yield from tuned_rates(context, recipes, preset.rates)
        wanted = final_arms(context, recipes, tuned.rate, preset.seeds)
        answer = yield [Request(wanted, "final")]
        runs, pilots = runs + answer.of("final"), pilots + list(tuned.pilots)
    return finding(context, arms, pilots, runs)


def finding(context: Context, arms: Arms, pilots: Sequence[Run], runs: Sequence[Run]) -> Finding:
    """What the comparisons say; `pilots` are the short runs that chose the learning rates."""
    name = one_line(context.data.name)
    groups = grouped(runs, lambda run: run.recipe.model)
    everything = configurations(groups, context.data, name_of)
    found: dict[Model, Configuration] = {
        model: one for model, one in everything.items() if isinstance(model, ConvNet)
    }
    if len(found) < 2:
        tables = [rates_table(pilots)] if pilots else []
        return Finding(
            "receptive_field",
            TITLE,
            QUESTION,
            "cannot tell",
            no_answer(name),
            {},
            tables,
            headlines=headlines_of(Question("cannot tell", False, None, None, None), ""),
        )
    every = list(found.values())
    fields: dict[Model, FeatureField] = {one.model: field_of(context, one) for one in every}
    comparisons = comparisons_of(
        arms, found, {model: field.theoretical for model, field in fields.items()}
    )
    net, source = network_of_question_1(context)
    question = question_of(found.get(net), every)
    heads, path = heads_of(comparisons), path_of(arms, comparisons)
    told = Evidence(question, source, heads, comparisons, path, fields, every)
    effects = [effects_chart(comparisons, fields)] if comparisons else []
    return Finding(
        "receptive_field",
        TITLE,
        QUESTION,
        question.word,
        sentence_of(context, name, told),
        numbers_of(every, told),
        tables=[
            *([comparisons_table(comparisons)] if comparisons else []),
            arms_table(every, fields),
            shared_rates_table(pilots, every),
        ],
        charts=[*effects, *accuracy_chart(arms.series, found), *sides_chart(every, fields)],
        paragraphs=paragraphs_of(context, every, told),
        galleries=[
            *layer_gallery(context, every, fields),
            *field_gallery(context, every, fields),
        ],
        brief=brief_of(question),
        headlines=headlines_of(question, reason_of(context, question)),
        change=change_of(question),
        lead="effects" if effects else "networks",
        explains=("Reading it", "Heads", "Effective fields"),
    )


def shared_rates_table(pilots: Sequence[Run], arms: Sequence[Configuration]) -> Table:
    """The rates that were tried, with those that the networks were trained at."""
    table = rates_table(pilots, {arm.model: arm.label for arm in arms})
    used = {arm.label: arm.rate for arm in arms}
    rows = [{**row, "chosen": used.get(row["network"], row["chosen"])} for row in table.rows]
    return replace(table, rows=rows, caption=f"{table.caption} {TEXTS.shared_rates()}")


def numbers_of(arms: Sequence[Configuration], told: Evidence) -> dict[str, Any]:
    """For results.json."""
    choice = chosen([arm for arm in arms if is_single(arm.convnet)])
    heads = told.heads
    return {
        "question_1": {**told.question.numbers(), "source": told.source},
        "comparisons": [comparison.row() for comparison in told.comparisons],
        "head_choice": None
        if heads is None
        else {
            "head": "FC" if heads.chosen.convnet.head == "flatten" else "GAP",
            "by": heads.by,
            "network": heads.chosen.label,
            "parameters": [heads.chosen.parameters, heads.other.parameters],
            "flops": [heads.chosen.flops, heads.other.flops],
            "word": heads.comparison.word,
        },
        "choice": None
        if choice is None
        else {"head": head_of(choice.convnet), "network": choice.label, **choice.numbers()},
        "arms": [arm_numbers(arm, told.fields) for arm in arms],
        "seeds": min(arm.test_accuracy.n for arm in arms),
    }


def arm_numbers(arm: Configuration, fields: Mapping[Model, FeatureField]) -> dict[str, Any]:
    """A network for results.json."""
    model, field = arm.convnet, fields[arm.model]
    difference = field.difference
    return {
        **arm.numbers(),
        "kernel": model.kernel,
        "dilations": list(model.block_dilations),
        "filters": arm.filters,
        "head": model.head,
        "depth": model.depth,
        "theoretical_field": field.theoretical,
        "effective_field": field.side,
        "effective_field_untrained": field.side_before,
        "effective_field_change": None if difference is None else list(difference),
    }
