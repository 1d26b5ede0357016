"""The tiny recipe: made for a microcontroller, inside what ST's ResNet-8 needs. On 3×32×32 images
its feature maps need 45.0 KiB and its weights 75.3 KiB at int8 (`convscope inspect`). ST states
62.5 and 76.9 KiB, 87.0 % float and 85.6 % int8 on CIFAR-10.

    convscope train cifar10 --recipe tiny

Measured on two cores with AVX2 (`python bench/tiny.py --first 1 --seeds 3`): 87.92 % test accuracy
(standard deviation 0.22), and 87.80 % (0.22) at int8, means of seeds 1 to 3 (n = 3), which had no
part in the choice of anything. Seed 3 took 18.0 minutes of both cores.

Ideas and their sources, as in the strong recipe: a fixed whitening layer first, pooling behind each
block's first convolution, so that few maps have the full resolution, Muon, alternating flips.
Skips, and nine thin convolutions in place of fewer wide ones: He et al. 2015, arXiv 1512.03385.

Own code.
"""

from __future__ import annotations

import math

from convscope.recipe import ConvNet, Recipe

IMAGES, EPOCHS, BATCH, RATE = 50_000, 40, 250, 0.15  # of CIFAR-10
STEPS, MOST_EPOCHS = 40, 200  # steps an epoch, at least; epochs at most

NETWORK = ConvNet(
    width=24,
    depth=3,
    block_depth=3,
    growth=1.26,
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
