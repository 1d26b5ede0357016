"""Are a network's probabilities true? Temperature, expected calibration error, conformal sets.

The validation images are divided at random into halves. On one half the temperature is fitted, on
the other one the sets' threshold is found; the test images judge both. The epoch was chosen on all
validation images: the test figures say what that leaves of the promise.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import optimize, special
from torch import Tensor

from convscope.deployment.answers import Answers
from convscope.errors import UserError
from convscope.statistics import Interval
from convscope.training import derived_seed
from convscope.words import count, share

BINS = 15  # of confidence, with equally many images
RESAMPLES = 400
AT_ONCE = 100  # resamples in memory
LEVEL = 0.95  # of intervals
TEMPERATURES = (0.02, 50.0)
FEWEST = 2  # images of a half


@dataclass(frozen=True)
class Bounded(Interval):
    """A share with its 95 % interval, which prints itself."""

    def __str__(self) -> str:
        return f"{share(self.mean)} ({100 * self.low:.1f} to {100 * self.high:.1f})"


@dataclass(frozen=True)
class Calibration:
    """What makes a network's probabilities true, and how true they are on the test images.

    temperature: logits are divided by it before the softmax.
    threshold: a set holds the classes whose probability is at least 1 − threshold, and the most
        probable one.
    level: the share of images whose set is to hold their class.
    fitted: validation images that the temperature was fitted on.
    held: other validation images, by which the threshold was found.
    tested: test images.
    error_before: expected calibration error of the plain softmax on the test images.
    error: the same with the temperature.
    coverage: share of the test images whose set holds their class.
    size: mean number of classes of a set on the test images.
    """

    temperature: float
    threshold: float
    level: float
    fitted: int
    held: int
    tested: int
    error_before: Bounded | None = None
    error: Bounded | None = None
    coverage: Bounded | None = None
    size: float | None = None

    def probabilities(self, logits: Tensor) -> Tensor:
        """N×K, calibrated."""
        return (logits.double() / self.temperature).softmax(1)

    def sets(self, probabilities: Tensor) -> Tensor:
        """N×K booleans: which classes each set holds."""
        top = torch.nn.functional.one_hot(probabilities.argmax(1), probabilities.shape[1]).bool()
        return (probabilities >= 1 - self.threshold) | top

    def sentences(self) -> tuple[str, ...]:
        """What is to be said of it, without the full stop."""
        halves = (
            f"the validation images are divided at random: {self.fitted:,} fit the temperature "
            f"({self.temperature:.3g}), {self.held:,} others the sets"
        )
        if self.error is None or self.coverage is None or self.size is None:
            return (halves,)
        return (
            halves,
            f"expected calibration error on {count(self.tested, 'test image')}: {self.error}, "
            f"without the temperature {self.error_before}",
            f"{share(self.level, 0)} sets hold {self.size:.1f} classes on average, coverage "
            f"{self.coverage} on the test images",
        )

    def numbers(self) -> dict[str, Any]:
        """Plain JSON values; the threshold is null where sets hold all classes."""
        return {**asdict(self), "threshold": finite(self.threshold)}


def finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def calibrated(val: Answers, test: Answers, split_seed: int, level: float = LEVEL) -> Calibration:
    """Calibrate on validation images and judge on test images.

    val: logits and labels of the validation images.
    test: those of the test images.
    split_seed: of the recipe; the halves follow from it.
    level: the share of images whose set is to hold their class.

    Raises UserError where there are too few validation images.
    """
    if len(val) < 2 * FEWEST:
        raise UserError(
            f"{count(len(val), 'validation image')} held out: calibration needs {2 * FEWEST} or "
            "more; train with val above 0"
        )
    generator = torch.Generator().manual_seed(derived_seed("calibration", split_seed))
    order = torch.randperm(len(val), generator=generator)
    first, second = order[: len(val) // 2], order[len(val) // 2 :]
    temperature = fitted_temperature(val.logits[first], val.labels[first])
    probabilities = (val.logits[second].double() / temperature).softmax(1)
    threshold = conformal_threshold(probabilities, val.labels[second], level)
    found = Calibration(temperature, threshold, level, len(first), len(second), len(test))
    return judged(found, test) if len(test) else found


def judged(found: Calibration, test: Answers) -> Calibration:
    """The calibration with its figures on the test images."""
    probabilities = found.probabilities(test.logits)
    inside = found.sets(probabilities)
    held = inside.gather(1, test.labels[:, None]).sum().item()
    return Calibration(
        **{name: getattr(found, name) for name in ("temperature", "threshold", "level")},
        fitted=found.fitted,
        held=found.held,
        tested=found.tested,
        error_before=calibration_error(test.logits.double().softmax(1), test.labels),
        error=calibration_error(probabilities, test.labels),
        coverage=proportion(int(held), len(test)),
        size=float(inside.sum(1).double().mean()),
    )


def fitted_temperature(logits: Tensor, labels: Tensor) -> float:
    """The temperature of lowest mean cross-entropy (Guo et al. 2017, arXiv 1706.04599).

    The cross-entropy is convex in 1 / temperature.
    """
    values = logits.double()

    def loss(inverse: float) -> float:
        return float(torch.nn.functional.cross_entropy(values * inverse, labels))

    bounds = (1 / TEMPERATURES[1], 1 / TEMPERATURES[0])
    found: Any = optimize.minimize_scalar(
        lambda log: loss(math.exp(log)),
        bounds=(math.log(bounds[0]), math.log(bounds[1])),
        method="bounded",
        options={"xatol": 1e-6},
    )
    return 1 / math.exp(found.x)


def conformal_threshold(probabilities: Tensor, labels: Tensor, level: float) -> float:
    """The threshold of split conformal prediction: sets cover `level` of new images, or more.

    Of n images that calibrated nothing else it is the ⌈(n + 1) · level⌉-th smallest value of 1 −
    the probability of the true class (Sadinle, Lei & Wasserman 2019, JASA 114); infinite, so that
    sets hold all classes, where n is too small. The promise holds on average over such draws of n.
    """
    scores = (1 - probabilities.gather(1, labels[:, None])).flatten().sort().values
    rank = math.ceil((len(scores) + 1) * level - 1e-9)
    return math.inf if rank > len(scores) else float(scores[rank - 1])


def calibration_error(probabilities: Tensor, labels: Tensor) -> Bounded:
    """Expected calibration error with a 95 % interval, which errs on the wide side.

    It is the mean over bins of |accuracy − mean confidence|, weighted by their images; the bins of
    confidence hold equally many images. Chance makes it larger than the truth, most of all where a
    network is well calibrated. So the upper end adds the bootstrap's spread alone, and the lower
    end takes off what the bins' differences may have by chance: |a| − |b| is at most |a − b|.
    """
    confidence, answer = probabilities.max(1)
    order = confidence.argsort(stable=True)
    gaps = ((answer == labels).double() - confidence)[order].numpy()
    bins = np.array_split(np.arange(len(gaps)), min(BINS, len(gaps)))
    starts = np.array([part[0] for part in bins])
    found = np.add.reduceat(gaps, starts) / len(gaps)
    again = np.concatenate(list(resampled(gaps, starts)))
    plain = float(np.abs(found).sum())
    spread = float(np.abs(again).sum(1).std())
    chance = float(np.quantile(np.abs(again - found).sum(1), (1 + LEVEL) / 2))
    high = plain + float(special.ndtri((1 + LEVEL) / 2)) * spread
    return Bounded(plain, max(0.0, plain - chance), min(1.0, high))


def resampled(
    gaps: NDArray[np.float64], starts: NDArray[np.int64]
) -> Iterator[NDArray[np.float64]]:
    """The bins' shares in the error, of images drawn again with replacement: rows × bins."""
    draw = np.random.default_rng(0)
    even = np.full(len(gaps), 1 / len(gaps))
    for _ in range(0, RESAMPLES, AT_ONCE):
        weights = draw.multinomial(len(gaps), even, AT_ONCE)
        yield np.add.reduceat(gaps * weights, starts, axis=1) / len(gaps)


def proportion(hits: int, images: int) -> Bounded:
    """A share with its exact 95 % interval (Clopper & Pearson 1934)."""
    tail = (1 - LEVEL) / 2
    low = float(special.betaincinv(hits, images - hits + 1, tail)) if hits else 0.0
    high = float(special.betaincinv(hits + 1, images - hits, 1 - tail)) if hits < images else 1.0
    return Bounded(hits / images, low, high)
