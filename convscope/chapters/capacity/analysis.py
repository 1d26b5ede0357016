"""How many filters, layers and parameters: from runs to the finding."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import replace

from convscope import planning as plans
from convscope.chapters.capacity.charts import charts_of, networks_table
from convscope.chapters.capacity.plan import (
    PRESETS,
    QUESTION,
    TITLE,
    strong_of,
    sweep_of,
    sweeps_of,
    tuned_of,
)
from convscope.chapters.capacity.words import (
    brief_of,
    nothing_finished,
    paragraphs_of,
    sentence_of,
    sweep_name,
    sweeps_among,
    verdict_on,
)
from convscope.planning import Context
from convscope.recipe import Recipe
from convscope.report import Finding
from convscope.statistics import learning_curves as curves
from convscope.statistics import smallest_within_one_se
from convscope.training import Run


def chapter(context: Context) -> Generator[list[Recipe], list[Run], Finding]:
    sweep = sweep_of(context)
    tuned = yield from plans.tuned(context, tuned_of(context), PRESETS[context.preset].rates)
    rates = {
        model: rate
        for members in sweeps_of(context)
        for model, rate in plans.transferred(tuned.rates, members).items()
    }
    missing = [recipe for recipe in sweep if recipe.model not in rates]
    tried = [
        replace(recipe, lr=rates.get(recipe.model, tuned.fallback), seed=seed)
        for recipe in sweep
        for seed in context.seeds
    ]
    runs = yield from plans.whole(context, strong_of(context) + tried, tuned.early)
    # told apart by what they are, so that a report on an older or damaged study never takes one kind for another
    swept = [run for run in runs if run.recipe.schedule == "constant"]
    beside = [run for run in runs if run.recipe.schedule != "constant"]
    return finding(context, tuned.pilots, swept, beside, len(missing))


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
        return Finding(
            "capacity",
            TITLE,
            QUESTION,
            "cannot tell",
            nothing_finished(data.name, sweep),
            {"networks": []},
            [plans.rates_table(pilots)],
        )
    loss = {n.model: n.val_best for n in networks}
    best_model, small_model = smallest_within_one_se(
        loss, {n.model: n.parameters for n in networks}
    )
    by_model = {n.model: n for n in networks}
    best, small = by_model[best_model], by_model[small_model]
    verdicts = {name: verdict_on(members) for name, members in sweeps_among(networks).items()}
    verdict = verdicts[sweep_name(best.model, networks)]
    every = networks + beside
    top = max(every, key=lambda n: -n.val_best.mean)
    numbers = {
        "verdicts": {name: str(found) for name, found in verdicts.items()},
        "best": best.numbers(),
        "smallest_within_one_se": small.numbers(),
        "best_of_all": top.numbers(),
        "networks": [n.numbers() for n in networks],
        "beside": [n.numbers() for n in beside],
        "seeds": len(context.seeds),
    }
    return Finding(
        "capacity",
        TITLE,
        QUESTION,
        str(verdict),
        sentence_of(data.name, verdict, best, small, networks, beside),
        numbers,
        tables=[networks_table(every), plans.rates_table(pilots)],
        charts=charts_of(networks, beside, small),
        paragraphs=paragraphs_of(context, networks, beside, verdicts, pilots, no_pilot),
        runs={run.id: run for n in networks for run in n.runs},
        brief=brief_of(best, small),
    )
