"""What a study shows while it works: how much is done and how long the rest takes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from convscope import studies
from convscope.studies import progress as screen
from convscope.studies.progress import Clock


def test_a_chapter_costs_what_was_forecast_or_what_it_asks_for() -> None:
    clock = Clock()
    clock.plan({"capacity": 10.0, "best": 20.0}, workers=2)
    assert (clock.total, clock.share) == (30.0, 0.0) and clock.left() == 15.0
    clock.asked("capacity", 6.0, 0.0)  # its pilots: more is still expected
    assert clock.total == 30.0
    clock.asked("capacity", 9.0, 0.0)
    assert clock.total == 35.0
    clock.done = 15.0
    clock.asked("best", 5.0, skipped=12.0)  # an earlier process had trained those
    assert clock.total == 23.0
    clock.found("best")  # it asks for no more
    assert clock.total == 20.0 and clock.share == 0.75
    clock.found("capacity")
    clock.done = 21.0  # a run that began again from a checkpoint
    assert clock.share == 1.0 and clock.left() == 0.0


@pytest.mark.usefixtures("tiny_preset")
def test_a_study_ends_when_all_that_was_asked_for_is_done(
    finished_study: Path,
    small_images: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    runs = json.loads((finished_study / "results.json").read_text())["runs"]
    for run in runs[::2]:
        shutil.rmtree(finished_study / "runs" / run["id"])
    monkeypatch.setattr(screen, "LINE_EVERY", 0.0)
    lines = screen.Lines()
    studies.study(small_images, ["capacity"], out=finished_study, workers=2, watcher=lines)
    assert lines.clock.done == pytest.approx(
        lines.clock.total
    ) and lines.clock.share == pytest.approx(1)
    told = [line for line in capfd.readouterr().err.splitlines() if line.endswith("left")]
    shares = [int(line.split(" %")[0]) for line in told]
    assert (
        shares == sorted(shares)
        and shares[0] < 50
        and shares[-1] == 100
        and "about 0 s left" in told[-1]
    )
