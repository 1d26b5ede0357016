"""Two configurations, each as runs of several seeds: better, worse, equivalent or cannot tell."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

import numpy as np

from convscope.errors import UserError, one_line
from convscope.recipe import Recipe
from convscope.statistics.comparisons import equivalence
from convscope.statistics.crossed_factors import Crossed, Difference, Values, crossed
from convscope.statistics.more import images_needed, parts_of, seeds_needed
from convscope.statistics.replication import replication
from convscope.training import Run, image_losses, right_answers

Measure = Literal["accuracy", "loss"]

MARGINS: dict[Measure, float] = {"accuracy": 0.005, "loss": 0.02}

# what must be the same for two runs to have seen the same images
IMAGES = ("data_hash", "size", "val", "split_seed")


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
    seeds_needed: of each, in all, that would probably settle it where nothing is told; None: no
        number of seeds would, or it is told.
    images_needed: the same for images.
    differ: the settings in which the two differ, and how; the comparison is about all of them.
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

    @property
    def verdict(self) -> str:
        return self.word

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the difference."""
        return self.difference.low, self.difference.high

    def __str__(self) -> str:
        from convscope.statistics.run_texts import sentence_on

        return sentence_on(self)

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
    split: Literal["test", "val"] = "test",
) -> Comparison:
    """Whether configuration a is better than b, paired by image, seeds as a random factor.

    "equivalent": the difference is shown to lie within ± margin. "better", "worse": it is not, and
    its 95 % interval excludes 0. "cannot tell": neither; so it is with one seed each, because
    another seed gives another result. Each word is false in at most 5 % of comparisons.

    a, b: finished runs, or one, that differ in their seed alone.
    margin: a difference that does not matter; None: half a percentage point of accuracy, or 0.02
        nats of loss.
    measure: what is compared, at the epoch of lowest validation loss.
    split: the images; choose by "val" where you try many things, and quote "test" once.

    Raises UserError for runs that did not finish, that differ in more than their seed, that were
    evaluated on other images, or that recorded no values by image.
    """
    runs = [[one] if isinstance(one, Run) else list(one) for one in (a, b)]
    margin = MARGINS[measure] if margin is None else margin
    if not 0 < margin < float("inf"):
        raise UserError(f"margin = {margin}: a difference above 0 is expected")
    check_runs(*runs)
    values = [np.stack([values_of(run, measure, split) for run in some]) for some in runs]
    found = crossed(values)
    rule = functools.partial(word_on, margin=margin, measure=measure)
    word = rule(found)
    unsettled = parts_of(found, 0, 1) if word == "cannot tell" else None
    return Comparison(
        word,
        float(found.means[0].mean()),
        float(found.means[1].mean()),
        found.difference(0, 1),
        margin,
        measure,
        split,
        found.images,
        replication(values, rule),
        seeds_needed(unsettled, margin),
        images_needed(unsettled, margin),
        differences(runs[0][0].recipe, runs[1][0].recipe),
    )


def word_on(found: Crossed, margin: float, measure: Measure) -> str:
    """The word on configuration 0 against configuration 1."""
    difference = found.difference(0, 1)
    said = equivalence(difference, margin)
    if said != "different":
        return said
    return "better" if (difference.mean > 0) == (measure == "accuracy") else "worse"


def values_of(run: Run, measure: Measure, split: Literal["test", "val"]) -> Values:
    """By image: 1 where the run's best weights are right, else 0; or the loss in nats."""
    losses = image_losses(run, split)
    if losses is None:
        raise UserError(
            f"run {one_line(run.path)}: it recorded no {split} values by image; "
            "runs of version 0.1.0 did not: train it again"
        )
    if measure == "loss":
        return losses.double().numpy()
    right = right_answers(run, len(losses), split)
    assert right is not None
    return right.double().numpy()


def check_runs(a: Sequence[Run], b: Sequence[Run]) -> None:
    """UserError where the runs are no two configurations over their seeds."""
    for name, runs in (("A", a), ("B", b)):
        if not runs:
            raise UserError(f"{name}: no run is given")
        for run in runs:
            if run.status != "finished":
                raise UserError(f"{name}: run {run.id} is {run.status}, not finished")
            if more := differences(runs[0].recipe, run.recipe):
                raise UserError(
                    f"{name}: its runs differ in {', '.join(more)}, not in their seed alone"
                )
        seeds = [run.recipe.seed for run in runs]
        if len(set(seeds)) < len(seeds):
            raise UserError(f"{name}: seed {max(seeds, key=seeds.count)} is there more than once")
    if {run.id for run in a} & {run.id for run in b}:
        raise UserError("A and B: some runs are in both; a comparison needs runs of its own")
    here, there = ({name: getattr(runs[0].recipe, name) for name in IMAGES} for runs in (a, b))
    other = [name for name in IMAGES if here[name] != there[name]]
    if other:
        raise UserError(f"A and B: {', '.join(other)} differ, so they did not see the same images")


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
