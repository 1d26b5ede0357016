"""The tiny recipe: made for a microcontroller with the memory of ST's ResNet-8. NOT YET MEASURED.

convscope train cifar10 --recipe tiny
"""

from __future__ import annotations

import math

from convscope.recipe import ConvNet, Recipe

IMAGES, EPOCHS, BATCH, RATE = 50_000, 60, 250, 0.15  # of CIFAR-10
STEPS, MOST_EPOCHS = 40, 200  # steps an epoch, at least; epochs at most

NETWORK = ConvNet(
    width=21,
    depth=3,
    block_depth=3,
    growth=1.38,
    norm="batch",
    skip=True,
    head="gap",
    stem="whiten",
    pool_at="first",
)


def recipe(images: int = IMAGES) -> Recipe:
    """The recipe for so many training images.

    Of fewer images than CIFAR-10's, batches are smaller, with a lower rate, and epochs more; of
    more images, nothing changes.
    """
    batch = max(32, min(BATCH, images // STEPS))
    epochs = max(EPOCHS, min(MOST_EPOCHS, round(EPOCHS * math.sqrt(IMAGES / images))))
    return Recipe(
        model=NETWORK,
        val=0.0,
        epochs=epochs,
        batch=batch,
        optimizer="muon",
        lr=RATE * math.sqrt(batch / BATCH),
        schedule="linear",
        weight_decay=1e-2,
        flip=True,
        alternate=True,
        crop=2,
        evaluate=("test",),
        evaluate_every=10,
    )
