"""What a study shows while it works: how much is done and how long the rest takes."""

from __future__ import annotations

import io
import json
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from convscope import studies
from convscope.planning.requests import Request
from convscope.recipe.networks import ConvNet
from convscope.studies import progress as screen
from convscope.studies.live_table import PLAIN_BLOCKS, POINTS, LiveTable, sparkline
from convscope.training.runs import Run


@pytest.mark.usefixtures("tiny_preset")
@pytest.mark.slow
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
    assert lines.clock.done == pytest.approx(lines.clock.total)
    told = [line for line in capfd.readouterr().err.splitlines() if line.endswith("left")]
    shares = [int(line.split(" %")[0]) for line in told]
    assert shares == sorted(shares) and shares[0] < 50 and shares[-1] < 100


class Terminal(io.StringIO):
    """A terminal of an encoding, in memory."""

    def __init__(self, encoding: str = "utf-8") -> None:
        super().__init__()
        self.name_of_encoding = encoding

    @property
    def encoding(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.name_of_encoding

    def isatty(self) -> bool:
        return True


def played(terminal: Terminal, make_run: Callable[..., Run]) -> str:
    """What is drawn in the middle of a small study, and at its end."""
    table = LiveTable(terminal)
    table.console.width, table.console.height = 100, 30
    table.step("cifar10", 30, 60)
    before = shown(table)
    assert "cifar10: 50 %" in before
    table.plan({"capacity": 10.0, "best": 20.0}, 2, 4.0)
    runs = [make_run(ConvNet(width, 2), [1.0] * 3, [2.0, 1.5, 1.0 / width]) for width in (4, 8)]
    table.asked("capacity", [Request([run.recipe for run in runs], "sweep")], 10.0, 0.0)
    for run in runs:
        table.started(run.recipe)
        for row in run.rows:
            table.epoch(run.recipe, row, 1.0)
    middle = shown(table)
    assert "0 of 2 runs" in middle and "0.250" in middle and "0.125" in middle
    for run in runs:
        table.ended(run.recipe, run)
    table.ended(runs[0].recipe, replace(runs[0], status="failed", message="[red]broken"))
    table.found("capacity")
    end = shown(table)
    assert "best so far: width 8, depth 2, test accuracy 50.0 %" in end and "done" in end
    assert "[red]broken" in terminal.getvalue()
    return middle + end


def shown(table: LiveTable) -> str:
    with table.console.capture() as capture:
        table.console.print(table.drawn())
    return capture.get()


def test_a_terminal_has_a_table_of_networks(make_run: Callable[..., Run]) -> None:
    drawn = played(Terminal(), make_run)
    assert "█" in drawn and "▁" in drawn and "width 4, depth 2" in drawn and "%, about" in drawn


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "latin-1"])
def test_narrow_encodings_have_plain_signs(encoding: str, make_run: Callable[..., Run]) -> None:
    drawn = played(Terminal(encoding), make_run)
    drawn.replace("×", "x").replace("━", "-").replace("╸", "-").replace("╺", "-").encode("ascii")
    assert "#" not in drawn.split("best so far")[1] and PLAIN_BLOCKS[-1] in drawn


def test_no_color_is_respected(
    make_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    colours = re.compile(r"\x1b\[[0-9;]*3[0-9]")
    coloured = Terminal()
    played(coloured, make_run)
    assert colours.search(coloured.getvalue())
    monkeypatch.setenv("NO_COLOR", "1")
    plain = Terminal()
    assert not colours.search(played(plain, make_run) + plain.getvalue())


def test_a_sparkline_shows_the_last_values() -> None:
    assert sparkline([]) == "" and sparkline([1.0]) == "▁" and sparkline([0.0, 1.0]) == "▁█"
    assert len(sparkline([float(i) for i in range(100)])) == POINTS
    assert sparkline([float("nan"), 2.0, 1.0]) == "█▁"


def test_who_watches(monkeypatch: pytest.MonkeyPatch, make_run: Callable[..., Run]) -> None:
    assert isinstance(screen.watcher(), screen.Lines)  # under a test it is no terminal
    monkeypatch.setattr("sys.stderr", Terminal())
    monkeypatch.setenv("TERM", "xterm")
    assert isinstance(screen.watcher(), LiveTable)
    monkeypatch.setenv("TERM", "dumb")
    assert isinstance(screen.watcher(), screen.Lines)
    quiet = screen.watcher(quiet=True)
    quiet.say("words")
    run = make_run(ConvNet(4, 2), [1.0], [1.0])
    quiet.ended(run.recipe, run)
    quiet.ended(run.recipe, replace(run, status="failed", message="broken"))
    assert sys.stderr.getvalue() == "width 4, depth 2, seed 0: failed broken\n"  # pyright: ignore
