"""Epochs and images that suit the data and the budget."""

from __future__ import annotations

import math
from dataclasses import replace

from convscope.planning.context import Context
from convscope.recipe import ConvNet, Recipe

REFERENCE_IMAGES = 45_000  # presets give epochs for a training split of so many images

TRAIN_SAMPLE = 5_000  # training images evaluated after each epoch

MOST_EPOCHS = 60


def epochs_of(context: Context, epochs: int) -> int:
    """The number of epochs for the study's images, where a preset says `epochs` of them.

    Fewer images make an epoch shorter: the number grows with the square root of what is missing to
    REFERENCE_IMAGES. Under a time budget it shrinks by the budget's factor.
    """
    scale = math.sqrt(REFERENCE_IMAGES / max(1, len(context.data.train)))
    return max(
        1, min(MOST_EPOCHS, math.floor(max(epochs, round(epochs * scale)) * context.fit.epochs))
    )


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
    """The smallest network within one standard error of the capacity sweep's best.

    None where that chapter has not found one.
    """
    return context.capacity.smallest if context.capacity is not None else None
