"""What the chapter says: the texts are in texts.jinja."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from convscope.chapters.capacity.judgement import Judgement, images_of, sweep_name
from convscope.chapters.capacity.plan import MARGIN, seeds_in
from convscope.errors import UserError
from convscope.planning import OPTIMIZERS, Context, asked_of
from convscope.statistics import (
    FALL,
    FLAT,
    Configuration,
    Difference,
    Interval,
    crossed,
    quantile,
)
from convscope.training import Run, note_unreadable, right_answers
from convscope.words import texts_beside

TEXTS = texts_beside(__file__)

WHEN: tuple[Literal["best", "last"], ...] = ("best", "last")

LEVEL = 0.95


Changed = Difference | Interval


def changes_of_accuracy(networks: Sequence[Configuration]) -> dict[Configuration, Changed]:
    """By how much validation accuracy changes from the best epoch to the last, of each network.

    Paired by run and image where the runs recorded their answers; else the images of the two epochs
    are treated as different ones, which errs on the careful side.

    networks: on the same images; their seeds tell about the variance between seeds.
    """
    gaps = [gap_of(one) for one in networks]
    known = [gap for gap in gaps if gap is not None]
    if known and len(known) == len(gaps):
        found = crossed(known)
        return {
            one: found.contrast([float(i == place) for i in range(len(networks))])
            for place, one in enumerate(networks)
        }
    return {one: careful_change(one) for one in networks}


def gap_of(network: Configuration) -> NDArray[np.floating] | None:
    """Seeds × validation images: 1 where only the last epoch is right, −1 where only the best."""
    out = []
    for run in network.runs:
        try:
            best, last = (right_answers(run, network.data, "val", when) for when in WHEN)
        except UserError as error:
            note_unreadable("right answers", run, error)
            return None
        if best is None or last is None:
            return None
        out.append(last.double().numpy() - best.double().numpy())
    return np.stack(out)


def careful_change(network: Configuration) -> Interval:
    best, last = ([getattr(run, when)["val_accuracy"] for run in network.runs] for when in WHEN)
    changes = [b - a for a, b in zip(best, last, strict=True)]
    n, images = len(changes), max(1, len(network.data.val))
    mean = math.fsum(changes) / n
    spread = math.fsum((change - mean) ** 2 for change in changes) / max(1, n - 1) / n
    p, q = math.fsum(best) / n, math.fsum(last) / n
    se = math.sqrt(spread + (p * (1 - p) + q * (1 - q)) / images)
    half = quantile(LEVEL, 0) * se
    return Interval(mean, mean - half, mean + half)


def nothing_finished(name: str, runs: Sequence[Run]) -> str:
    return TEXTS.nothing_finished(name, sorted({run.status for run in runs}))


def sentence_of(name: str, judgement: Judgement) -> str:
    """The answer, for people: how many filters, how sure, what is the limit."""
    whole = judgement.whole
    by_size = sorted(whole, key=lambda n: n.parameters)
    best = judgement.best
    sized = [n for n in whole if n.convnet.width == judgement.verdict.width]
    of_series = [n for n in sized if sweep_name(n.convnet, whole) == judgement.main]
    return TEXTS.sentence(
        name=name,
        verdict=judgement.verdict,
        best=best,
        sized=of_series[0] if of_series else best,
        networks=len(whole),
        underfitting=[n for n in reversed(by_size) if n.verdict == "underfits"],
        overfitting=[n for n in by_size if n.verdict.startswith("overfits")],
        elsewhere=overfitting_elsewhere(judgement),
        forecast=judgement.forecast,
        margin=MARGIN,
        still_falling=all(run.best["epoch"] == run.last["epoch"] for n in whole for run in n.runs),
        fewer_epochs=by_size[-1].recipe.epochs < by_size[0].recipe.epochs,
        on=on_most(judgement),
        open=sum(n.verdict == "cannot tell" for n in whole),
    )


def on_most(judgement: Judgement) -> str:
    """As "on all images", or "on 22,500 of the 45,000 images"."""
    return TEXTS.on(judgement.images, judgement.available)


def overfitting_elsewhere(judgement: Judgement) -> tuple[int, Configuration] | None:
    """(images, network): the smallest that overfits on the fewest images, where all had more."""
    for n in sorted(judgement.networks):
        found = [one for one in judgement.networks[n] if one.verdict.startswith("overfits")]
        if n < judgement.images and found:
            return n, min(found, key=lambda one: one.parameters)
    return None


def brief_of(judgement: Judgement) -> str:
    return TEXTS.brief(judgement.best, judgement.small)


def paragraphs_of(
    context: Context, judgement: Judgement, pilots: Sequence[Run], no_pilot: int
) -> list[str]:
    """How the answer was found. no_pilot: the number of networks without a finished pilot."""
    networks = judgement.whole
    out = [
        TEXTS.about_the_sweep(
            kernel=networks[0].convnet.kernel,
            blocks=any(n.convnet.block_depth > 1 for n in networks),
            hidden=list(dict.fromkeys(n.convnet.hidden for n in networks if n.convnet.hidden)),
            unhidden=any(not n.convnet.hidden for n in networks),
            verdicts=judgement.verdicts,
            small=judgement.small,
            best=judgement.best,
            margin=MARGIN,
            on=on_most(judgement),
            taken="best" not in context.chapters,
            preset="" if asked_of(context, "capacity") else context.preset,
        ),
        about_training(context, judgement, pilots),
        TEXTS.about_verdicts(
            FALL,
            FLAT,
            MARGIN,
            seeds_known=any(len(n.runs) > 1 for n in networks),
            looks=1 + context.fit.more,
            main=judgement.main,
            seeds=judgement.verdict.seeds,
            first=len(seeds_in(context)),
        ),
        TEXTS.about_forecast(judgement.forecast, MARGIN, on_most(judgement)),
    ]
    if wrong := overfitting_by_loss(judgement):
        out.append(TEXTS.about_loss_and_error(wrong))
    if judgement.beside:
        beside = judgement.beside[0]
        out.append(
            TEXTS.about_the_network_beside(
                beside, beside.recipe, OPTIMIZERS[beside.recipe.optimizer]
            )
        )
    if no_pilot:
        out.append(TEXTS.about_networks_without_a_pilot(no_pilot))
    return out


def about_training(context: Context, judgement: Judgement, pilots: Sequence[Run]) -> str:
    runs = [run for _, one in judgement.all for run in one.runs]
    recipe, epochs = runs[0].recipe, {run.recipe.epochs for run in runs}
    sample = max((run.recipe.train_sample or 0 for run in runs), default=0)
    return TEXTS.about_training(
        recipe=recipe,
        optimizer=OPTIMIZERS[recipe.optimizer],
        numbers=sorted(judgement.networks),
        epochs=sorted(epochs),
        images=len(context.data.train),
        seeds=len({run.recipe.seed for run in runs}),
        fewest=min(len(one.runs) for _, one in judgement.all),
        sample=sample,
        pilots=about_pilots(context, judgement, pilots),
    )


def about_pilots(context: Context, judgement: Judgement, pilots: Sequence[Run]) -> str:
    """How learning rates were chosen, from the pilots that there are."""
    if not pilots:
        return TEXTS.no_pilot()
    tried = {run.recipe.model for run in pilots}
    return TEXTS.pilots(
        pilot=pilots[0].recipe,
        images=images_of(pilots[0], context.data),
        rates=sorted({run.recipe.lr for run in pilots}),
        scaled=any(n.model not in tried for _, n in judgement.all),
    )


def overfitting_by_loss(judgement: Judgement) -> list[tuple[int, Configuration, Changed]]:
    """(images, network, change of accuracy) of those whose loss rises from its minimum on.

    For each number of images the largest of them.
    """
    out = []
    for n in sorted(judgement.networks, reverse=True):
        found = [one for one in judgement.networks[n] if one.verdict.startswith("overfits")]
        if found:
            largest = max(found, key=lambda one: one.parameters)
            out.append((n, largest, changes_of_accuracy(judgement.networks[n])[largest]))
    return out
