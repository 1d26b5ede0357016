"""An exported network judged on the whole test set, against torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from scipy import stats
from torch import Tensor

from convscope.deployment.calibration import Bounded
from convscope.statistics import paired_difference
from convscope.words import share

AT_ONCE = 250  # images
SINGLE = (1, 7)  # sizes of batches that are tried beside the whole
LEVEL = 0.05  # of the test whether an accuracy differs
SLACK = 0.05  # of the logits' range: an image's logits may depend so much on its batch's size


@dataclass(frozen=True)
class Score:
    """An exported network on the test images, against the network in torch.

    file: its name.
    images: test images.
    largest: the largest difference of a logit.
    agreement: share of the images on which both name the same class.
    accuracy: share that it gets right.
    torch_accuracy: share that torch gets right, in float32.
    difference: its accuracy minus torch's, paired by image.
    p: of the exact test of McNemar 1947: the chance of so uneven a split, were both as good.
    batches: whether batches of 1 and 7 images give what the whole gives.
    """

    file: str
    images: int
    largest: float
    agreement: float
    accuracy: float
    torch_accuracy: float
    difference: Bounded
    p: float
    batches: bool

    @property
    def differs(self) -> bool:
        """Whether its accuracy is another one: by interval and, of few images, by the exact test.

        The interval is too narrow where both differ on few images.
        """
        outside = self.difference.low > 0 or self.difference.high < 0
        return outside and self.p < LEVEL

    @property
    def done(self) -> bool:
        return self.batches and not self.differs

    def __str__(self) -> str:
        low, high = 100 * self.difference.low, 100 * self.difference.high
        word = "differs" if self.differs else "no difference shown"
        text = (
            f"{self.file}: accuracy {share(self.accuracy, 2)} on {self.images:,} test images, "
            f"torch {share(self.torch_accuracy, 2)}: {100 * self.difference.mean:+.2f} points "
            f"({low:+.2f} to {high:+.2f}), {word}; same class on {share(self.agreement, 2)}, "
            f"largest difference of a logit {self.largest:.2g}"
        )
        return text if self.batches else f"{text}; batches of 1 or 7 images give other answers"

    def numbers(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {**asdict(self), "differs": self.differs, "done": self.done}


def scored(
    file: str, exported: Callable[[Tensor], Tensor], images: Tensor, labels: Tensor, truth: Tensor
) -> Score:
    """Judge an exported network.

    file: its name.
    exported: from uint8 images N×C×H×W to logits N×K.
    images: the test images.
    labels: their classes.
    truth: the network's logits in torch.
    """
    logits = in_parts(exported, images)
    ours, theirs = logits.argmax(1) == labels, truth.argmax(1) == labels
    found = paired_difference([ours.numpy()], [theirs.numpy()])
    gained, lost = int((ours & ~theirs).sum()), int((theirs & ~ours).sum())
    changed = gained + lost
    return Score(
        file,
        len(images),
        float((logits - truth).abs().max()),
        float((logits.argmax(1) == truth.argmax(1)).double().mean()),
        float(ours.double().mean()),
        float(theirs.double().mean()),
        Bounded(found.mean, found.low, found.high),
        float(stats.binomtest(gained, changed).pvalue) if changed else 1.0,
        same_in_batches(exported, images, logits),
    )


def in_parts(network: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """Logits of many images."""
    with torch.no_grad():
        return torch.cat([network(part.contiguous()) for part in images.split(AT_ONCE)])


def same_in_batches(exported: Callable[[Tensor], Tensor], images: Tensor, logits: Tensor) -> bool:
    """Whether batches of 1 and 7 images give what the whole gave."""
    slack = SLACK * float(logits.max() - logits.min()) + 1e-6
    for size in SINGLE:
        few = images[:size].contiguous()
        with torch.no_grad():
            found = exported(few)
        expected = logits[: len(few)]
        if found.shape != expected.shape or float((found - expected).abs().max()) > slack:
            return False
    return True
