"""Two configurations, each as runs of several seeds: better, worse, equivalent or cannot tell."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np

from convscope.errors import UserError, one_line
from convscope.recipe import Recipe
from convscope.statistics.crossed_factors import (
    FEWEST_IN_TAILS,
    Crossed,
    Difference,
    Values,
    crossed,
)
from convscope.statistics.more import images_needed, parts_of, seeds_needed
from convscope.statistics.question import IMAGES, MARGINS, Measure, Split, check_question
from convscope.statistics.replication import replication
from convscope.training import Run, image_losses, right_answers

ERROR = 0.05  # of each word, over all looks


@dataclass(frozen=True)
class Comparison:
    """How configuration a does against configuration b on the same images.

    word: "better", "worse", "equivalent" or "cannot tell", of a.
    a, b: their means over seeds.
    difference: the mean of a minus that of b, with its 95 % interval.
    margin: differences within ± margin are equivalent.
    measure: "accuracy" (fractions; higher is better) or "loss" (nats; lower is better).
    split: "test" or "val".
    images: how many each run was evaluated on.
    replication: how often a comparison of this size would come to the same word; None: unknown.
    seeds_needed: of each, in all, that would probably settle it where nothing is told; with one
        seed, the fewest that allow a word. None: no number of seeds would, or it is told.
    images_needed: the same for images; None with one seed.
    differ: the settings in which the two differ, and how; the comparison is about all of them.
    looks: over how many looks at a growing number of seeds the error of 5 % is split.
    """

    word: str
    a: float
    b: float
    difference: Difference
    margin: float
    measure: Measure
    split: str
    images: int
    replication: float | None
    seeds_needed: int | None
    images_needed: int | None
    differ: dict[str, tuple[Any, Any]]
    looks: int = 1

    @property
    def verdict(self) -> str:
        return self.word

    @property
    def interval(self) -> tuple[float, float]:
        """The interval of the difference, of this `level`."""
        return self.difference.low, self.difference.high

    @property
    def level(self) -> float:
        """Of the interval: 0.95 for one look."""
        return 1 - ERROR / self.looks

    def __str__(self) -> str:
        from convscope.statistics.run_texts import sentence_on

        return sentence_on(self)

    def rows(self) -> list[tuple[str, str]]:
        """A table for people: what and how much."""
        from convscope.statistics.run_texts import rows_on

        return rows_on(self)

    def _repr_html_(self) -> str:
        from convscope.statistics.run_texts import html_on

        return html_on(self)

    def numbers(self) -> dict[str, Any]:
        """All figures, as plain JSON values."""
        difference = self.difference
        return {
            "verdict": self.word,
            "measure": self.measure,
            "split": self.split,
            "a": self.a,
            "b": self.b,
            "difference": difference.mean,
            "interval": [difference.low, difference.high],
            "level": self.level,
            "looks": self.looks,
            "se": difference.se,
            "degrees_of_freedom": difference.degrees,
            "margin": self.margin,
            "seeds": list(difference.n),
            "images": self.images,
            "replication": self.replication,
            "seeds_needed": self.seeds_needed,
            "images_needed": self.images_needed,
            "differ": {name: list(pair) for name, pair in self.differ.items()},
        }


def compare(
    a: Run | Sequence[Run],
    b: Run | Sequence[Run],
    margin: float | None = None,
    *,
    measure: Measure = "accuracy",
    split: Split = "test",
    looks: int = 1,
) -> Comparison:
    """Whether configuration a is better than b, paired by image, seeds as a random factor.

    "equivalent": the difference is shown to lie within ± margin. "better", "worse": it is not, and
    its 95 % interval excludes 0. "cannot tell": neither; so it is with one seed of either, because
    another seed gives another result. Each word is false in at most 5 % of comparisons.

    a, b: finished runs, or one, that differ in their seed alone.
    margin: a difference that does not matter; None: half a percentage point of accuracy, or 0.02
        nats of loss.
    measure: what is compared, at the epoch of lowest validation loss.
    split: the images; choose by "val" where you try many things, and quote "test" once.
    looks: how often you will compare these two while you add seeds; the error is split over them.

    Seeds of a and b are trained independently, even where their numbers are the same, so they are
    not paired. Raises UserError for runs that did not finish, that differ in more than their seed,
    that were evaluated on other images, or that recorded no values by image.
    """
    check_question(margin, measure, split, looks)
    runs = [[one] if isinstance(one, Run) else list(one) for one in (a, b)]
    margin = MARGINS[measure] if margin is None else margin
    check_runs(runs[0], runs[1], split)
    found = [[values_of(run, measure, split) for run in some] for some in runs]
    check_counts(runs, found, split)
    values = [np.stack(some) for some in found]
    differ = differences(runs[0][0].recipe, runs[1][0].recipe)
    return judged(values, margin, measure, split, looks, differ)


def judged(
    values: Sequence[Values],
    margin: float,
    measure: Measure,
    split: Split,
    looks: int,
    differ: dict[str, tuple[Any, Any]],
) -> Comparison:
    """The comparison of two configurations' values, seeds × images; see `compare`."""
    found = crossed(values)
    rule = functools.partial(word_on, margin=margin, measure=measure, looks=looks)
    word, difference = rule(found), found.difference(0, 1)
    low, high = difference.within(1 - ERROR / looks)
    seeds, images = more_of_either(found, margin, looks) if word == "cannot tell" else (None, None)
    return Comparison(
        word,
        float(found.means[0].mean()),
        float(found.means[1].mean()),
        replace(difference, low=low, high=high),
        margin,
        measure,
        split,
        found.images,
        replication(values, rule) if min(found.seeds) > 1 else None,
        seeds,
        images,
        differ,
        looks,
    )


def word_on(found: Crossed, margin: float, measure: Measure, looks: int = 1) -> str:
    """The word on configuration 0 against configuration 1; the arguments are those of `compare`.

    The other configuration's seeds say nothing of how much those of a single one scatter.
    """
    difference, error = found.difference(0, 1), ERROR / looks
    if min(found.seeds) < 2 or not difference.tells_at(error):
        return "cannot tell"
    if difference.above(-margin, error) and difference.below(margin, error):
        return "equivalent"
    sign = difference.sign(error)
    if not sign:
        return "cannot tell"
    return "better" if (sign > 0) == (measure == "accuracy") else "worse"


def more_of_either(found: Crossed, margin: float, looks: int) -> tuple[int | None, int | None]:
    """How many seeds of each, or how many images, would probably settle what is not told."""
    error = ERROR / looks
    fewest = 1 + math.ceil(FEWEST_IN_TAILS / 2)  # of each; two configurations have twice n - 1
    if min(found.seeds) < 2:
        return fewest, None
    parts = parts_of(found, 0, 1)
    levels = 1 - 2 * error, 1 - error  # of the intervals that the rule asks for
    seeds = seeds_needed(parts, margin, levels=levels)
    images = images_needed(parts, margin, levels=levels) if min(found.seeds) >= fewest else None
    return None if seeds is None else max(seeds, fewest), images


def values_of(run: Run, measure: Measure, split: Split) -> Values:
    """By image: 1 where the run's best weights are right, else 0; or the loss in nats."""
    if f"{split}_loss" not in run.best:
        there = [f'"{name}"' for name in IMAGES if f"{name}_loss" in run.best]
        raise UserError(
            f'split "{split}": run {run.id} was not evaluated on these images; '
            f"it was on {' and '.join(there) or 'none to compare on'}"
        )
    losses = image_losses(run, split)
    if losses is None:
        raise UserError(
            f"run {one_line(run.path)}: it recorded no {split} values by image, as runs of version "
            "0.1.0 did not: train its recipe again in another folder"
        )
    if measure == "loss":
        return losses.double().numpy()
    right = right_answers(run, len(losses), split)
    assert right is not None
    return right.double().numpy()


def check_counts(runs: Sequence[Sequence[Run]], found: Sequence[list[Values]], split: str) -> None:
    """UserError where a run recorded values of fewer or more images than the first one."""
    count = len(found[0][0])
    for run, values in zip((*runs[0], *runs[1]), (*found[0], *found[1]), strict=True):
        if len(values) != count:
            raise UserError(
                f"run {one_line(run.path)}: it recorded values of {len(values):,} {split} images, "
                f"and run {runs[0][0].id} of {count:,}; compare runs on the same images"
            )


def check_runs(a: Sequence[Run], b: Sequence[Run], split: Split = "test") -> None:
    """UserError where the runs are no two configurations over their seeds."""
    for name, runs in (("A", a), ("B", b)):
        if not runs:
            raise UserError(f"{name}: no run is given")
        for run in runs:
            if not isinstance(run, Run):
                raise UserError(f"{name}: {one_line(repr(run))} is no run, as cs.train returns one")
            if run.status != "finished":
                raise UserError(
                    f"{name}: run {run.id} is {run.status}, not finished; without it the others "
                    "would be a choice: compare configurations whose runs all finish"
                )
            if more := differences(runs[0].recipe, run.recipe):
                raise UserError(
                    f"{name}: its runs differ in {', '.join(more)}, not in their seed alone"
                )
        seeds = [run.recipe.seed for run in runs]
        if len(set(seeds)) < len(seeds):
            raise UserError(f"{name}: seed {max(seeds, key=seeds.count)} is there more than once")
    if both := sorted({run.id for run in a} & {run.id for run in b}):
        raise UserError(f"A and B: run {both[0]} is in both; give each side runs of its own")
    check_images(a[0].recipe, b[0].recipe, split)


def check_images(a: Recipe, b: Recipe, split: Split) -> None:
    """UserError where the two were not evaluated on the same images."""
    other = [name for name in IMAGES[split] if getattr(a, name) != getattr(b, name)]
    if other:
        told = ", ".join(
            f"{name} ({one_line(getattr(a, name), 12)} and {one_line(getattr(b, name), 12)})"
            for name in other
        )
        raise UserError(
            f"A and B differ in {told}, so they did not see the same {split} images; "
            "train both on the same data, split alike"
        )


def differences(a: Recipe, b: Recipe) -> dict[str, tuple[Any, Any]]:
    """The settings in which two recipes differ, seeds aside; those of the model by their names."""
    found: dict[str, tuple[Any, Any]] = {}
    for field in fields(Recipe):
        one, other = getattr(a, field.name), getattr(b, field.name)
        if field.name in ("seed", "data") or one == other:
            continue
        if field.name == "model" and type(one) is type(other):
            left, right = asdict(one), asdict(other)
            found |= {
                f"model.{key}": (left[key], right[key]) for key in left if left[key] != right[key]
            }
        elif field.name == "model":
            found["model"] = (type(one).__name__, type(other).__name__)
        else:
            found[field.name] = (one, other)
    return found
