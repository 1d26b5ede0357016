"""How many filters, layers and parameters: from runs to the finding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

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
    SweepVerdict,
    brief_of,
    nothing_finished,
    paragraphs_of,
    sentence_of,
    sweep_name,
    sweeps_among,
    verdict_on,
)
from convscope.planning import Chapter, Context, Request, rates_table, transferred, tuned_rates
from convscope.report import CapacityResult, Finding
from convscope.statistics import (
    Configuration,
    Estimate,
    fall_per_epoch,
    judged,
    smallest_within_one_se,
)
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
    """What the sweep says.

    pilots: the short runs that chose the learning rates.
    sweep, strong: the runs of the sweep and of the reference recipe beside it.
    no_pilot: the number of networks of which no pilot finished.
    """
    networks, beside = judged(sweep, strong, context.data)
    if not networks:
        return no_finding(context, pilots, sweep)
    judgement = judgement_of(networks)
    small = judgement.small
    return Finding(
        "capacity",
        TITLE,
        QUESTION,
        str(judgement.verdict),
        sentence_of(context.data.name, judgement.verdict, judgement.best, small, networks, beside),
        numbers_of(judgement, networks, beside, len(context.seeds)),
        tables=[networks_table(networks + beside), rates_table(pilots)],
        charts=charts_of(networks, beside, small),
        paragraphs=paragraphs_of(context, networks, beside, judgement.verdicts, pilots, no_pilot),
        gives=CapacityResult(small.convnet, tuple(run for one in networks for run in one.runs)),
        brief=brief_of(judgement.best, small),
    )


def no_finding(context: Context, pilots: Sequence[Run], sweep: Sequence[Run]) -> Finding:
    """The finding where no network of the sweep finished."""
    return Finding(
        "capacity",
        TITLE,
        QUESTION,
        "cannot tell",
        nothing_finished(context.data.name, sweep),
        {"networks": []},
        [rates_table(pilots)],
    )


@dataclass(frozen=True)
class Judgement:
    """What validation loss says of the networks of the sweep."""

    best: Configuration
    small: Configuration  # the smallest within one standard error of the best
    verdicts: dict[str, SweepVerdict]  # of each series of networks that differ in width alone
    verdict: SweepVerdict  # of the series of the best


def judgement_of(networks: Sequence[Configuration]) -> Judgement:
    loss = {one: one.val_loss for one in networks}
    best, small = smallest_within_one_se(loss, {one: one.parameters for one in networks})
    verdicts = {name: verdict_on(members) for name, members in sweeps_among(networks).items()}
    return Judgement(best, small, verdicts, verdicts[sweep_name(best.convnet, networks)])


def numbers_of(
    judgement: Judgement,
    networks: Sequence[Configuration],
    beside: Sequence[Configuration],
    seeds: int,
) -> dict[str, Any]:
    lowest = min((*networks, *beside), key=lambda one: one.val_loss.mean)
    return {
        "verdicts": {name: str(found) for name, found in judgement.verdicts.items()},
        "best": numbers_of_network(judgement.best),
        "smallest_within_one_se": numbers_of_network(judgement.small),
        "best_of_all": numbers_of_network(lowest),
        "networks": [numbers_of_network(one) for one in networks],
        "beside": [numbers_of_network(one) for one in beside],
        "seeds": seeds,
    }


def numbers_of_network(network: Configuration) -> dict[str, Any]:
    def plain(e: Estimate) -> dict[str, float]:
        return {"mean": e.mean, "se": e.se, "low": e.low, "high": e.high}

    model, fall = network.convnet, fall_per_epoch(network.curve("train"))
    return {
        "network": network.label,
        "width": model.width,
        "depth": model.depth,
        "block_depth": model.block_depth,
        "runs": [run.id for run in network.runs],
        "filters": network.filters,
        "parameters": network.parameters,
        "flops": network.flops,
        "lr": network.rate,
        "verdict": network.verdict,
        "best": {
            "train_loss": plain(network.train_loss),
            "val_loss": plain(network.val_loss),
            "test_loss": plain(network.test_loss),
            "test_accuracy": plain(network.test_accuracy),
        },
        "last": {
            "train_loss": plain(network.train_last),
            "val_loss": plain(network.val_last),
            "test_loss": plain(network.test_last),
        },
        "gap_best": network.gap,
        "gap_last": network.gap_last,
        "fall_per_epoch": fall,  # None of fewer than three epochs
        "rise": None if network.rise is None else network.rise.numbers(),
        "replication": network.replication,
    }
