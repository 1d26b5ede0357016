"""Verdicts on networks: did not learn, overfits, undertrained, underfits, fits, cannot tell.

Each word is a statistical test with an error of at most 5 %; docs/concepts.md defines them, `make
calibrate` tries them. The first that holds is the verdict.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from convscope.data import Dataset
from convscope.recipe import label_of
from convscope.statistics.configuration import Configuration, configurations, grouped
from convscope.statistics.crossed_factors import Difference, difference_of, scalars
from convscope.statistics.learning_curves import (
    ERROR,
    Course,
    Trend,
    candidates,
    course_of,
    course_of_means,
    fall_of,
    over_seeds,
    over_trends,
    trend_at_the_end,
)
from convscope.training import Run

T = TypeVar("T")

FALL = 0.02  # training loss that falls by a larger share per epoch is not converged

SMALL_GAP = 0.10  # of the validation loss

FLAT = 0.02  # nats per epoch: a validation loss that changes by less at the end is flat

DRAWS = 400


@dataclass(frozen=True)
class Signs:
    """What a verdict rests on; None where it is not known.

    learned: validation accuracy less that of always naming the commonest class.
    rise: of the validation loss from its minimum to the last epoch, in nats.
    turn: the epoch from which on the validation loss lies above an earlier one with confidence.
    lower: whether the training loss falls from that minimum to the end.
    fall: the share by which the training loss falls per epoch at the end.
    descent: by how much the validation loss falls per epoch at the end, in nats.
    gap: validation less training loss after the last epoch, less SMALL_GAP of the former.
    above: the last training loss less that of the best network.
    tried: from how many earlier epochs a rise is tested.
    """

    learned: Difference
    rise: Difference
    turn: int | None
    lower: bool
    fall: Difference | None
    descent: Difference | None
    gap: Difference | None
    above: Difference
    tried: int = 1


def verdict_of(signs: Signs) -> str:
    """The first word that holds."""
    if not beats_chance(signs.learned):
        return "did not learn"
    if signs.turn is not None and signs.lower:
        return f"overfits from epoch {signs.turn}"
    fall, descent = signs.fall, signs.descent
    if fall is None or descent is None:
        return "cannot tell"
    if fall.above(FALL) and descent.above(0.0):
        return "undertrained"
    if fall.below(FALL) and signs.gap and signs.gap.below(0.0) and signs.above.above(0.0):
        return "underfits"
    if descent.below(FLAT) and descent.above(-FLAT):
        return "fits"
    return "cannot tell"


def beats_chance(learned: Difference) -> bool:
    """At 5 %, one-sided; of one seed by the images alone, as far as that run goes."""
    return learned.within(0.90)[0] > 0


def replicated(signs: Signs, draws: int = DRAWS) -> float | None:
    """The share of studies of this size that would come to the same kind of word.

    A parametric bootstrap: each figure is drawn from its sampling law, with its standard error and
    degrees of freedom. None where the variance between seeds is unknown.
    """
    if not signs.rise.tells:
        return None
    rng = np.random.default_rng(0)
    word = kind_of_verdict(verdict_of(signs))

    def drawn(one: Difference | None) -> Difference | None:
        if one is None or not one.degrees:
            return one
        mean, spread = one.mean + one.se * rng.normal(), one.se
        spread *= math.sqrt(rng.chisquare(one.degrees) / one.degrees)
        return difference_of(mean, spread, one.degrees, one.n, one.seed_degrees)

    same = 0
    for _ in range(draws):
        rise = drawn(signs.rise)
        assert rise is not None
        turn = (signs.turn or -1) if rise.above(0.0, ERROR / signs.tried) else None
        figures = {
            name: drawn(getattr(signs, name))
            for name in ("learned", "fall", "descent", "gap", "above")
        }
        one = replace(signs, rise=rise, turn=turn, **figures)
        same += kind_of_verdict(verdict_of(one)) == word
    return same / draws


def kind_of_verdict(verdict: str) -> str:
    """The word without its epoch."""
    return verdict.split(" from epoch ")[0]


def judged(
    sweep: Sequence[Run], beside: Sequence[Run], data: Dataset
) -> tuple[list[Configuration], list[Configuration]]:
    """The configurations of a sweep and those beside it, by model, with verdicts.

    Both lists are empty where none of the sweep finished.

    sweep, beside: runs; those that did not finish are left out.
    data: what they were trained and evaluated on.
    """
    groups = grouped([*sweep, *beside], lambda run: run.recipe.model)
    found = list(configurations(groups, data, label_of).values())
    in_sweep = {run.id for run in sweep}
    swept = [one for one in found if any(run.id in in_sweep for run in one.runs)]
    if not swept:
        return [], []
    best = swept.index(min(swept, key=lambda one: one.val_loss.mean))
    told = with_verdicts(swept, best, data)
    others = [one for one in found if one not in swept]
    for one in others:  # trained in another way: its seeds tell nothing about the sweep's
        told += with_verdicts([one, swept[best]], 1, data)[:1]
    return told[: len(swept)], told[len(swept) :]


def with_verdicts(family: Sequence[Configuration], best: int, data: Dataset) -> list[Configuration]:
    """The configurations with verdict, its replication and the rise it rests on.

    family: configurations that differ in size alone.
    best: the place of the one with the lowest validation loss.
    """
    out = []
    for one, signs in zip(family, signs_of(family, best, data), strict=True):
        out.append(
            replace(one, verdict=verdict_of(signs), rise=signs.rise, replication=replicated(signs))
        )
    return out


def signs_of(family: Sequence[Configuration], best: int, data: Dataset) -> list[Signs]:
    """What the verdicts of a family rest on; the arguments are those of `with_verdicts`."""
    labels = data.val.labels.numpy()
    commonest = float(np.bincount(labels).max()) / len(labels)
    courses = [course_in(one, len(labels)) for one in family]
    by_seed = [course.by_seed for course in courses]
    accuracies = figures(family, lambda run: run.best["val_accuracy"] - commonest)
    falls, descents = figures(family, fall_in), figures(family, descent_in)
    gaps = figures(family, excess_gap)
    gap_ends = [
        [trend_at_the_end(line, epochs_of(run)) for line, run in zip(lines, one.runs, strict=True)]
        for lines, one in zip(gaps, family, strict=True)
    ]
    out = []
    for i, one in enumerate(family):
        course, others = courses[i], by_seed[:i] + by_seed[i + 1 :]
        place = course.turn(others)
        p = one.val_accuracy.mean
        images = one.val_last.sampling_se**2 + one.train_last.sampling_se**2
        learned = over_seeds(accuracies, i, p * (1 - p) / len(labels))
        last_gaps = [[line[-1] for line in lines] for lines in gaps]
        out.append(
            Signs(
                learned=learned,
                rise=course.shown(others),
                turn=None if place is None else one.runs[0].rows[place]["epoch"],
                lower=train_loss_falls_from_minimum(one),
                fall=over_trends(slopes(falls), falls, i, "variance"),
                descent=over_trends(slopes(descents), descents, i, "variance"),
                gap=over_trends(last_gaps, gap_ends, i, "last", images),
                above=train_loss_above(family, i, best),
                tried=max(1, len(candidates(course.last))),
            )
        )
    return out


def figures(family: Sequence[Configuration], of: Callable[[Run], T]) -> list[list[T]]:
    """A figure of every run, by configuration."""
    return [[of(run) for run in one.runs] for one in family]


def slopes(trends: Sequence[Sequence[Trend | None]]) -> list[list[float]]:
    """The slopes that are known, by configuration."""
    return [[one.slope for one in group if one is not None] for group in trends]


def epochs_of(run: Run) -> list[int]:
    return [int(row["epoch"]) for row in run.rows]


def excess_gap(run: Run) -> list[float]:
    """After each epoch validation less training loss, less SMALL_GAP of the former."""
    return [(1 - SMALL_GAP) * row["val_loss"] - row["train_loss"] for row in run.rows]


def course_in(one: Configuration, images: int) -> Course:
    """By image where the runs recorded their losses; else from the means, careful."""
    histories = one.histories
    if histories is not None:
        return course_of(histories)
    sampling = max(run.best["val_loss_sd"] for run in one.runs) ** 2 / images
    return course_of_means([[row["val_loss"] for row in run.rows] for run in one.runs], sampling)


def fall_in(run: Run) -> Trend | None:
    return fall_of([row["train_loss"] for row in run.rows], epochs_of(run))


def descent_in(run: Run) -> Trend | None:
    found = trend_at_the_end([row["val_loss"] for row in run.rows], epochs_of(run))
    return None if found is None else replace(found, slope=-found.slope)


def train_loss_falls_from_minimum(one: Configuration) -> bool:
    """Whether the mean training loss is lower at the end than where validation is lowest."""
    train, val = one.curve("train"), one.curve("val")
    return train[-1] < train[val.index(min(val))]


def train_loss_above(family: Sequence[Configuration], i: int, best: int) -> Difference:
    """The last training loss of configuration i less that of the best one.

    Both are means over the same images, which is ignored: it errs on the careful side.
    """
    losses = [[run.last["train_loss"] for run in one.runs] for one in family]
    noise = [one.train_last.sampling_se**2 for one in family]
    ends = [
        trend_at_the_end([row["train_loss"] for row in run.rows], epochs_of(run))
        for one in (family[i], family[best])
        for run in one.runs
    ]
    known = [end for end in ends if end is not None]
    found = scalars(losses, noise)
    if len(known) == len(ends) and min(len(family[i].runs), len(family[best].runs)) > 1:
        scatter = float(np.mean([end.last for end in known])), sum(end.degrees for end in known)
        found = replace(found, scatter=scatter)
    return found.difference(i, best)
