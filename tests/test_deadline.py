"""A time budget that ends while runs are trained: what is found stays, the rest is said."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from convscope.data.dataset import Dataset, Split
from convscope.planning.context import Context
from convscope.planning.requests import Chapter, Give, Request, Wait
from convscope.recipe.networks import ConvNet
from convscope.recipe.recipe import Recipe
from convscope.report.findings import CapacityResult, Finding
from convscope.studies import driver as driving
from convscope.studies import main_path
from convscope.studies.driver import Driver
from convscope.studies.main_path import AFTER, SLACK, drive, time_keeper
from convscope.studies.plan import CHAPTER_OVERHEAD
from convscope.training.runs import Run


class Engine:
    """The workers of a study that is driven without training."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def resize(self, workers: int) -> None:
        self.sizes.append(workers)


class ScriptedSweep:
    """A sweep in which one run ends at each wait, in the order in which they were asked for."""

    def __init__(self, *_: Any) -> None:
        self.asked: list[Recipe] = []
        self.runs: dict[str, Run] = {}
        self.idle = False

    def going_on(self) -> AbstractContextManager[None]:
        return nullcontext()

    def settle(self) -> None: ...

    def ask(self, request: Request, rank: int) -> tuple[float, float]:
        self.asked += request.recipes
        return 1.0, 0.0

    def answer(self, recipes: Any) -> list[Run] | None:
        known = [self.runs.get(recipe.id) for recipe in recipes]
        return None if None in known else [run for run in known if run is not None]

    def wait(self, look: Callable[[], None]) -> bool:
        recipe = next((one for one in self.asked if one.id not in self.runs), None)
        if recipe is None:
            return False
        row = {"epoch": 1, "val_loss": 1.0}
        self.runs[recipe.id] = Run(Path(recipe.id), recipe, (row,), "finished", {}, 1.0)
        look()
        return True


def context_of(*chapters: str) -> Context:
    split = Split(torch.zeros(9, 1, 8, 8, dtype=torch.uint8), torch.arange(9) % 2)
    data = Dataset("made", split, split, split, ("a", "b"), "0" * 64, "made", "none", ())
    return Context(data, "quick", (0,), Recipe(data="made", batch=8), chapters)


def chapter(name: str, runs: int, begun: list[str]) -> Callable[[Context], Chapter]:
    def asks(context: Context) -> Chapter:
        begun.append(name)
        first = [Recipe(seed=seed, model=ConvNet(len(name), 1)) for seed in range(runs)]
        answer = yield [Request(first, "sweep")]
        yield Give(CapacityResult(ConvNet(4, 1), ()))
        finding = Finding(name, name, "?", "known", f"{len(answer.of('sweep'))} runs.", {})
        return replace(finding, numbers={"live": context.live})

    return asks


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> tuple[Driver, list[str], list[str]]:
    begun: list[str] = []
    said: list[str] = []
    modules = {
        name: SimpleNamespace(
            NEEDS=(), TITLE=name, QUESTION="?", chapter=chapter(name, runs, begun)
        )
        for name, runs in (("capacity", 2), ("ordering", 6))
    }
    monkeypatch.setattr(driving, "CHAPTERS", modules)
    monkeypatch.setattr(driving, "Sweep", ScriptedSweep)

    class Told(main_path.Watcher):
        def say(self, text: str) -> None:
            said.append(text)

    made = Driver(Engine(), tmp_path, object(), Told())  # pyright: ignore[reportArgumentType]
    return made, begun, said


def test_what_was_found_stays_and_the_rest_is_from_what_is_there(
    driver: tuple[Driver, list[str], list[str]],
) -> None:
    driven, begun, said = driver
    looks: list[int] = []
    driven.late = lambda left: looks.append(left) or len(looks) > 4
    context = context_of("capacity", "ordering")
    findings, broken_off = drive(driven, context)
    assert type(broken_off).__name__ == "OutOfTime" and list(findings) == ["capacity", "ordering"]
    assert findings["capacity"].sentence == "2 runs." and findings["capacity"].numbers["live"]
    # the second is analysed from the runs on disk, of which there are none here, and says so
    assert findings["ordering"].sentence == "0 runs." and not findings["ordering"].numbers["live"]
    assert findings["ordering"].missing == ("6 runs not trained before the time budget ended",)
    assert begun == ["capacity", "ordering", "ordering"]  # what was found is not found again
    engine: Any = driven.engine
    assert engine.sizes == [0]
    assert looks[0] == 2 and looks[-1] == 1 and "the time budget ends" in said[-1]
    assert set(driven.asked) == {"capacity", "ordering"} and context.given["capacity"] is not None


def test_in_time_nothing_is_broken_off(driver: tuple[Driver, list[str], list[str]]) -> None:
    driven, begun, said = driver
    findings, broken_off = drive(driven, context_of("capacity", "ordering"))
    assert broken_off is None and not said and begun == ["capacity", "ordering"]
    assert findings["ordering"].sentence == "6 runs."


def test_an_interruption_finds_everything_again(
    driver: tuple[Driver, list[str], list[str]],
) -> None:
    driven, begun, said = driver

    def pressed(_: int) -> bool:
        raise KeyboardInterrupt

    driven.late = pressed
    _, broken_off = drive(driven, context_of("capacity", "ordering"))
    assert isinstance(broken_off, KeyboardInterrupt) and said[-1].startswith("interrupted")
    assert begun == ["capacity", "ordering"] * 2


def test_before_a_clock_is_read_what_would_disturb_it_ends(
    driver: tuple[Driver, list[str], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    driven, _, _ = driver
    order: list[str] = []

    def clock(context: Context) -> Chapter:
        yield Wait(quiet=True)
        order.append("clock")
        return Finding("clock", "clock", "?", "known", "Known.", {})

    modules = {"clock": SimpleNamespace(NEEDS=(), TITLE="", QUESTION="", chapter=clock)}
    monkeypatch.setattr(driving, "CHAPTERS", modules)
    driven.before_quiet = lambda: order.append("ended")
    driven.collect(context_of("clock"))
    assert order == ["ended", "clock"]


def test_the_report_has_its_time_within_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(main_path, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    asked: Any = SimpleNamespace(budget=100.0)
    late = time_keeper(asked, began=990.0)
    end = 990.0 + (1 + SLACK) * 100.0 - AFTER
    assert SLACK < 0.1
    for left in (1, 3):
        now[0] = end - left * CHAPTER_OVERHEAD - 0.01
        assert not late(left)
        now[0] += 0.02
        assert late(left)
    asked.budget = None
    assert not time_keeper(asked, 0.0)(6)
