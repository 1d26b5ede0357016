"""What more images or a larger network would buy: the law, its intervals, and when it is silent."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from convscope.statistics.scaling import Forecast, Interval, forecast_of, limit_of
from convscope.statistics.scaling_law import (
    Cell,
    Fitter,
    Law,
    bounded,
    errors_of,
    plausible_exponents,
    unbounded,
)

CHANCE = math.log(10)
WIDTHS = {2: 1_718, 8: 11_162, 16: 33_834, 32: 113_738, 64: 411_786}
# the cells of the preset quick on CIFAR-10: images, parameters, seeds
QUICK = [(5_000, WIDTHS[w], 2) for w in (2, 8, 16, 32)]
QUICK += [(15_000, WIDTHS[w], 1) for w in (8, 16, 32)]
QUICK += [(45_000, WIDTHS[w], 2) for w in (2, 8, 16, 32)]
AT = (45_000, WIDTHS[32])
DATA = Law(0.4, 0.35, 0.05, 0.5, 0.35, CHANCE, AT)
SIZE = Law(0.06, 0.6, 0.4, 0.25, 0.4, CHANCE, AT)


def cells_of(law: Law, sd: float, sizes: list[tuple[int, int, int]], seed: int = 0) -> list[Cell]:
    rng = np.random.default_rng(seed)
    return [
        Cell(n, m, law.loss(n, m) + sd * rng.standard_normal((seeds, 1))) for n, m, seeds in sizes
    ]


def test_the_loss_stays_below_guessing_and_can_be_turned_back() -> None:
    e = np.array([1e-3, 0.5, 2.0, 50.0])
    loss = bounded(e, CHANCE)
    assert loss[0] == pytest.approx(1e-3, rel=1e-6) and (loss < CHANCE).all()
    back, steep = unbounded(loss, CHANCE)
    assert back == pytest.approx(e, rel=1e-6)
    ahead = bounded(e * (1 + 1e-6), CHANCE)
    assert steep == pytest.approx((ahead - loss) / (e * 1e-6), rel=1e-3)


def test_the_law_is_found_again_where_nothing_scatters() -> None:
    cells = cells_of(DATA, 1e-4, QUICK)
    errors = errors_of(cells)
    law, squares = Fitter(cells, CHANCE, errors, plausible_exponents(cells, CHANCE, errors)).law()
    for n, m in ((90_000, WIDTHS[32]), (45_000, WIDTHS[64]), (20_000, 5_000)):
        assert law.loss(n, m) == pytest.approx(DATA.loss(n, m), abs=0.02)
    assert squares >= 0 and min(law.a, law.b, law.c) >= 0


@pytest.mark.parametrize(("law", "limit"), [(DATA, "data"), (SIZE, "size")])
def test_the_limit_is_what_buys_more(law: Law, limit: str) -> None:
    found = forecast_of(cells_of(law, 0.004, QUICK), CHANCE, WIDTHS[64], margin=0.02)
    assert found.reason == "" and found.limit == limit and found.cells == len(QUICK)
    assert found.images and found.size and found.predicted and found.observed
    here = law.loss(*AT)
    assert here - law.loss(90_000, WIDTHS[32]) in found.images
    assert here - law.loss(45_000, WIDTHS[64]) in found.size
    assert found.observed in found.predicted
    assert (found.images.mean > found.size.mean) == (limit == "data")


def coverage_of(
    law: Law,
    sizes: Sequence[tuple[int, int, int]],
    seed_sd: float,
    next_parameters: int,
    margin: float,
    studies: int,
    seed: int = 0,
) -> dict[str, float]:
    """How often forecasts of simulated studies are right: shares of the studies.

    sizes: (images, parameters, seeds) of each cell; means over seeds scatter by `seed_sd`.
    Returns "tested" (the largest cell lies inside what is predicted), of these "images" and "size"
    (the interval holds the true gain), and "wrong" (the limit is told, and it is the other one).
    """
    rng = np.random.default_rng(seed)
    n, m = max((n, m) for n, m, _ in sizes)
    here = law.loss(n, m)
    more, wider = here - law.loss(2 * n, m), here - law.loss(n, next_parameters)
    true = "data" if more > wider else "size"
    found: list[Forecast] = []
    for _ in range(studies):
        cells = [
            Cell(n, m, law.loss(n, m) + seed_sd * rng.standard_normal((seeds, 1)))
            for n, m, seeds in sizes
        ]
        found.append(forecast_of(cells, law.chance, next_parameters, margin))
    told = [one for one in found if one.images is not None and one.size is not None]
    counts = {
        "images": sum(more in one.images for one in told if one.images),
        "size": sum(wider in one.size for one in told if one.size),
        "wrong": sum(one.limit in {"data", "size"} - {true} for one in told),
    }
    return {"tested": len(told) / studies} | {
        name: count / max(1, len(told)) for name, count in counts.items()
    }


@pytest.mark.slow
def test_intervals_hold_the_truth_also_at_the_border_of_the_law() -> None:
    border = Law(0.3, 0.4, 0.2, 0.4, 0.0, CHANCE, AT)  # nothing stays: a bootstrap fails here
    for law in (border, DATA):
        shares = coverage_of(law, QUICK, 0.012, WIDTHS[64], margin=0.02, studies=6, seed=1)
        assert shares["images"] >= 5 / 6 and shares["size"] >= 5 / 6 and shares["wrong"] == 0
        assert shares["tested"] >= 5 / 6


def test_nothing_is_forecast_where_the_largest_cell_is_not_as_predicted() -> None:
    cells = cells_of(DATA, 0.004, QUICK)
    off = replace(cells[-1], losses=cells[-1].losses + 0.15)
    found = forecast_of([*cells[:-1], off], CHANCE, WIDTHS[64], margin=0.02)
    assert found.reason == "test failed" and found.observed == off.mean
    assert found.predicted and found.predicted.high < off.mean
    assert found.images is None and found.size is None and found.law is None


def test_the_images_of_all_cells_are_the_same_ones() -> None:
    """What easy or hard validation images do to all cells alike does not widen what is gained."""
    rng = np.random.default_rng(0)
    hard = rng.standard_normal(500)
    means = cells_of(DATA, 0.004, QUICK)
    seen = [
        replace(c, losses=c.losses + hard + 0.05 * rng.standard_normal((len(c.losses), 500)))
        for c in means
    ]
    covariance = errors_of(seen).covariance
    assert covariance[0, 1] == pytest.approx(hard.var(ddof=1) / 500, rel=0.05)
    a, b = (forecast_of(cells, CHANCE, WIDTHS[64], margin=0.02).images for cells in (means, seen))
    assert a and b and b.high - b.low < 2 * (a.high - a.low)
    assert a.mean == pytest.approx(b.mean, abs=0.01)


@pytest.mark.parametrize(
    ("sizes", "reason"),
    [
        ([s for s in QUICK if s[0] != 15_000], "too few numbers of images"),
        ([s for s in QUICK if s[1] in (WIDTHS[8], WIDTHS[32])], "too few sizes"),
        (QUICK[1:7] + QUICK[-1:], "too few cells"),
        ([(n, m, 1) for n, m, _ in QUICK], "one seed"),
        ([], "too few numbers of images"),
    ],
)
def test_too_little_for_a_law(sizes: list[tuple[int, int, int]], reason: str) -> None:
    found = forecast_of(cells_of(DATA, 0.01, sizes), CHANCE, WIDTHS[64], margin=0.02)
    assert found.reason == reason and found.predicted is None and found.limit == "cannot tell"


def test_cells_that_only_guess_are_left_out() -> None:
    guess = Cell(5_000, 900, np.full((2, 1), CHANCE))
    found = forecast_of([guess, *cells_of(DATA, 0.004, QUICK)], CHANCE, WIDTHS[64], margin=0.02)
    assert found.cells == len(QUICK) and found.reason == ""
    all_guess = [replace(c, losses=np.full((2, 1), CHANCE)) for c in cells_of(DATA, 0.004, QUICK)]
    assert forecast_of(all_guess, CHANCE, WIDTHS[64], 0.02).reason == "too little learned"


@pytest.mark.parametrize(
    ("images", "size", "between", "limit"),
    [
        ((0.0, 0.01), (0.0, 0.019), (-0.01, 0.01), "neither"),
        ((0.0, 0.03), (0.0, 0.01), (-0.01, 0.03), "cannot tell"),
        ((0.05, 0.09), (0.0, 0.01), (0.04, 0.09), "data"),
        ((0.0, 0.01), (0.05, 0.09), (-0.09, -0.04), "size"),
    ],
)
def test_words_for_the_limit(
    images: tuple[float, float], size: tuple[float, float], between: tuple[float, float], limit: str
) -> None:
    a, b, c = (Interval(sum(ends) / 2, *ends) for ends in (images, size, between))
    assert limit_of(a, b, c, margin=0.02) == limit
