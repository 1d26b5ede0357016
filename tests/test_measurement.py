"""What is measured of this machine, and what is chosen by it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch

from convscope.machine import measurement

FLOAT32 = ("float32", "contiguous", "library")


def test_windows_are_taken_in_turns_each_with_its_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measurement, "WINDOW", 0.0)  # one step each
    seen: list[int] = []
    stepper = measurement.stepper

    def noted(*arguments: Any) -> Any:
        one_step = stepper(*arguments)

        def with_note() -> float:
            seen.append(torch.get_num_threads())
            return one_step()

        return with_note

    monkeypatch.setattr(measurement, "stepper", noted)
    torch.set_num_threads(1)
    rates = measurement.windows("cpu", [(FLOAT32, 1), (FLOAT32, 2)])
    assert [len(of_way) for of_way in rates] == [measurement.ROUNDS] * 2 and min(
        map(min, rates)
    ) > 0
    assert seen == (
        [1, 2, 2] + [1, 1, 2, 2] * (measurement.ROUNDS - 1)
    )  # the first step after a change is not timed


@pytest.mark.parametrize(
    ("one", "two", "chosen"),
    [
        (
            [500, 510, 490, 505, 495],
            [900, 950, 910, 40, 60],
            2,
        ),  # other work fell on some of the windows
        (
            [500, 510, 490, 505, 495],
            [480, 470, 490, 500, 475],
            2,
        ),  # hardly faster: not given up for noise
        ([500, 510, 490, 505, 495], [250, 240, 260, 245, 255], 1),  # the other core is taken
    ],
)
def test_one_thread_only_where_it_is_clearly_faster(
    monkeypatch: pytest.MonkeyPatch, one: list[float], two: list[float], chosen: int
) -> None:
    def windows(_device: str, ways: Sequence[tuple[measurement.Way, int]]) -> list[list[float]]:
        assert [threads for _, threads in ways] == [1, 2]
        return [one, two]

    monkeypatch.setattr(measurement, "windows", windows)
    monkeypatch.setattr(measurement, "cores", lambda: 2)
    assert measurement.best_threads("cpu", measurement.Numerics(*FLOAT32, measured={})) == chosen


def test_one_core_and_other_devices_have_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    numerics = measurement.Numerics(*FLOAT32, measured={})
    assert measurement.best_threads("cuda", numerics) == 1
    monkeypatch.setattr(measurement, "cores", lambda: 1)
    assert measurement.best_threads("cpu", numerics) == 1
