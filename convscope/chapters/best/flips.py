"""May training images be mirrored? One pilot that never saw mirror images, or two, tell."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from convscope.chapters.best.validation import validated, validation_logits
from convscope.errors import UserError
from convscope.planning import MANY_IMAGES, Answer, Context, Request, Step, reference_recipe
from convscope.recipe import ConvNet, Recipe
from convscope.statistics import paired_difference
from convscope.training import Run, note_unreadable

MIRROR_MARGIN = 0.02  # of accuracy: mirror images that cost more are other images


@dataclass(frozen=True)
class Change:
    """A difference of accuracies with its 95 % interval over images."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Flips:
    """What the pilots say of mirror images.

    recipe: of the pilot without flips.
    accuracy: its accuracy on the validation images; None: there is no such run.
    mirrored: its accuracy on their mirror images minus that, paired by image.
    trained: that of the pilot with flips minus that of the one without, paired by image; None
        where mirror images are not other images, so that it is not needed.
    """

    recipe: Recipe
    accuracy: float | None = None
    mirrored: Change | None = None
    trained: Change | None = None

    @property
    def handed(self) -> bool:
        """Whether mirror images are shown to be other images to a network that never saw any."""
        return self.mirrored is not None and self.mirrored.high < -MIRROR_MARGIN

    @property
    def allowed(self) -> bool:
        """Whether training images may be mirrored: unless both pilots speak against it."""
        return not (self.handed and self.trained is not None and self.trained.high < 0)

    def numbers(self) -> dict[str, Any]:
        """For results.json."""
        out: dict[str, Any] = {"allowed": self.allowed, "accuracy": self.accuracy}
        for name, change in (("mirrored", self.mirrored), ("trained", self.trained)):
            out[name] = None if change is None else change.mean
            out[f"{name}_interval"] = None if change is None else [change.low, change.high]
        return out


def flip_pilot(context: Context, flip: bool = False) -> Recipe:
    """The reference recipe at half its width, with flips or without.

    It has one epoch on a quarter of the training images, or a quarter of the epochs on small sets.
    """
    reference = reference_recipe(context)
    assert isinstance(reference.model, ConvNet)
    images = reference.limit or len(context.data.train)
    many = images >= MANY_IMAGES
    return replace(
        reference,
        model=replace(reference.model, width=max(1, reference.model.width // 2)),
        epochs=1 if many else max(1, reference.epochs // 4),
        limit=images // 4 if many else reference.limit,
        flip=flip,
        evaluate=("val",),
    )


def piloted_flips(context: Context) -> Generator[Step, Answer, Flips]:
    """Whether images may be mirrored. Use with `yield from`.

    First one network, trained without flips, looks at each validation image and at its mirror
    image: no chance of training is in the difference. Where an object mirrored is the same object,
    as most are, the two are alike. Where they are not, as of letters and digits, a second pilot is
    trained with flips. These are given up where that is shown to cost accuracy, too.
    """
    recipe = flip_pilot(context)
    answer = yield [Request([recipe], "pilot")]
    runs = answer.of("pilot")
    plain = run_of(recipe, runs)
    found = Flips(recipe) if plain is None else looked_at(context, plain)
    if plain is None or not found.handed:
        return found
    other = flip_pilot(context, flip=True)
    if run_of(other, runs) is None:
        answer = yield [Request([other], "pilot")]
        runs = answer.of("pilot")
    flipped = run_of(other, runs)
    return found if flipped is None else replace(found, trained=cost_of(context, flipped, plain))


def run_of(recipe: Recipe, runs: Sequence[Run]) -> Run | None:
    return next((run for run in runs if run.recipe == recipe and run.status == "finished"), None)


def looked_at(context: Context, run: Run) -> Flips:
    """What a pilot without flips says of mirror images."""

    def answers() -> dict[str, float] | None:
        try:
            plain, mirrored = (
                validation_logits(context, run, way).argmax(1) for way in (False, True)
            )
        except UserError as error:
            note_unreadable("answers on mirror images", run, error)
            return None
        labels = context.data.val.labels
        right = [np.asarray((seen == labels).double()) for seen in (mirrored, plain)]
        change = paired_difference(right[:1], right[1:])
        return {
            "accuracy": float(right[1].mean()),
            "mean": change.mean,
            "low": change.low,
            "high": change.high,
        }

    known = context.computed("answers on mirror images", run, answers)
    if known is None:
        return Flips(run.recipe)
    change = Change(known["mean"], known["low"], known["high"])
    return Flips(run.recipe, known["accuracy"], change)


def cost_of(context: Context, flipped: Run, plain: Run) -> Change | None:
    """The accuracy of a pilot with flips minus that of one without, paired by image.

    Both begin with the same seed. How much another seed would move the difference is not known.
    """
    seen = [validated(context, run) for run in (flipped, plain)]
    right = [one.right.astype(float) for one in seen if one is not None]
    if len(right) < 2:
        return None
    change = paired_difference(right[:1], right[1:])
    return Change(change.mean, change.low, change.high)
