"""A law of the loss over images and parameters, and its fit to what was measured.

It is the joint one of Rosenfeld et al. 2020 (arXiv 1909.12673): for n images and m parameters

    e = a·n^−α + b·m^−β + c        loss = e / √(1 + (e / chance)²)

The second formula keeps the loss below that of guessing. Pure functions of arrays.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from convscope.statistics.estimation import LEVEL, quantile

Floats = NDArray[np.floating]

COEFFICIENTS = 5  # a, α, b, β, c
LOWEST, HIGHEST = 0.1, 1.6  # exponents that are tried
COARSE, FINE = 16, 24  # of each exponent: in the whole range, then among those that are plausible
PLAUSIBLE = 4.0  # how many times the slack of an interval counts as plausible
TINY = 1e-12
FIXED = 1e4  # how many times more a figure that is held weighs than a loss


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

    exponents: the values of α and of β that are tried, each with each.
    figure: (images, parameters, weight) of points whose weighted losses add up to a figure that is
        held at given values, as if it had been measured exactly; none holds nothing.
    """

    def __init__(
        self,
        cells: Sequence[Cell],
        chance: float,
        errors: Errors,
        exponents: tuple[Floats, ...],
        figure: Sequence[tuple[float, float, float]] = (),
    ) -> None:
        images, parameters = (
            np.array([getattr(cell, name) for cell in cells], dtype=float)
            for name in ("images", "parameters")
        )
        self.at, self.chance = (int(images.max()), int(parameters.max())), chance
        self.alpha, self.beta = np.array(list(itertools.product(*exponents))).T
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
        rows = np.arange(len(target))
        squares = np.full(len(target), np.inf)
        coefficients = np.zeros((len(target), COEFFICIENTS))
        for columns, found, left in self.solutions(target):
            best = left.argmin(1)
            better = left[rows, best] < squares
            chosen = np.zeros((len(target), COEFFICIENTS))
            chosen[:, columns] = found[rows, best]
            chosen[:, 3], chosen[:, 4] = self.alpha[best], self.beta[best]
            coefficients[better] = chosen[better]
            squares[better] = left[rows, best][better]
        return coefficients, np.maximum(squares, 0.0)

    def solutions(self, target: Floats) -> Iterator[tuple[list[int], Floats, Floats]]:
        """(which of a, b, c; their values, sets × pairs × those; squares, sets × pairs).

        The squares are infinite where a value is negative.
        """
        whole = (target**2).sum(1)[:, None]
        for columns, solver, shape in zip(self.subsets, self.solvers, self.shapes, strict=True):
            pairs, size, _ = solver.shape
            found = (target @ solver.reshape(pairs * size, -1).T).reshape(-1, pairs, size)
            along = (target @ shape.reshape(pairs * size, -1).T).reshape(-1, pairs, size)
            left = whole - (found * along).sum(2)
            yield columns, found, np.where((found >= 0).all(2), left, np.inf)

    def squares(self) -> Floats:
        """Those of the best law of each pair of exponents: values of α × values of β."""
        target = (self.whiten @ self.e)[None]
        best = np.min([left[0] for _, _, left in self.solutions(target)], axis=0)
        return np.maximum(best, 0.0).reshape(len(set(self.alpha)), -1)

    def law(self) -> tuple[Law, float]:
        """The best law, and the squares that it leaves."""
        coefficients, squares = self.fit(self.e[None])
        a, b, c, alpha, beta = map(float, coefficients[0])
        return Law(a, alpha, b, beta, c, self.chance, self.at), float(squares[0])


def least_squares(design: Floats) -> Floats:
    """For each of many designs (… × rows × columns) the matrix that solves it."""
    q, r = np.linalg.qr(design)
    return np.linalg.solve(r, q.swapaxes(-1, -2))


def plausible_exponents(cells: Sequence[Cell], chance: float, errors: Errors) -> tuple[Floats, ...]:
    """(values of α, values of β): a fine grid over those with which a law fits well enough.

    Steps of a fixed grid are too wide where the losses are exact: a figure's interval would be that
    of the few laws on the grid.
    """
    axes = np.geomspace(LOWEST, HIGHEST, COARSE), np.geomspace(LOWEST, HIGHEST, COARSE)
    for _ in range(2):
        squares = Fitter(cells, chance, errors, axes).squares()
        lowest = float(squares.min())
        most = lowest + PLAUSIBLE * slack_of(lowest, len(cells), errors.degrees)
        near = [np.flatnonzero((squares <= most).any(other)) for other in (1, 0)]
        axes = tuple(
            np.geomspace(axis[max(0, found[0] - 2)], axis[min(len(axis) - 1, found[-1] + 2)], FINE)
            for axis, found in zip(axes, near, strict=True)
        )
    return axes


def slack_of(squares: float, cells: int, degrees: int) -> float:
    """By how much a law's squares may exceed the best one's, for a 95 % interval of one figure.

    Where the best law leaves more than the errors explain, its own squares are the yardstick.
    """
    left = cells - COEFFICIENTS
    if squares > left:
        return squares / left * quantile(LEVEL, left) ** 2
    return quantile(LEVEL, degrees) ** 2
