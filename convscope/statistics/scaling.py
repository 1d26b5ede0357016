"""What more images or a larger network would buy, by the law of scaling_law.py, and its test.

Intervals are by profile likelihood: the values of a figure with which some law fits the losses as
well as chance allows. A bootstrap covers the truth too seldom where c is 0, at the border of what
it may be. Pure functions of arrays.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from convscope.statistics.scaling_law import (
    COEFFICIENTS,
    TINY,
    Cell,
    Fitter,
    Floats,
    Law,
    errors_of,
    plausible_exponents,
    seed_variance,
    slack_of,
    unbounded,
)

LEAST_SIZES = 3  # different numbers of images, and of parameters, that the exponents take
LEAST_CELLS = COEFFICIENTS + 3  # the largest is held out, and two remain to see what is left over
NEAR_CHANCE = 0.98  # cells above this share of the loss of guessing tell nothing about the law
SCANNED = 41  # values of a figure


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
    known = too_few(cells)
    cells = [cell for cell in cells if cell.mean < NEAR_CHANCE * chance]
    if too_few(cells):
        return Forecast(known or "too little learned", len(cells))
    largest = max(cells, key=lambda cell: (cell.images, cell.parameters))
    others = [cell for cell in cells if cell is not largest]
    predicted = prediction_of(largest, others, chance)
    tested = Forecast("", len(cells), predicted, largest.mean)
    if largest.mean not in predicted:
        return replace(tested, reason="test failed")
    n, m = largest.images, largest.parameters
    here, more, wider = (n, m), (2 * n, m), (n, next_parameters)
    errors = errors_of(cells)
    exponents = plausible_exponents(cells, chance, errors)
    law, squares = Fitter(cells, chance, errors, exponents).law()
    most = squares + slack_of(squares, len(cells), errors.degrees)

    def gain(*figure: tuple[tuple[int, int], int]) -> Interval:
        points = [(*point, weight) for point, weight in figure]
        fitter = Fitter(cells, chance, errors, exponents, points)
        return profiled(fitter, law, points, most)

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


def profiled(
    fitter: Fitter, law: Law, figure: Sequence[tuple[float, float, float]], most: float
) -> Interval:
    """The law's figure with the values that laws with at most so many squares give it.

    fitter: holds the figure.
    figure: (images, parameters, weight) of points whose weighted losses add up to it. Near the law
        it is proportional to the same sum of e: the slope is that between the points.
    """
    chance = law.chance
    value = sum(weight * law.loss(n, m) for n, m, weight in figure)
    e = np.array([float(unbounded(np.asarray(law.loss(n, m)), chance)[0]) for n, m, _ in figure])
    steep = float(np.mean([unbounded(np.asarray(law.loss(n, m)), chance)[1] for n, m, _ in figure]))
    in_e = float(sum(weight * x for (_, _, weight), x in zip(figure, e, strict=True)))
    slope = value / in_e if abs(in_e) > TINY else steep

    def squares(tried: Floats) -> Floats:
        return fitter.fit(np.repeat(fitter.e[None], len(tried), axis=0), tried / slope)[1]

    return interval_around(value, chance, squares, most)


def prediction_of(largest: Cell, others: Sequence[Cell], chance: float) -> Interval:
    """The largest cell's mean loss, predicted from the others: the means that would fit the law.

    They are those with which the squares of all cells exceed those of the others by no more than
    chance allows.
    """
    errors = errors_of(others)
    exponents = plausible_exponents(others, chance, errors)
    law, squares = Fitter(others, chance, errors, exponents).law()
    most = squares + slack_of(squares, len(others), errors.degrees)
    value = law.loss(largest.images, largest.parameters)
    moved = replace(largest, losses=largest.losses - largest.mean + value)
    together = errors_of([*others, largest])
    fitter = Fitter([*others, moved], chance, together, exponents)

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
