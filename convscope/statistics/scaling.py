"""What more images or a larger network would buy: a law of the loss over both, and its test.

The law is the joint one of Rosenfeld et al. 2020 (arXiv 1909.12673): for n images and m parameters

    e = a·n^−α + b·m^−β + c        loss = e / √(1 + (e / chance)²)

The second formula keeps the loss below that of guessing. Intervals are by profile likelihood: the
values of a figure with which some law fits the losses as well as chance allows. A bootstrap covers
the truth too seldom where c is 0, at the border of what it may be. Pure functions of arrays.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from convscope.statistics.estimation import LEVEL, quantile

Floats = NDArray[np.floating]

COEFFICIENTS = 5  # a, α, b, β, c
LEAST_SIZES = 3  # different numbers of images, and of parameters, that the exponents take
LEAST_CELLS = COEFFICIENTS + 3  # the largest is held out, and two remain to see what is left over
EXPONENTS = np.geomspace(0.05, 2.0, 20)  # that are tried
TINY = 1e-12

NEAR_CHANCE = 0.98  # cells above this share of the loss of guessing tell nothing about the law
SCANNED = 81  # values of a figure

FIXED = 1e4  # how many times more a scanned figure weighs than a loss


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


@dataclass(frozen=True)
class Errors:
    """By how much cells' mean losses miss a law by chance.

    covariance: cells × cells, of seeds and of the images that all cells have in common.
    degrees: of freedom of the seeds' variance.
    """

    covariance: Floats
    degrees: int


def seed_variance(cells: Sequence[Cell]) -> tuple[float, int]:
    """(variance of a run's mean loss, degrees of freedom), pooled over the cells."""
    squares, degrees = 0.0, 0
    for cell in cells:
        means = cell.losses.mean(1, dtype=np.float64)
        squares += float(((means - means.mean()) ** 2).sum())
        degrees += len(means) - 1
    return (squares / degrees, degrees) if degrees else (np.nan, 0)


def errors_of(cells: Sequence[Cell]) -> Errors:
    """From the cells' losses: seeds' variance by their number, images' covariance."""
    variance, degrees = seed_variance(cells)
    covariance = np.diag([max(variance, TINY) / len(cell.losses) for cell in cells])
    table = np.stack([cell.losses.mean(0, dtype=np.float64) for cell in cells])
    if table.shape[1] > 1:
        covariance = covariance + np.cov(table) / table.shape[1]
    return Errors(covariance, degrees)


class Fitter:
    """Fits the law to the losses of given cells, many sets of them at a time.

    For each pair of exponents the law is linear in a, b and c, which must not be negative: the
    least squares of every subset of them are solved ahead, and the best that is allowed is taken.

    figure: (images, parameters, weight) of points whose weighted losses add up to a figure that is
        held at given values, as if it had been measured exactly; none holds nothing.
    """

    def __init__(
        self,
        cells: Sequence[Cell],
        chance: float,
        errors: Errors,
        figure: Sequence[tuple[float, float, float]] = (),
    ) -> None:
        images, parameters = (
            np.array([getattr(cell, name) for cell in cells], dtype=float)
            for name in ("images", "parameters")
        )
        self.at, self.chance = (int(images.max()), int(parameters.max())), chance
        self.alpha, self.beta = np.array(list(itertools.product(EXPONENTS, EXPONENTS))).T
        self.e, steepness = unbounded(np.array([cell.mean for cell in cells]), chance)
        root = np.linalg.cholesky(errors.covariance)
        self.whiten = np.linalg.solve(root, np.diag(steepness))
        design = np.einsum("dc,gck->gdk", self.whiten, self.terms(images, parameters))
        if figure:
            rows = [weight * self.terms(np.array([n]), np.array([m])) for n, m, weight in figure]
            self.weight = FIXED / float(np.sqrt(np.diag(errors.covariance).min()))
            design = np.concatenate([design, self.weight * sum(rows)], axis=1)
        self.subsets = [list(s) for k in (1, 2, 3) for s in itertools.combinations(range(3), k)]
        self.shapes = [design[:, :, s].transpose(0, 2, 1) for s in self.subsets]
        self.solvers = [least_squares(shape.transpose(0, 2, 1)) for shape in self.shapes]

    def terms(self, images: Floats, parameters: Floats) -> Floats:
        """What a, b and c are multiplied with: pairs of exponents × points × 3."""
        data = (images / self.at[0]) ** -self.alpha[:, None]
        size = (parameters / self.at[1]) ** -self.beta[:, None]
        return np.stack([data, size, np.ones_like(data)], axis=2)

    def fit(self, e: Floats, figures: Floats | None = None) -> tuple[Floats, Floats]:
        """(coefficients, squares): a, b, c, α, β of the best law, for each set of e.

        e: sets × cells, as `unbounded` returns it.
        figures: for each set the value that the figure is held at, in units of e.
        squares: of the errors, in units of their variance.
        """
        target = e @ self.whiten.T
        if figures is not None:
            target = np.hstack([target, self.weight * figures[:, None]])
        rows, whole = np.arange(len(target)), (target**2).sum(1)[:, None]
        squares = np.full(len(target), np.inf)
        coefficients = np.zeros((len(target), COEFFICIENTS))
        for columns, solver, shape in zip(self.subsets, self.solvers, self.shapes, strict=True):
            pairs, size, _ = solver.shape
            found = (target @ solver.reshape(pairs * size, -1).T).reshape(-1, pairs, size)
            along = (target @ shape.reshape(pairs * size, -1).T).reshape(-1, pairs, size)
            left = np.where((found >= 0).all(2), whole - (found * along).sum(2), np.inf)
            best = left.argmin(1)
            better = left[rows, best] < squares
            chosen = np.zeros((len(target), COEFFICIENTS))
            chosen[:, columns] = found[rows, best]
            chosen[:, 3], chosen[:, 4] = self.alpha[best], self.beta[best]
            coefficients[better] = chosen[better]
            squares[better] = left[rows, best][better]
        return coefficients, np.maximum(squares, 0.0)

    def law(self) -> tuple[Law, float]:
        """The best law, and the squares that it leaves."""
        coefficients, squares = self.fit(self.e[None])
        a, b, c, alpha, beta = map(float, coefficients[0])
        return Law(a, alpha, b, beta, c, self.chance, self.at), float(squares[0])


def least_squares(design: Floats) -> Floats:
    """For each of many designs (… × rows × columns) the matrix that solves it."""
    q, r = np.linalg.qr(design)
    return np.linalg.solve(r, q.swapaxes(-1, -2))


# --- the forecast


def forecast_of(
    cells: Sequence[Cell], chance: float, next_parameters: int, margin: float
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
    predicted = prediction_of(largest, others, chance)
    tested = Forecast("", len(cells), predicted, largest.mean)
    if largest.mean not in predicted:
        return replace(tested, reason="test failed")
    n, m = largest.images, largest.parameters
    here, more, wider = (n, m), (2 * n, m), (n, next_parameters)
    errors = errors_of(cells)
    law, squares = Fitter(cells, chance, errors).law()
    slack = slack_of(squares, len(cells), errors.degrees)

    def gain(*figure: tuple[tuple[int, int], int]) -> Interval:
        points = [(*point, weight) for point, weight in figure]
        return profiled(cells, chance, errors, law, points, squares + slack)

    images, size = gain((here, 1), (more, -1)), gain((here, 1), (wider, -1))
    between = gain((wider, 1), (more, -1))
    return replace(
        tested, images=images, size=size, limit=limit_of(images, size, between, margin), law=law
    )


def too_few(cells: Sequence[Cell]) -> str:
    """What is missing for a law; empty where nothing is."""
    if len({cell.images for cell in cells}) < LEAST_SIZES:
        return "too few numbers of images"
    if len({cell.parameters for cell in cells}) < LEAST_SIZES:
        return "too few sizes"
    if len(cells) < LEAST_CELLS:
        return "too few cells"
    return "" if seed_variance(cells)[1] else "one seed"


def slack_of(squares: float, cells: int, degrees: int) -> float:
    """By how much a law's squares may exceed the best one's, for a 95 % interval of one figure.

    Where the best law leaves more than the errors explain, its own squares are the yardstick.
    """
    left = cells - COEFFICIENTS
    if squares > left:
        return squares / left * quantile(LEVEL, left) ** 2
    return quantile(LEVEL, degrees) ** 2


def profiled(
    cells: Sequence[Cell],
    chance: float,
    errors: Errors,
    law: Law,
    figure: Sequence[tuple[float, float, float]],
    most: float,
) -> Interval:
    """The law's figure with the values that laws with at most so many squares give it.

    figure: (images, parameters, weight) of points whose weighted losses add up to it. Near the law
        it is proportional to the same sum of e: the slope is that between the points.
    """
    value = sum(weight * law.loss(n, m) for n, m, weight in figure)
    e = np.array([float(unbounded(np.asarray(law.loss(n, m)), chance)[0]) for n, m, _ in figure])
    steep = float(np.mean([unbounded(np.asarray(law.loss(n, m)), chance)[1] for n, m, _ in figure]))
    in_e = float(sum(weight * x for (_, _, weight), x in zip(figure, e, strict=True)))
    slope = value / in_e if abs(in_e) > TINY else steep
    fitter = Fitter(cells, chance, errors, figure)

    def squares(tried: Floats) -> Floats:
        return fitter.fit(np.repeat(fitter.e[None], len(tried), axis=0), tried / slope)[1]

    return interval_around(value, chance, squares, most)


def prediction_of(largest: Cell, others: Sequence[Cell], chance: float) -> Interval:
    """The largest cell's mean loss, predicted from the others: the means that would fit the law.

    They are those with which the squares of all cells exceed those of the others by no more than
    chance allows.
    """
    errors = errors_of(others)
    law, squares = Fitter(others, chance, errors).law()
    most = squares + slack_of(squares, len(others), errors.degrees)
    value = law.loss(largest.images, largest.parameters)
    moved = replace(largest, losses=largest.losses - largest.mean + value)
    fitter = Fitter([*others, moved], chance, errors_of([*others, largest]))

    def with_it(tried: Floats) -> Floats:
        sets = np.repeat(fitter.e[None], len(tried), axis=0)
        sets[:, -1] = unbounded(tried, chance)[0]
        return fitter.fit(sets)[1]

    return interval_around(value, min(value, NEAR_CHANCE * chance - value), with_it, most)


def interval_around(
    value: float, reach: float, squares: Callable[[Floats], Floats], most: float
) -> Interval:
    """The values near this one whose squares are at most so many; ends lie outside by a step.

    reach: how far to look at most, to both sides.
    """
    low, high, step = value, value, 0.0
    for _ in range(3):  # ever finer around what is allowed
        tried = value + np.linspace(-reach, reach, SCANNED)
        allowed = tried[squares(tried) <= most]
        low, high = float(min((*allowed, value))), float(max((*allowed, value)))
        step = 2 * reach / (SCANNED - 1)
        reach = min(reach, max(high - value, value - low) + step)
    return Interval(value, low - step, high + step)


def limit_of(images: Interval, size: Interval, between: Interval, margin: float) -> str:
    """Which of the two would buy more: "data", "size", "neither", "cannot tell".

    between: the gain of images minus that of size.
    """
    if images.high < margin and size.high < margin:
        return "neither"
    if between.low > 0:
        return "data"
    return "size" if between.high < 0 else "cannot tell"
