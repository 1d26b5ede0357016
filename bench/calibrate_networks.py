"""Cases of `make calibrate` about networks: learning curves with known truth, and their words.

Each epoch's loss has a deviation of its own in each seed. Where it is drawn anew after each epoch,
where it is twice as large at the end, and where it lasts, the same words are watched.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
from simulated import Case, Draw, Parts, Values

from convscope.statistics.configuration import Configuration
from convscope.statistics.learning_curves import course_of
from convscope.statistics.network_verdicts import FALL, FLAT, kind_of_verdict, signs_of, verdict_of

IMAGES = 1_000

CLASSES = 10

SCATTERS = ("anew", "late", "lasting")


def deviations(draw: Draw, kind: str, seeds: int, epochs: int, sd: float) -> Values:
    """Seeds × epochs, with standard deviation sd; "late" has twice that in the last third."""
    if kind == "lasting":  # an autoregressive process of order 1
        out = draw.normal(0, sd, (seeds, epochs))
        for epoch in range(1, epochs):
            out[:, epoch] = 0.6 * out[:, epoch - 1] + 0.8 * out[:, epoch]
        return out
    spread = np.full(epochs, sd)
    if kind == "late":
        spread[2 * epochs // 3 :] *= 2
    return draw.normal(0, 1, (seeds, epochs)) * spread


@dataclass(frozen=True)
class Truth:
    """What a network's losses are on average over seeds.

    train, val: after each epoch. accuracy: on validation images, after the best epoch.
    """

    name: str
    train: tuple[float, ...]
    val: tuple[float, ...]
    accuracy: float = 0.5


def at_the_end(start: float, change: float, epochs: int, share: bool = False) -> tuple[float, ...]:
    """A loss that falls to `start` in the first half and then changes by `change` per epoch.

    share: the change is a share of the loss.
    """
    early = epochs // 2
    falling = [start * (1 + 0.5 * 0.4**e) for e in range(early)]
    later = [
        start * (1 - change) ** (e + 1) if share else start - change * (e + 1)
        for e in range(epochs - early)
    ]
    return (*falling, *later)


def network(truth: Truth, draw: Draw, seeds: int, kind: str, sd: float, parts: Parts) -> Any:
    """What `signs_of` reads of a configuration: its runs' rows, and losses by image."""
    epochs = len(truth.val)
    off = deviations(draw, kind, seeds, epochs, sd)
    train = np.array(truth.train) * (1 + 0.7 * off / np.array(truth.val))
    val = np.array(truth.val) + off
    chosen = draw.integers(parts.image.shape[1], size=IMAGES)
    hard = parts.image[0, chosen] - parts.image[0].mean()
    histories = [row[:, None] + hard for row in val]
    right = draw.binomial(IMAGES, truth.accuracy, seeds) / IMAGES
    runs = []
    for seed in range(seeds):
        rows = [
            {"epoch": e + 1, "train_loss": float(train[seed, e]), "val_loss": float(row.mean())}
            for e, row in enumerate(histories[seed])
        ]
        best = {"val_accuracy": right[seed], "val_loss_sd": float(hard.std())}
        runs.append(SimpleNamespace(rows=rows, last=rows[-1], best=best))
    se = float(hard.std()) / math.sqrt(IMAGES)
    curves = {"train": train.mean(0).tolist(), "val": np.mean(histories, (0, 2)).tolist()}
    return SimpleNamespace(
        runs=runs,
        histories=histories,
        curve=curves.__getitem__,
        val_accuracy=SimpleNamespace(mean=float(right.mean())),
        val_last=SimpleNamespace(sampling_se=se),
        train_last=SimpleNamespace(sampling_se=se / 3),
    )


def word_of(truth: Truth, seeds: int, kind: str, sd: float, parts: Parts, draw: Draw) -> str:
    """The word on a network beside the best one of its sweep, which has half its training loss."""
    best = Truth("best", tuple(0.5 * loss for loss in truth.train), truth.val)
    family = [network(one, draw, seeds, kind, sd, parts) for one in (truth, best)]
    labels = SimpleNamespace(numpy=lambda: np.arange(IMAGES) % CLASSES)
    data = cast(Any, SimpleNamespace(val=SimpleNamespace(labels=labels)))
    return kind_of_verdict(verdict_of(signs_of(cast(list[Configuration], family), 1, data)[0]))


def network_words(parts: Parts) -> Iterator[Case]:
    """Each word where it is false by as little as it can be, and where it is true."""
    for epochs in (7, 12):
        for kind in SCATTERS:
            for word, truth, false in truths(epochs):
                for seeds in (2, 3):
                    happens = watched(word, truth, seeds, kind, parts)
                    yield Case(word, truth.name, false, seeds, IMAGES, happens)


def truths(epochs: int) -> Iterator[tuple[str, Truth, bool]]:
    """(word, truth, whether the word is false there)."""
    flat = at_the_end(1.4, 0.0, epochs)
    converged = at_the_end(1.35, 0.0, epochs, share=True)
    falls = at_the_end(1.35, FALL, epochs, share=True)
    yield "underfits", Truth("the training loss falls by 2 % per epoch", falls, flat), True
    far = at_the_end(1.26, 0.0, epochs, share=True)
    yield "underfits", Truth("validation lies 10 % above training", far, flat), True
    yield "underfits", Truth("both losses are flat, 4 % apart", converged, flat), False
    fast = at_the_end(1.2, 3 * FALL, epochs, share=True)
    yield "undertrained", Truth("training falls, validation is flat", fast, flat), True
    falling = at_the_end(1.4, 3 * FLAT, epochs)
    slow = at_the_end(1.2, FALL, epochs, share=True)
    yield "undertrained", Truth("training falls by 2 %, validation too", slow, falling), True
    yield "undertrained", Truth("both fall by 4 to 6 % per epoch", fast, falling), False
    for sign, name in ((1, "falls"), (-1, "rises")):
        bent = at_the_end(1.4, sign * FLAT, epochs)
        yield "fits", Truth(f"validation {name} by 0.02 nats per epoch", slow, bent), True
    yield "fits", Truth("validation is flat", at_the_end(1.0, 0, epochs, True), flat), False
    guess = Truth("accuracy of chance", converged, flat, 1 / CLASSES)
    yield "learned", guess, True
    better = Truth("5 points above chance", converged, flat, 0.15)
    yield "learned", better, False


def watched(word: str, truth: Truth, seeds: int, kind: str, parts: Parts) -> Callable[[Draw], bool]:
    sd = 0.5 * parts.seed_sd

    def happens(draw: Draw) -> bool:
        found = word_of(truth, seeds, kind, sd, parts, draw)
        return found != "did not learn" if word == "learned" else found == word

    return happens


def rising(parts: Parts) -> Iterator[Case]:
    """Overfitting, over ten epochs."""
    falling = [2.0, 1.5, 1.2, 1.1, 1.05, 1.02, 1.0, 0.99, 0.985, 0.98]
    flat = [2.0, 1.5, 1.2, 1.05, *[1.0] * 6]
    risen = [2.0, 1.5, 1.2, 1.05, 1.0, 1.0, 1.01, 1.02, 1.04, 1.06]
    far = [2.0, 1.5, 1.2, 1.05, 1.0, 1.0, 1.05, 1.1, 1.2, 1.3]
    for truth, name, false in (
        (flat, "flat from epoch 5 on", True),
        (falling, "falls to the end", True),
        (risen, "rises by 0.06 nats", False),
        (far, "rises by 0.3 nats", False),
    ):
        for seeds in (2, 3, 5):
            for kind in SCATTERS:
                for share in (0.5, 2.0):
                    happens = turning(truth, seeds, kind, share * parts.seed_sd, parts)
                    told = f"{name}; epochs scatter by {share:g} × seeds"
                    yield Case("overfits", told, false, seeds, IMAGES, happens)


def turning(
    truth: list[float], seeds: int, kind: str, sd: float, parts: Parts
) -> Callable[[Draw], bool]:
    """Whether a network with these true validation losses is said to overfit."""

    def happens(draw: Draw) -> bool:
        chosen = draw.integers(parts.image.shape[1], size=IMAGES)
        hard = parts.image[0, chosen] - parts.image[0].mean()
        means = np.array(truth) + deviations(draw, kind, seeds, len(truth), sd)
        shared = parts.shared[0][draw.integers(parts.shared.shape[1], size=(seeds, len(truth)))]
        values = means[:, :, None] + hard + shared[:, :, chosen]
        return course_of(list(values)).turn() is not None

    return happens
