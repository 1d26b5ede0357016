"""Studies with known truth, from values by image of real runs.

The parts of a value (convscope/statistics/crossed_factors.py) come from real networks: what is hard
about an image, for each width; and what image and seed share. The mean of each size and the scatter
of seeds are then set, so that the truth is known, and the images are drawn anew.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

import convscope as cs
from convscope.training import image_losses, right_answers

Values = NDArray[np.floating]

Draw = np.random.Generator


@dataclass(frozen=True)
class Case:
    """A truth, and the word that is watched.

    word: of a verdict; truth: in words; false: whether the word is false there.
    seeds, images: of the study. happens: simulates one and says whether the word comes out.
    """

    word: str
    truth: str
    false: bool
    seeds: int
    images: int
    happens: Callable[[Draw], bool]


WIDTHS = (4, 8, 16)

IMAGES, EPOCHS, SEEDS = 4_000, 3, 3  # of the real runs


@dataclass(frozen=True)
class Parts:
    """What real runs say of values by image, for networks of growing width.

    image: widths × images, the means over seeds.
    shared: widths × seeds × images, what image and seed share.
    seed_sd: the standard deviation between seeds, the median over widths.
    """

    image: Values
    shared: Values
    seed_sd: float

    def study(
        self,
        means: list[float],
        draw: np.random.Generator,
        seeds: int,
        images: int,
        seed_sd: list[float] | float | None = None,
    ) -> list[Values]:
        """Values seeds × images of sizes with these true means over all images there are.

        seed_sd: of all sizes, or of each; None: as measured.
        """
        chosen = draw.integers(self.image.shape[1], size=images)
        spread = self.seed_sd if seed_sd is None else seed_sd
        out = []
        for place, mean in enumerate(means):
            width = place % len(self.image)
            image = self.image[width] - self.image[width].mean()
            rows = draw.integers(self.shared.shape[1], size=seeds)
            signs = draw.choice([-1.0, 1.0], size=(seeds, 1))
            # each seed sees its own order of what is shared, so that seeds stay independent
            shared = np.stack([self.shared[width, row][draw.permutation(chosen)] for row in rows])
            sd = spread[place] if isinstance(spread, list) else spread
            deviations = draw.normal(0, sd, (seeds, 1))
            out.append(mean + image[chosen] + deviations + signs * shared)
        return out


def parts_of(values: list[Values]) -> Parts:
    """values: for each width an array seeds × images."""
    image = np.stack([v.mean(axis=0) for v in values])
    rest = np.stack([v - v.mean(axis=0) - v.mean(axis=1, keepdims=True) + v.mean() for v in values])
    seeds = values[0].shape[0]
    sds = [v.mean(axis=1).std(ddof=1) for v in values]
    return Parts(image, rest * np.sqrt(seeds / (seeds - 1)), float(np.median(sds)))


def real_parts(data: str, root: Path) -> dict[str, Parts]:
    """Parts of losses and of right answers, from networks that are trained for it.

    data: a known data set; its test images are the images.
    root: where the runs are kept; they are trained once.
    """
    loaded = cs.load(data)
    limit = min(IMAGES, len(loaded.train))
    losses, right = [], []
    for width in WIDTHS:
        recipe = cs.Recipe(
            data=data,
            model=cs.ConvNet(width, 3),
            epochs=EPOCHS,
            limit=limit,
            train_sample=min(1_000, limit),
            evaluate_every=EPOCHS,
            lr=0.002 * (16 / width) ** 0.5,
        )
        runs = [cs.train(replace(recipe, seed=seed), root, data=loaded) for seed in range(SEEDS)]
        losses.append(np.stack([known(image_losses(run, "test")) for run in runs]))
        right.append(np.stack([known(right_answers(run, loaded)) for run in runs]))
    return {"loss": parts_of(losses), "accuracy": parts_of(right)}


def known(values: Tensor | None) -> Values:
    assert values is not None, "a run of this version records values by image"
    return values.double().numpy()
