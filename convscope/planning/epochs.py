"""Epochs and images that suit the data and the budget."""

from __future__ import annotations

import math
from dataclasses import replace

from convscope.planning.context import Context
from convscope.planning.grids import Exact, asked_of
from convscope.recipe import ConvNet, Recipe

REFERENCE_IMAGES = 45_000  # presets give epochs for a training split of so many images

TRAIN_SAMPLE = 5_000  # training images that are evaluated

MOST_EPOCHS = 60

MANY_STEPS = 5_000  # images below which a network takes as many steps as on so many

USUAL_WIDTH = 16  # presets give the capacity sweep's epochs and rates for so many filters

LONGEST = 2.0  # times as many epochs as a network of the usual width has, for narrow ones


def epochs_of(context: Context, epochs: int) -> int:
    """The number of epochs for the study's images, where a preset says `epochs` of them.

    Fewer images make an epoch shorter: the number grows with the square root of what is missing to
    REFERENCE_IMAGES. Under a time budget it shrinks by the budget's factor.
    """
    if isinstance(epochs, Exact):
        return max(1, nearest(epochs * context.fit.epochs))
    scale = math.sqrt(REFERENCE_IMAGES / max(1, len(context.data.train)))
    return max(
        1, min(MOST_EPOCHS, nearest(max(epochs, round(epochs * scale)) * context.fit.epochs))
    )


def nearest(epochs: float) -> int:
    """A whole number of epochs; halves are rounded up. A budget's plan is fitted by its cost."""
    return math.floor(epochs + 0.5)


def epochs_to_turn(context: Context, epochs: int, images: int, width: int) -> int:
    """The epochs of a run at a constant rate that should see its validation loss turn.

    At a constant rate a longer run contains the shorter one, so networks may differ in epochs: a
    narrow one, whose rate is higher by the same root, learns for longer. Measured on CIFAR-10:
    fewer images turn after somewhat more epochs, very few after as many steps.

    epochs: for REFERENCE_IMAGES and USUAL_WIDTH filters in the first block.
    images: training images of the run.
    width: filters in its first block.
    """
    if isinstance(epochs, Exact):
        return max(1, nearest(epochs * context.fit.epochs))
    by_images = max((REFERENCE_IMAGES / images) ** 0.25, MANY_STEPS / images)
    by_width = min(LONGEST, max(1.0, math.sqrt(USUAL_WIDTH / width)))
    most = LONGEST * MOST_EPOCHS
    return max(1, nearest(min(most, round(epochs * by_images * by_width)) * context.fit.epochs))


def nested_subsets(context: Context) -> tuple[int, ...]:
    """How many images the training subsets have, in ascending order, all that there are last.

    They are a ninth, a third and all; where a ninth is too few, a quarter, half and all; where a
    quarter is too few, all alone. A subset has at least two batches. `Recipe.limit` draws the
    smaller ones out of the larger ones. Numbers that a user has set are taken, up to all images.
    """
    available = training_images(context) or len(context.data.train)
    if asked := asked_of(context, "capacity").get("images"):
        return tuple(dict.fromkeys(min(number, available) for number in asked))
    for parts in (9, 3), (4, 2):
        if available // parts[0] >= 2 * context.base.batch:
            return (*(available // part for part in parts), available)
    return (available,)


def base_recipe(
    context: Context, most: int | None = None, sample: int | None = TRAIN_SAMPLE
) -> Recipe:
    """The study's base recipe on as many training images as a time budget leaves.

    most: the most training images; None: all.
    sample: from how many of them training figures are taken; None: all. No verdict but capacity's
        rests on these, and all images would take a quarter of a run's time.
    """
    limit = min(
        training_images(context) or len(context.data.train), most or len(context.data.train)
    )
    return replace(
        context.base,
        limit=limit if limit < len(context.data.train) else None,
        train_sample=sample if sample is not None and limit > sample else None,
    )


def training_images(context: Context) -> int | None:
    """How many training images a time budget leaves, at least a batch; None: all."""
    if context.fit.images == 1.0:
        return None
    return min(
        len(context.data.train),
        max(context.base.batch, round(context.fit.images * len(context.data.train))),
    )


def leaves_room(model: ConvNet, in_shape: tuple[int, int, int]) -> bool:
    """Whether images of this shape (channels, height, width) leave every pooling a map of 1×1."""
    return (min(in_shape[1:]) - (model.stem == "whiten")) // math.prod(model.pools) >= 1


def shallower(model: ConvNet, in_shape: tuple[int, int, int]) -> ConvNet:
    """The network with as many blocks as the images leave room for."""
    while model.depth > 1 and not leaves_room(model, in_shape):
        model = replace(
            model,
            depth=model.depth - 1,
            pool_sizes=model.pool_sizes[: model.depth - 1],
            dilations=model.dilations[: model.depth - 1],
        )
    return model


def smallest_of_capacity(context: Context) -> ConvNet | None:
    """The smallest network shown to be within the margin of the capacity sweep's best.

    None where that chapter has not found one.
    """
    return context.capacity.smallest if context.capacity is not None else None
