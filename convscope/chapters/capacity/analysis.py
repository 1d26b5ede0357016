"""How many filters, layers and parameters: from runs to the finding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from convscope import planning as plans
from convscope.chapters.capacity.charts import charts_of, networks_table
from convscope.chapters.capacity.plan import (
    PRESETS,
    QUESTION,
    TITLE,
    references_of,
    sweep_of,
    sweeps_of,
    tuned_of,
)
from convscope.chapters.capacity.words import (
    kind_of,
    paragraphs_of,
    percent,
    sentence_of,
    sweeps_among,
    words_of_sweep,
)
from convscope.errors import one_line
from convscope.planning import Chapter, Context, Request, transferred, tuned_rates
from convscope.report import CapacityResult, Finding
from convscope.statistics import learning_curves as curves
from convscope.statistics import smallest_within_one_se, sweep_verdict
from convscope.training import Run


def chapter(context: Context) -> Chapter:
    """Pilots at the ends of the sweeps, then all networks and the reference recipe."""
    sweep = sweep_of(context)
    tuned = yield from tuned_rates(context, tuned_of(context), PRESETS[context.preset].rates)
    rates = {
        model: rate
        for members in sweeps_of(context)
        for model, rate in transferred(tuned.rates, members).items()
    }
    missing = [recipe for recipe in sweep if recipe.model not in rates]
    tried = [
        replace(recipe, lr=rates.get(recipe.model, tuned.fallback), seed=seed)
        for recipe in sweep
        for seed in context.seeds
    ]
    answer = yield [Request(references_of(context), "reference"), Request(tried, "sweep")]
    return finding(context, tuned.pilots, answer.of("sweep"), answer.of("reference"), len(missing))


def finding(
    context: Context,
    pilots: Sequence[Run],
    sweep: Sequence[Run],
    strong: Sequence[Run],
    no_pilot: int,
) -> Finding:
    data = context.data
    networks, beside = curves.networks(sweep, strong, data)
    if not networks:
        broken = ", ".join(sorted({run.status for run in sweep})) or "none has been trained yet"
        sentence = f"On {one_line(data.name)} no network of the sweep finished ({broken}), so nothing can be said about capacity."
        return Finding(
            "capacity",
            TITLE,
            QUESTION,
            "cannot tell",
            sentence,
            {"networks": []},
            [plans.rates_table(pilots)],
        )
    loss = {n.model: n.val_best for n in networks}
    best_model, small_model = smallest_within_one_se(
        loss, {n.model: n.parameters for n in networks}
    )
    by_model = {n.model: n for n in networks}
    best, small = by_model[best_model], by_model[small_model]
    groups = sweeps_among(networks)
    words = {
        kind: words_of_sweep(members, *sweep_verdict([n.val_best for n in members]))
        for kind, members in groups.items()
    }
    verdict = words[kind_of(best.model, networks)]
    every = networks + beside
    top = max(every, key=lambda n: -n.val_best.mean)
    numbers = {
        "verdicts": words,
        "best": best.numbers(),
        "smallest_within_one_se": small.numbers(),
        "best_of_all": top.numbers(),
        "networks": [n.numbers() for n in networks],
        "beside": [n.numbers() for n in beside],
        "seeds": len(context.seeds),
    }
    sentence = sentence_of(
        data.name, kind_of(best.model, networks), best, small, beside, networks, verdict
    )
    return Finding(
        "capacity",
        TITLE,
        QUESTION,
        verdict,
        sentence,
        numbers,
        tables=[networks_table(every), plans.rates_table(pilots)],
        charts=charts_of(networks, beside, small),
        paragraphs=paragraphs_of(context, networks, beside, words, pilots, no_pilot),
        gives=CapacityResult(small.model, tuple(run for n in networks for run in n.runs)),
        brief=f"{'the best of the sweep' if small.model == best.model else 'the smallest network as good as the best of the sweep'} is {small.label} ({small.parameters:,} parameters, {percent(small.accuracy)})",
    )
