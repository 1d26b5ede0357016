"""Intervals against numpy, hand-worked numbers and simulation; verdicts on made-up sequences."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from convscope.statistics.comparisons import difference_se
from convscope.statistics.estimation import Estimate, estimates, pooled_sd
from convscope.statistics.verdicts import smallest_within_one_se

T_2 = 4.302652729911275  # 97.5 % point of Student's t with 2 degrees of freedom (tables)
NORMAL = 1.959963984540054

values = st.floats(-100, 100).map(lambda x: round(x, 6))


def made(mean: float, se: float = 0.01, n: int = 3) -> Estimate:
    return Estimate(mean, se, mean - 2 * se, mean + 2 * se, n, se, 0.0)


def sequence(means: Sequence[float], se: float = 0.01) -> list[Estimate]:
    return [made(mean, se) for mean in means]


# --- pooled standard deviation


@given(st.lists(st.lists(values, min_size=1, max_size=6), min_size=1, max_size=6))
def test_pooled_sd_is_numpys(groups: list[list[float]]) -> None:
    sd, degrees = pooled_sd(groups)
    assert degrees == sum(len(group) - 1 for group in groups)
    if degrees:
        variance = sum((len(g) - 1) * np.var(g, ddof=1) for g in groups if len(g) > 1) / degrees
        assert sd == pytest.approx(math.sqrt(variance), rel=1e-9, abs=1e-12)
    else:
        assert math.isnan(sd)


def test_pooled_sd_by_hand() -> None:
    assert pooled_sd([[1, 3], [2, 2], [7]]) == (1.0, 2)  # (2 + 0) / 2
    assert pooled_sd([]) == pytest.approx((math.nan, 0), nan_ok=True)
    assert pooled_sd([[1e9 + 1, 1e9 + 3]]) == (math.sqrt(2), 1)  # no cancellation


# --- estimates


def test_estimates_by_hand() -> None:
    found = estimates(
        {"a": [1.0, 3.0], "b": [2.0, 2.0], "c": [5.0]}, {"a": 0.5, "b": 0.0, "c": 2.0}
    )
    a, b, c = found["a"], found["b"], found["c"]
    assert (a.mean, a.n, a.seed_sd, a.sampling_se) == (2.0, 2, 1.0, 0.5)
    assert a.se == pytest.approx(math.sqrt(1 / 2 + 0.25))
    assert (b.mean, b.se) == (
        2.0,
        pytest.approx(math.sqrt(1 / 2)),
    )  # its own seeds agree, but the pooled spread counts
    assert (c.mean, c.n, c.se) == (5.0, 1, pytest.approx(math.sqrt(1 + 4)))
    for e in found.values():
        assert (e.low, e.high) == pytest.approx((e.mean - T_2 * e.se, e.mean + T_2 * e.se))
    assert difference_se(a, c) == pytest.approx(math.sqrt(a.se**2 + c.se**2))


def test_one_seed_everywhere_leaves_the_sampling_error() -> None:
    found = estimates({"a": [1.0], "b": [2.0]}, {"a": 0.5, "b": 0.0})
    assert (found["a"].se, found["a"].n, found["b"].se) == (0.5, 1, 0.0)
    assert (found["a"].low, found["a"].high) == pytest.approx((1 - NORMAL / 2, 1 + NORMAL / 2))
    assert math.isnan(found["a"].seed_sd)


def coverage(seeds: int, sampling: float, configurations: int = 6, times: int = 1500) -> float:
    """The share of intervals that hold the true mean.

    Seeds scatter by 1 around it, and the evaluated set shifts all of them alike.
    """
    draw, inside = np.random.default_rng(seeds), 0
    for _ in range(times):
        truth = draw.uniform(-5, 5, configurations)
        shift = draw.normal(0, 1, configurations) * sampling
        seen = truth[:, None] + shift[:, None] + draw.normal(0, 1, (configurations, seeds))
        found = estimates(
            dict(enumerate(seen.tolist())), dict.fromkeys(range(configurations), sampling)
        )
        inside += sum(found[i].low <= truth[i] <= found[i].high for i in range(configurations))
    return inside / (times * configurations)


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_intervals_hold_the_truth_19_times_of_20(seeds: int) -> None:
    assert 0.93 < coverage(seeds, sampling=0.0) < 0.97


def test_intervals_with_sampling_error_hold_it_at_least_as_often() -> None:
    assert 0.93 < coverage(3, sampling=1.0) < 0.99


# --- the one-standard-error rule


def test_smallest_within_one_se_by_hand() -> None:
    loss = {
        "tiny": made(1.2),
        "small": made(1.05, 0.2),
        "good": made(1.1, 0.01),
        "best": made(1.0, 0.1),
        "huge": made(1.0625),
    }
    size = {"tiny": 1, "small": 2, "good": 3, "best": 4, "huge": 9}
    assert smallest_within_one_se(loss, size) == ("best", "small")
    assert smallest_within_one_se({**loss, "small": made(1.5)}, size) == (
        "best",
        "good",
    )  # 1.1 is exactly one SE away: within
    assert smallest_within_one_se({**loss, "best": made(1.0, 0.0)}, size) == ("best", "best")
    assert smallest_within_one_se({"a": made(1.0), "b": made(1.0)}, {"a": 5, "b": 4})[1] == "b"


def test_what_is_not_finite_is_never_the_best() -> None:
    for bad in (math.nan, math.inf, -math.inf):
        loss = {"bad": made(bad), "good": made(1.0), "also": made(2.0)}
        for keys in (["bad", "good", "also"], ["good", "also", "bad"]):
            assert smallest_within_one_se(
                {key: loss[key] for key in keys}, {"bad": 1, "good": 5, "also": 2}
            ) == ("good", "good")


networks = st.lists(
    st.tuples(st.floats(0.1, 3), st.floats(0, 0.5), st.integers(1, 50)), min_size=1, max_size=9
)


@given(networks)
def test_the_smallest_is_within_one_se_and_none_smaller_is(
    drawn: list[tuple[float, float, int]],
) -> None:
    loss = {i: made(mean, se) for i, (mean, se, _) in enumerate(drawn)}
    size = {i: size for i, (_, _, size) in enumerate(drawn)}
    best, small = smallest_within_one_se(loss, size)
    assert loss[best].mean == min(mean for mean, _, _ in drawn)
    limit = loss[best].mean + loss[best].se
    assert loss[small].mean <= limit and size[small] <= size[best]
    assert not [i for i in loss if size[i] < size[small] and loss[i].mean <= limit]


@given(networks, st.floats(1e-6, 5), st.floats(0, 1), st.integers(51, 99))
def test_a_worse_larger_network_changes_nothing(
    drawn: list[tuple[float, float, int]], worse: float, se: float, larger: int
) -> None:
    loss = {i: made(mean, error) for i, (mean, error, _) in enumerate(drawn)}
    size = {i: size for i, (_, _, size) in enumerate(drawn)}
    before = smallest_within_one_se(loss, size)
    highest = max(estimate.mean for estimate in loss.values())
    assert (
        smallest_within_one_se({**loss, "new": made(highest + worse, se)}, {**size, "new": larger})
        == before
    )
