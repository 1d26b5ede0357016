"""How many filters, layers and parameters: from runs to the finding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from convscope.chapters.capacity.answers import (
    change_of,
    headlines_of,
    nothing_told,
    recommended_of,
    sizes_of,
)
from convscope.chapters.capacity.charts import charts_of, networks_table
from convscope.chapters.capacity.judgement import Judgement, judgement_of, settled
from convscope.chapters.capacity.plan import (
    MARGIN,
    QUESTION,
    TITLE,
    added_of,
    families_of,
    references_of,
    sweep_of,
    sweep_pilots,
)
from convscope.chapters.capacity.words import (
    Changed,
    brief_of,
    changes_of_accuracy,
    nothing_finished,
    paragraphs_of,
    sentence_of,
)
from convscope.planning import Chapter, Context, Request, rates_from, rates_table, transferred
from convscope.report import CapacityResult, Finding
from convscope.statistics import Configuration, Estimate, Forecast, fall_per_epoch
from convscope.training import Run


def chapter(context: Context) -> Chapter:
    """Pilots of one width of each sweep, then all networks, and the reference recipe beside."""
    tuned = yield from rates_from(sweep_pilots(context))
    rates = {
        model: rate
        for members in families_of(context)
        for model, rate in transferred(tuned.rates, members).items()
    }
    sweep = sweep_of(context, rates, tuned.fallback)
    missing = {recipe.model for recipe in sweep} - set(rates)
    references = references_of(context)
    beside = [Request(references, "reference")] if references else []
    answer = yield [*beside, Request(sweep, "sweep")]
    runs, strong, added = answer.of("sweep"), answer.of("reference"), list[Run]()
    for time in range(context.fit.more):
        judgement = judgement_of(runs, strong, context.data, added, 1 + context.fit.more)
        if judgement is None or settled(judgement):
            break
        answer = yield [Request(added_of(context, time, rates, tuned.fallback), "sweep")]
        added += answer.of("sweep")
    return finding(context, tuned.pilots, runs, strong, len(missing), added)


def finding(
    context: Context,
    pilots: Sequence[Run],
    sweep: Sequence[Run],
    strong: Sequence[Run],
    no_pilot: int,
    added: Sequence[Run] = (),
) -> Finding:
    """What the sweep says.

    pilots: the short runs that chose the learning rates.
    sweep, strong: the runs of the sweep and of the reference recipe beside it.
    no_pilot: the number of networks of which no pilot finished.
    added: runs of the main series with further seeds, for its verdict alone.
    """
    judgement = judgement_of(sweep, strong, context.data, added, 1 + context.fit.more)
    if judgement is None:
        return no_finding(context, pilots, sweep)
    return Finding(
        "capacity",
        TITLE,
        QUESTION,
        str(judgement.verdict),
        sentence_of(context.data.name, judgement),
        numbers_of(judgement, len(context.seeds)),
        tables=[networks_table(judgement), rates_table(pilots)],
        charts=charts_of(judgement),
        paragraphs=paragraphs_of(context, judgement, pilots, no_pilot),
        gives=CapacityResult(
            judgement.small.convnet, tuple(run for one in judgement.whole for run in one.runs)
        ),
        brief=brief_of(judgement),
        headlines=headlines_of(judgement),
        change=change_of(judgement),
        lead="loss_filters",
        explains=("What more would buy", "Loss and error"),
        recommended=recommended_of(judgement),
        sized=sizes_of(judgement),
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
        headlines=nothing_told(sweep),
    )


def numbers_of(judgement: Judgement, seeds: int) -> dict[str, Any]:
    def plain(one: Configuration, images: int) -> dict[str, Any]:
        return numbers_of_network(one, images, changes[one])

    changes = {
        one: change
        for found in (*judgement.networks.values(), judgement.beside)
        for one, change in changes_of_accuracy(found).items()
    }
    lowest = min((*judgement.whole, *judgement.beside), key=lambda one: one.val_loss.mean)
    most = judgement.images
    return {
        "images": list(judgement.networks),
        "margin": MARGIN,
        "verdicts": {name: str(found) for name, found in judgement.verdicts[most].items()},
        "verdicts_by_images": {
            str(n): {name: found.numbers() for name, found in verdicts.items()}
            for n, verdicts in judgement.verdicts.items()
        },
        "best": plain(judgement.best, most),
        "smallest_within_margin": plain(judgement.small, most),
        "best_of_all": plain(lowest, most),
        "networks": [plain(one, n) for n, one in judgement.all],
        "beside": [plain(one, most) for one in judgement.beside],
        "forecast": numbers_of_forecast(judgement.forecast),
        "train_sample": max(one.recipe.train_sample or 0 for one in judgement.whole) or None,
        "seeds": seeds,
    }


def numbers_of_network(network: Configuration, images: int, after: Changed) -> dict[str, Any]:
    """For results.json. after: how accuracy changes from the best epoch to the last."""

    def plain(e: Estimate) -> dict[str, float]:
        return {"mean": e.mean, "se": e.se, "low": e.low, "high": e.high}

    model, rise = network.convnet, network.rise
    epochs = [row["epoch"] for row in network.runs[0].rows]
    return {
        "network": network.label,
        "images": images,
        "width": model.width,
        "depth": model.depth,
        "block_depth": model.block_depth,
        "runs": [run.id for run in network.runs],
        "filters": network.filters,
        "parameters": network.parameters,
        "flops": network.flops,
        "lr": network.rate,
        "epochs": network.recipe.epochs,
        "best_epochs": [run.best["epoch"] for run in network.runs],
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
        "rise": None if rise is None else rise.numbers(),
        "accuracy_after": {"mean": after.mean, "interval": [after.low, after.high]},
        "gap_best": network.gap,
        "gap_last": network.gap_last,
        "fall_per_epoch": fall_per_epoch(network.curve("train"), epochs),
        "replication": network.replication,
    }


def numbers_of_forecast(found: Forecast) -> dict[str, Any]:
    """What is forecast, the test of it, and why nothing is where nothing is."""

    def plain(interval: Any) -> dict[str, Any] | None:
        if interval is None:
            return None
        return {"mean": interval.mean, "interval": [interval.low, interval.high]}

    law = found.law
    return {
        "reason": found.reason,
        "cells": found.cells,
        "predicted": plain(found.predicted),
        "observed": found.observed,
        "images": plain(found.images),
        "size": plain(found.size),
        "limit": found.limit,
        "exponents": None if law is None else {"images": law.alpha, "parameters": law.beta},
    }
