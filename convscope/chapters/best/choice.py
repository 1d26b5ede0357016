"""Configurations trained to the end, and the choice among them: by validation alone."""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from convscope.chapters.best.validation import Validated, validated
from convscope.planning import Context, describe_configuration, reference_recipe
from convscope.recipe import Recipe
from convscope.statistics import (
    Configuration,
    Difference,
    configurations,
    difference_se,
    grouped,
    paired_difference,
    pooled_sd,
    quantile,
)
from convscope.training import Run

ERROR = 0.05  # of "not told apart": how often the best candidate is left out

MARGIN = 0.02  # of accuracy: a smaller network that loses no more is as good


def candidates(
    finals: Sequence[Run], sweep: Sequence[Run], context: Context
) -> list[Configuration]:
    """The configurations of both chapters, pooled together. What did not finish is left out.

    finals: the runs to the end that this chapter asked for.
    sweep: the runs of the capacity chapter; some may be among `finals`, too. Those that saw a part
        of the images do not compete.
    """
    images = reference_recipe(context).limit
    whole = [run for run in sweep if run.recipe.limit == images]
    runs = {run.id: run for run in (*finals, *whole)}
    groups = grouped(runs.values(), lambda run: replace(run.recipe, seed=0))
    labels = labels_of(list(groups))
    trained_for = {"best": {run.id for run in finals}, "capacity": {run.id for run in sweep}}
    return [
        replace(one, chapters=chapters_of(one, trained_for))
        for one in configurations(groups, context.data, lambda recipe: labels[recipe]).values()
    ]


def chapters_of(configuration: Configuration, trained_for: dict[str, set[str]]) -> str:
    """As "best", "best and capacity"; `trained_for` holds the ids of each chapter's runs."""
    ids = {run.id for run in configuration.runs}
    return " and ".join(name for name, runs in sorted(trained_for.items()) if ids & runs)


def labels_of(recipes: Sequence[Recipe]) -> dict[Recipe, str]:
    """A name for each configuration, different for each.

    Where networks are named alike, the learning rate or the id of the recipe is added.
    """
    names = {recipe: describe_configuration(recipe) for recipe in recipes}
    added: tuple[Callable[[Recipe], str], ...] = (
        lambda recipe: f", rate {recipe.lr:g}",
        lambda recipe: f", {recipe.id}",
    )
    for more in added:
        count = Counter(names.values())
        names = {
            recipe: name + more(recipe) if count[name] > 1 else name
            for recipe, name in names.items()
        }
    return names


def selection_of(
    found: Sequence[Configuration],
    context: Context,
    fresh: Sequence[Configuration] = (),
) -> Selection:
    """The choice among candidates, from what their runs answer on the validation images.

    found: the candidates, at least one.
    fresh: winner and smallest on other seeds, which tell more of how much seeds differ.
    """
    seen = {one.recipe: tuple(validated(context, run) for run in one.runs) for one in found}
    return Selection(tuple(found), seen, tuple(fresh))


@dataclass(frozen=True)
class Selection:
    """Which candidate has the lowest validation error, and which smaller one comes close.

    The error is what the question asks for. It is the same at every temperature of the logits, so
    that a network trained with label smoothing and one without are compared as they are; their
    cross-entropies are not, unless each is divided by a temperature of its own.

    found: the candidates.
    seen: for each recipe (of the first seed) what its runs answer on the validation images; None
        where the weights of a run cannot be read.
    fresh: some of them on further seeds, for the seeds' variance alone.
    """

    found: tuple[Configuration, ...]
    seen: Mapping[Recipe, tuple[Validated | None, ...]]
    fresh: tuple[Configuration, ...] = ()

    def scaled(self, one: Configuration) -> float | None:
        """Mean validation cross-entropy after one fitted temperature for each run."""
        losses = [run.loss for run in self.seen[one.recipe] if run is not None]
        complete = len(losses) == len(one.runs)
        return math.fsum(losses) / len(losses) if complete else None

    def temperature(self, one: Configuration) -> float | None:
        """The mean (geometric) of its runs' temperatures."""
        known = [run.temperature for run in self.seen[one.recipe] if run is not None]
        complete = len(known) == len(one.runs)
        return math.exp(math.fsum(map(math.log, known)) / len(known)) if complete else None

    @functools.cached_property
    def ordered(self) -> list[Configuration]:
        """Lowest validation error first; of equal errors the lower cross-entropy.

        That is the one after temperature, or the plain one where weights cannot be read.
        """
        scaled = {one.recipe: self.scaled(one) for one in self.found}
        known = all(loss is not None for loss in scaled.values())

        def place(one: Configuration) -> tuple[float, float, int]:
            loss = scaled[one.recipe] if known else one.val_loss.mean
            assert loss is not None
            return round(1 - one.val_accuracy.mean, 9), loss, one.parameters

        return sorted(self.found, key=place)

    @property
    def winner(self) -> Configuration:
        return self.ordered[0]

    def excess(self, one: Configuration) -> Difference:
        """The validation error of a candidate minus the winner's.

        It is paired by image where the answers of all runs are known. The other candidates, and the
        fresh seeds, tell of how much seeds differ.
        """
        pair = (self.winner, one)
        family = [
            [run.best["val_accuracy"] for run in other.runs]
            for other in (*self.found, *self.fresh)
            if other not in pair
        ]
        right = [
            [run.right.astype(float) for run in self.seen[other.recipe] if run is not None]
            for other in pair
        ]
        if [len(known) for known in right] == [len(other.runs) for other in pair]:
            return paired_difference(right[0], right[1], family)
        a, b = (other.val_accuracy for other in pair)
        own = [[run.best["val_accuracy"] for run in other.runs] for other in pair]
        mean, se, degrees = a.mean - b.mean, difference_se(a, b), pooled_sd([*own, *family])[1]
        t = quantile(0.95, degrees)
        return Difference(mean, se, mean - t * se, mean + t * se, degrees, (a.n, b.n), degrees)

    @property
    def others(self) -> list[Configuration]:
        return [one for one in self.found if one is not self.winner]

    @property
    def error(self) -> float:
        """The error of each of the tests that `near` makes: one for each other candidate."""
        return ERROR / max(1, len(self.others))

    @functools.cached_property
    def near(self) -> list[Configuration]:
        """The others that may be the best of the candidates.

        With 95 % confidence the best one is the winner or among these (Gupta 1965): a candidate is
        left out where its error is shown to be higher than the winner's, each at an error of 5 %
        divided by their number. Where too few seeds are known, nothing is shown.
        """
        return [one for one in self.others if not self.excess(one).above(0, self.error)]

    @property
    def tells(self) -> bool:
        """Whether enough seeds are known to show anything of any candidate."""
        return any(self.excess(one).tells_at(self.error) for one in self.others)

    @functools.cached_property
    def smallest(self) -> Configuration:
        """The candidate of fewest parameters that comes close to the winner on validation.

        That is, the upper 95 % bound of its error minus the winner's is at most MARGIN. It may be
        the winner itself. Whether it is as good is tested on seeds that chose nothing.
        """
        close = [
            one
            for one in self.found
            if one.parameters < self.winner.parameters
            and self.excess(one).within(0.90)[1] <= MARGIN
        ]
        return min(close, key=lambda one: one.parameters, default=self.winner)

    def affordable(self, most: float) -> Configuration | None:
        """The best candidate whose training costs at most so many FLOPs for each seed."""
        return next((one for one in self.ordered if training_flops(one) <= most), None)


def training_flops(one: Configuration) -> float:
    """FLOPs of the forward passes of one run's training."""
    return run_flops(one.recipe, one.flops, len(one.data.train))


def run_flops(recipe: Recipe, flops: int, images: int) -> float:
    """The same of a recipe, with the FLOPs of one image and the number of training images."""
    return float(flops) * recipe.epochs * min(recipe.limit or images, images)
