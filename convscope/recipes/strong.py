"""The strong recipe: made for accuracy in little time. On CIFAR-10 94.2 % in 11.7 minutes of
training on two cores, 93.4 % from one view of each test image (three seeds; bench/strong.py).

    convscope train cifar10 --recipe strong

Ideas and their sources:

- GELU: Hendrycks & Gimpel 2016, arXiv 1606.08415
- a fixed whitening layer first: Page 2019, "How to train your ResNet"; Tramèr & Boneh 2021
- convolutions that begin as the identity: Zagoruyko & Komodakis 2017, arXiv 1706.00388
- small logits at first, batch normalisation without scale, label smoothing, alternating flips,
  flips and shifts at test time, Muon with weights of fixed norm: Jordan 2024, arXiv 2404.00498,
  and the Muon optimiser
- smaller images in the first epochs: Howard 2018, DAWNBench; Tan & Le 2021

Own code.
"""

from __future__ import annotations

import math

from convscope.errors import UserError
from convscope.models import WhitenedNet
from convscope.recipe import Custom, Recipe
from convscope.training import small_shape

IMAGES, EPOCHS, BATCH, RATE = 50_000, 11, 500, 0.14  # of CIFAR-10
STEPS, MOST_EPOCHS = 40, 60  # steps an epoch, at least; epochs at most
MICRO_BATCH = 250
WIDTHS = (64, 256, 256)


def recipe(images: int = IMAGES) -> Recipe:
    """The recipe for so many training images.

    Of fewer images than CIFAR-10's, batches are smaller, with a lower rate, and epochs more; of
    more images, nothing changes.
    """
    batch = max(32, min(BATCH, images // STEPS))
    epochs = max(EPOCHS, min(MOST_EPOCHS, round(EPOCHS * math.sqrt(IMAGES / images))))
    return Recipe(
        model=Custom("convscope.recipes.strong:network"),
        val=0.0,
        epochs=epochs,
        batch=batch,
        micro_batch=MICRO_BATCH if batch > MICRO_BATCH else None,
        optimizer="muon",
        lr=RATE * math.sqrt(batch / BATCH),
        schedule="linear",
        label_smoothing=0.2,
        flip=True,
        alternate=True,
        crop=2,
        small_share=0.2,
        evaluate=("test",),
        views="flip and shift",
    )


def network(
    in_shape: tuple[int, int, int], num_classes: int, widths: list[int] | None = None
) -> WhitenedNet:
    """The recipe's network, with as many blocks as the smallest images of its training take.

    Its place is part of every id of a run by this recipe. Raises UserError for images without room
    for one block.
    """
    fitting = int(math.log2(min(small_shape(in_shape)[1:])))  # so many poolings leave a pixel
    if not fitting:
        raise UserError(
            f"recipe strong: takes images of 3×3 pixels or more, not of {in_shape[1]}×{in_shape[2]}"
        )
    return WhitenedNet(in_shape, num_classes, tuple(widths or WIDTHS)[:fitting])
