"""What more images or a larger network would buy: a law of the loss over both, and its test.

The law is the joint one of Rosenfeld et al. 2020 (arXiv 1909.12673): for n images and m parameters

    e = a·n^−α + b·m^−β + c        loss = e / √(1 + (e / chance)²)

The second formula keeps the loss below that of guessing. Pure functions of arrays; what is random
is drawn by a seed.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]

COEFFICIENTS = 5  # a, α, b, β, c
LEAST_SIZES = 3  # different numbers of images, and of parameters, that the exponents take
LEAST_CELLS = COEFFICIENTS + 3  # the largest is held out, and two remain to see what is left over
EXPONENTS = np.geomspace(0.05, 2.0, 16)  # that are tried
NEAR_CHANCE = 0.98  # cells above this share of the loss of guessing tell nothing about the law
DRAWS = 300  # of the bootstrap
LEVEL = 0.95


@dataclass(frozen=True)
class Cell:
    """One size of network on one number of images.

    losses: seeds × validation images, the same ones in all cells; a column of means, seeds × 1,
        where the images' own losses are not known.
    """

    images: int
    parameters: int
    losses: Floats

    @property
    def mean(self) -> float:
        return float(self.losses.mean())


@dataclass(frozen=True)
class Law:
    """Loss over images and parameters. at: (images, parameters) where `a` and `b` are the terms."""

    a: float
    alpha: float
    b: float
    beta: float
    c: float
    chance: float
    at: tuple[int, int]

    def loss(self, images: float, parameters: float) -> float:
        data = self.a * (images / self.at[0]) ** -self.alpha
        size = self.b * (parameters / self.at[1]) ** -self.beta
        return float(bounded(np.asarray(data + size + self.c), self.chance))


@dataclass(frozen=True)
class Interval:
    """A figure with its 95 % interval."""

    mean: float
    low: float
    high: float

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high


@dataclass(frozen=True)
class Forecast:
    """What twice the images and the next size would buy at the largest cell.

    reason: why there is no forecast; empty where there is one.
    predicted, observed: the largest cell's loss, predicted from all others, and as it is; None
        where the cells are too few for a law.
    images, size: by how much the loss would fall; None without a forecast.
    limit: "data" or "size": which of the two would buy more; "neither" where both would buy less
        than the margin; "cannot tell".
    """

    reason: str
    cells: int
    predicted: Interval | None = None
    observed: float | None = None
    images: Interval | None = None
    size: Interval | None = None
    limit: str = "cannot tell"
    law: Law | None = None


# --- the law


def bounded(e: Floats, chance: float) -> Floats:
    """The loss of the law's sum e, which stays below that of guessing."""
    return e / np.sqrt(1 + (e / chance) ** 2)


def unbounded(loss: Floats, chance: float) -> tuple[Floats, Floats]:
    """(e, d loss / d e): the law's sum that a loss stands for, and how steep the loss is there."""
    left = 1 - (loss / chance) ** 2
    return loss / np.sqrt(left), left**1.5


class Fitter:
    """Fits the law to the losses of given cells, many sets of them at a time.

    For each pair of exponents the law is linear in a, b and c, which must not be negative: the
    least squares of every subset of them are solved ahead, and the best that is allowed is taken.
    """

    def __init__(self, images: Floats, parameters: Floats, steepness: Floats) -> None:
        self.at = int(images.max()), int(parameters.max())
        pairs = np.array(list(itertools.product(EXPONENTS, EXPONENTS)))
        self.alpha, self.beta = pairs.T
        data = (images / self.at[0]) ** -self.alpha[:, None]
        size = (parameters / self.at[1]) ** -self.beta[:, None]
        design = np.stack([data, size, np.ones_like(data)], axis=2)
        weighted = design * steepness[:, None]  # pairs × cells × 3
        self.steepness = steepness
        self.subsets = [list(s) for k in (1, 2, 3) for s in itertools.combinations(range(3), k)]
        self.shapes = [weighted[:, :, s].transpose(0, 2, 1) for s in self.subsets]
        self.solvers = [np.linalg.pinv(shape.transpose(0, 2, 1)) for shape in self.shapes]

    def fit(self, e: Floats) -> tuple[Floats, Floats]:
        """(coefficients, squares): for each row of e (sets × cells) a, b, c, α, β; what is left.

        The squares are those of losses, not of e.
        """
        target = e * self.steepness
        rows, whole = np.arange(len(e)), (target**2).sum(1)[:, None]
        squares = np.full(len(e), np.inf)
        coefficients = np.zeros((len(e), COEFFICIENTS))
        for columns, solver, shape in zip(self.subsets, self.solvers, self.shapes, strict=True):
            pairs, size, _ = solver.shape
            found = (target @ solver.reshape(pairs * size, -1).T).reshape(-1, pairs, size)
            along = (target @ shape.reshape(pairs * size, -1).T).reshape(-1, pairs, size)
            left = np.where((found >= 0).all(2), whole - (found * along).sum(2), np.inf)
            best = left.argmin(1)
            better = left[rows, best] < squares
            chosen = np.zeros((len(e), COEFFICIENTS))
            chosen[:, columns] = found[rows, best]
            chosen[:, 3], chosen[:, 4] = self.alpha[best], self.beta[best]
            coefficients[better] = chosen[better]
            squares[better] = left[rows, best][better]
        return coefficients, np.maximum(squares, 0.0)


def losses_at(
    coefficients: Floats, at: tuple[int, int], images: Floats, parameters: Floats, chance: float
) -> Floats:
    """The losses of laws (sets × 5, as `Fitter.fit` returns them) at some cells: sets × cells."""
    a, b, c, alpha, beta = (column[:, None] for column in coefficients.T)
    e = a * (images / at[0]) ** -alpha + b * (parameters / at[1]) ** -beta + c
    return bounded(e, chance)


# --- how much losses scatter


def seed_variance(cells: Sequence[Cell]) -> tuple[float, int]:
    """(variance of a run's mean loss, degrees of freedom), pooled over the cells."""
    squares, degrees = 0.0, 0
    for cell in cells:
        means = cell.losses.mean(1)
        squares += float(((means - means.mean()) ** 2).sum())
        degrees += len(means) - 1
    return (squares / degrees, degrees) if degrees else (np.nan, 0)


@dataclass(frozen=True)
class Scatter:
    """By how much cells' means miss the law.

    variance: of a run's mean loss where the seeds' scatter is the larger one (`of_seeds`), else
        that of what the law leaves over, the same for each cell.
    degrees: of freedom of the variance.
    """

    variance: float
    degrees: int
    of_seeds: bool

    def draw(self, cells: Sequence[Cell], draws: int, rng: np.random.Generator) -> Floats:
        """Draws × cells; the variance itself is uncertain."""
        counts = np.array([len(cell.losses) if self.of_seeds else 1 for cell in cells])
        scale = self.degrees / rng.chisquare(self.degrees, (draws, 1))
        return rng.standard_normal((draws, len(cells))) * np.sqrt(self.variance / counts * scale)


def scatter_of(cells: Sequence[Cell], squares: float) -> Scatter:
    """The larger of two: that of seeds, and what the law leaves over (`squares`, summed)."""
    variance, degrees = seed_variance(cells)
    left = squares / (len(cells) - COEFFICIENTS)
    if left > variance * np.mean([1 / len(cell.losses) for cell in cells]):
        return Scatter(left, len(cells) - COEFFICIENTS, of_seeds=False)
    return Scatter(variance, degrees, of_seeds=True)


def image_draws(cells: Sequence[Cell], draws: int, rng: np.random.Generator) -> Floats:
    """How the cells' means would change with other images, the same in all cells: draws × cells."""
    table = np.stack([cell.losses.mean(0, dtype=np.float64) for cell in cells], axis=1)
    count = len(table)
    if count < 2:
        return np.zeros((draws, len(cells)))
    weights = rng.multinomial(count, np.full(count, 1 / count), draws) / count
    return weights @ table - table.mean(0)


# --- the forecast


def forecast_of(
    cells: Sequence[Cell], chance: float, next_parameters: int, margin: float, seed: int = 0
) -> Forecast:
    """What twice the images, and the next size, would buy at the largest cell.

    The largest cell (most images, then most parameters) is predicted from all others first. Where
    its loss lies outside the predicted interval, nothing is forecast.

    cells: those near the loss of guessing are left out.
    chance: the loss of guessing.
    next_parameters: of the next size, as of the network of twice the width.
    margin: a gain below it does not count.
    """
    cells = [cell for cell in cells if cell.mean < NEAR_CHANCE * chance]
    if reason := too_few(cells):
        return Forecast(reason, len(cells))
    largest = max(cells, key=lambda cell: (cell.images, cell.parameters))
    others = [cell for cell in cells if cell is not largest]
    rng = np.random.default_rng(seed)
    moved = image_draws([*others, largest], DRAWS, rng)
    predicted = prediction_of(largest, others, chance, moved, rng)
    tested = Forecast("", len(cells), predicted, largest.mean)
    if largest.mean not in predicted:
        return replaced(tested, reason="test failed")
    laws, law, _ = bootstrapped([*others, largest], chance, moved, rng)
    n, m = largest.images, largest.parameters
    at = law.at
    here, images, size = (
        losses_at(laws, at, np.array([x]), np.array([y]), chance)[:, 0]
        for x, y in ((n, m), (2 * n, m), (n, next_parameters))
    )
    now = law.loss(n, m)
    gain_images = interval_of(now - law.loss(2 * n, m), here - images)
    gain_size = interval_of(now - law.loss(n, next_parameters), here - size)
    between = interval_of(gain_images.mean - gain_size.mean, size - images)
    limit = limit_of(gain_images, gain_size, between, margin)
    return replaced(tested, images=gain_images, size=gain_size, limit=limit, law=law)


def replaced(found: Forecast, **changes: Any) -> Forecast:
    return Forecast(**{**vars(found), **changes})


def too_few(cells: Sequence[Cell]) -> str:
    """What is missing for a law; empty where nothing is."""
    if len({cell.images for cell in cells}) < LEAST_SIZES:
        return "too few numbers of images"
    if len({cell.parameters for cell in cells}) < LEAST_SIZES:
        return "too few sizes"
    if len(cells) < LEAST_CELLS:
        return "too few cells"
    return "" if seed_variance(cells)[1] else "one seed"


def bootstrapped(
    cells: Sequence[Cell], chance: float, moved: Floats, rng: np.random.Generator
) -> tuple[Floats, Law, Scatter]:
    """(laws of the draws, the law, the scatter) of these cells.

    moved: how other images would change the cells' means, as `image_draws` returns it.
    """
    images, parameters = (
        np.array([getattr(cell, name) for cell in cells], dtype=float)
        for name in ("images", "parameters")
    )
    e, steepness = unbounded(np.array([cell.mean for cell in cells]), chance)
    fitter = Fitter(images, parameters, steepness)
    coefficients, squares = fitter.fit(e[None])
    scatter = scatter_of(cells, float(squares[0]))
    centre = losses_at(coefficients, fitter.at, images, parameters, chance)
    drawn = centre + moved + scatter.draw(cells, len(moved), rng)
    drawn = np.clip(drawn, 1e-6 * chance, NEAR_CHANCE * chance)
    laws, _ = fitter.fit(unbounded(drawn, chance)[0])
    a, b, c, alpha, beta = map(float, coefficients[0])
    return laws, Law(a, alpha, b, beta, c, chance, fitter.at), scatter


def prediction_of(
    largest: Cell, others: Sequence[Cell], chance: float, moved: Floats, rng: np.random.Generator
) -> Interval:
    """The largest cell's mean loss, predicted from the others, with its interval.

    The interval is that of the error, predicted minus observed: both see the same images, and the
    observed mean scatters as the others do.

    moved: as `image_draws` returns it, for the others and then the largest.
    """
    laws, law, scatter = bootstrapped(others, chance, moved[:, :-1], rng)
    n, m = np.array([largest.images]), np.array([largest.parameters])
    predicted = law.loss(largest.images, largest.parameters)
    drawn = losses_at(laws, law.at, n, m, chance)[:, 0]
    observed = predicted + moved[:, -1] + scatter.draw([largest], len(drawn), rng)[:, 0]
    return interval_of(predicted, predicted - (drawn - observed))


def interval_of(mean: float, draws: Floats) -> Interval:
    low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(mean), float(min(low, mean)), float(max(high, mean)))


def limit_of(images: Interval, size: Interval, between: Interval, margin: float) -> str:
    """Which of the two would buy more: "data", "size", "neither", "cannot tell".

    between: the gain of images minus that of size.
    """
    if images.high < margin and size.high < margin:
        return "neither"
    if between.low > 0:
        return "data"
    return "size" if between.high < 0 else "cannot tell"
