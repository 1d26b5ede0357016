"""Verdicts from learning curves: overfits, undertrained, underfits, fits (docs/concepts.md)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from convscope.data import Dataset
from convscope.recipe import label_of
from convscope.statistics.configuration import Configuration, configurations, grouped
from convscope.training import Run

FALL = 0.02  # training loss that falls by a larger share per epoch is not converged

SMALL_GAP = 0.10  # of the validation loss


def judged(
    sweep: Sequence[Run], beside: Sequence[Run], data: Dataset
) -> tuple[list[Configuration], list[Configuration]]:
    """The configurations of a sweep and those beside it, by model, with verdicts.

    Estimates are pooled over all of them; both lists are empty where none of the sweep finished.

    sweep, beside: runs; those that did not finish are left out.
    data: what they were trained and evaluated on.
    """
    groups = grouped([*sweep, *beside], lambda run: run.recipe.model)
    found = list(configurations(groups, data, label_of).values())
    in_sweep = {run.id for run in sweep}
    swept = [one for one in found if any(run.id in in_sweep for run in one.runs)]
    if not swept:
        return [], []
    best = min(swept, key=lambda one: one.val_loss.mean)
    verdicts = {one: replace(one, verdict=verdict_of(one, best)) for one in found}
    return (
        [verdicts[one] for one in swept],
        [verdicts[one] for one in found if one not in swept],
    )


def verdict_of(configuration: Configuration, best: Configuration) -> str:
    """The first that holds of docs/concepts.md's list; `best` is the best of the sweep."""
    train, val = configuration.curve("train"), configuration.curve("val")
    epoch = overfits_from(train, val, configuration.val_loss.se)
    if epoch is not None:
        return f"overfits from epoch {epoch}"
    if fall_per_epoch(train) > FALL:
        return "undertrained"
    loss, lowest = configuration.train_last, best.train_last
    small_gap = configuration.gap_last < SMALL_GAP * configuration.val_last.mean
    if small_gap and loss.mean - lowest.mean > 2 * math.hypot(loss.se, lowest.se):
        return "underfits"
    return "fits"


def overfits_from(train: Sequence[float], val: Sequence[float], se: float) -> int | None:
    """The epoch (from 1) from which on a network overfits; None where it does not.

    From there to the end the validation loss stays more than 2 standard errors above its
    minimum, and the training loss is lower than at that minimum.

    train, val: losses after each epoch.
    se: the standard error of the lowest validation loss.
    """
    low = val.index(min(val))
    first = None
    for i in range(len(val) - 1, low, -1):
        if val[i] <= val[low] + 2 * se or train[i] >= train[low]:
            break
        first = i + 1
    return first


def fall_per_epoch(train: Sequence[float]) -> float:
    """The share by which the training loss falls per epoch, over the last two epochs.

    Of two epochs it is that of the last one; of one epoch it is infinite.
    """
    back = min(2, len(train) - 1)
    if back == 0:
        return math.inf
    return 1 - (train[-1] / train[-1 - back]) ** (1 / back) if train[-1 - back] > 0 else 0.0
