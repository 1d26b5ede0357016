"""Runs as they are mirrored: what a tracker is told, and trackers that fail."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from mirroring import CLASSES, SHAPE, Noted, pass_by

from convscope import data
from convscope.errors import UserError
from convscope.planning.requests import Request, Role
from convscope.recipe.networks import ConvNet
from convscope.recipe.recipe import Recipe
from convscope.studies.trackers import TRACKERS, Tracker, check_tracker, tracked
from convscope.studies.watcher import Watcher
from convscope.training.main_path import train
from convscope.training.runs import Run


class Memory(Tracker):
    """Remembers what it is told; fails in the method `broken`, for the run `only` (or all)."""

    broken = only = ""

    def __init__(self, folder: Path) -> None:
        self.folder, self.told = folder, list[tuple[Any, ...]]()

    def note(self, method: str, run: str, *rest: Any) -> None:
        if method == self.broken and self.only in ("", run):
            raise ConnectionError("the network\nis down")
        self.told.append((method, run, *rest))

    def started(
        self, recipe: Recipe, run: str, asked: Mapping[str, Role], size: Mapping[str, int]
    ) -> None:
        self.note("started", run, list(asked), dict(size))

    def epoch(self, run: str, epoch: int, values: Mapping[str, float]) -> None:
        self.note("epoch", run, epoch, dict(values))

    def ended(self, run: str, status: str, summary: Mapping[str, Any]) -> None:
        self.note("ended", run, status, dict(summary))

    def close(self) -> None:
        self.note("close", "")


def test_an_unknown_tracker_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="track 'wandbb'; did you mean 'wandb'"):
        check_tracker("wandbb")
    with (
        pytest.raises(UserError, match="track 'excel'; known: wandb"),
        tracked("excel", Watcher(), tmp_path, SHAPE, CLASSES),
    ):
        pass


# --- any tracker


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> list[Memory]:
    """The trackers that were made; register more by name `memory`."""
    made: list[Memory] = []

    class Kept(Memory):
        def __init__(self, folder: Path) -> None:
            super().__init__(folder)
            made.append(self)

    monkeypatch.setitem(TRACKERS, "memory", Kept)
    return made


def test_everything_is_passed_on(
    memory: list[Memory], tmp_path: Path, make_run: Callable[..., Run]
) -> None:
    run = make_run(ConvNet(2, 1), [1.0, 0.5], [1.0, 0.9])
    noted = Noted()
    with tracked("memory", noted, tmp_path, SHAPE, CLASSES) as watcher:
        watcher.say("text")
        watcher.step("step", 1, None)
        watcher.plan({"capacity": 2.0}, 3)
        watcher.asked("capacity", [Request([run.recipe], "sweep")], 1.5, 0.5)
        pass_by(watcher, run)
        watcher.found("capacity")
    assert noted.seen == [
        ("say", "text"),
        ("step", "step", 1, None),
        ("plan", {"capacity": 2.0}, 3),
        ("asked", "capacity", 1, 1.5, 0.5),
        ("started", run.id),
        ("epoch", run.id, 1),
        ("epoch", run.id, 2),
        ("ended", run.id, "finished"),
        ("found", "capacity"),
    ]
    assert [call[0] for call in memory[0].told] == ["started", "epoch", "epoch", "ended", "close"]
    with tracked(None, noted, tmp_path, SHAPE, CLASSES) as watcher:
        assert watcher is noted


def test_a_run_that_goes_on_sends_its_earlier_epochs(
    memory: list[Memory], micro: Path, tmp_path: Path
) -> None:
    run = train(Recipe(data=str(micro), model=ConvNet(2, 1), epochs=4, batch=16), tmp_path / "runs")
    with tracked("memory", Watcher(), tmp_path, SHAPE, CLASSES) as watcher:
        pass_by(watcher, run, first=3)
    epochs = [call[2] for call in memory[0].told if call[0] == "epoch"]
    assert epochs == [1, 2, 3, 4]
    with tracked("memory", Watcher(), tmp_path, SHAPE, CLASSES) as watcher:
        pass_by(watcher, run, first=5)  # all epochs were trained, only the result was missing
    assert [call[2] for call in memory[1].told if call[0] == "epoch"] == [1, 2, 3, 4]


def test_runs_left_open_are_closed_as_interrupted(
    memory: list[Memory], tmp_path: Path, make_run: Callable[..., Run]
) -> None:
    run = make_run(ConvNet(2, 1), [1.0], [1.0])
    with (
        pytest.raises(KeyboardInterrupt),
        tracked("memory", Watcher(), tmp_path, SHAPE, CLASSES) as watcher,
    ):
        watcher.started(run.recipe)
        raise KeyboardInterrupt
    assert memory[0].told[-2:] == [("ended", run.id, "interrupted", {}), ("close", "")]


@pytest.mark.parametrize("method", ["started", "epoch", "ended", "close"])
def test_a_tracker_that_fails_harms_nothing_and_is_named_once(
    method: str,
    memory: list[Memory],
    tmp_path: Path,
    make_run: Callable[..., Run],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    runs = [make_run(ConvNet(width, 1), [1.0, 0.5], [1.0, 0.9]) for width in (2, 3, 4, 5, 6)]
    monkeypatch.setattr(Memory, "broken", method)
    noted = Noted()
    with tracked("memory", noted, tmp_path, SHAPE, CLASSES) as watcher:
        for run in runs:
            pass_by(watcher, run)
    assert [call for call in noted.seen if call[0] == "ended"] == [
        ("ended", run.id, "finished") for run in runs
    ]
    said = noted.said
    assert len(said) == (1 if method == "close" else 2)
    assert said[0].startswith(
        "Kept failed (ConnectionError: the network\\nis down): "
        "this run is no longer mirrored; training goes on"
    )
    assert said[-1].endswith("nothing more is mirrored") or method == "close"
    attempts = 5 if method == "close" else 3
    assert len([call for call in memory[0].told if call[0] == "started"]) == (
        0 if method == "started" else attempts
    )


def test_one_run_that_fails_does_not_silence_the_others(
    memory: list[Memory],
    tmp_path: Path,
    make_run: Callable[..., Run],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    runs = [make_run(ConvNet(width, 1), [1.0, 0.5], [1.0, 0.9]) for width in (2, 3, 4)]
    monkeypatch.setattr(Memory, "broken", "epoch")
    monkeypatch.setattr(Memory, "only", runs[0].id)
    noted = Noted()
    with tracked("memory", noted, tmp_path, SHAPE, CLASSES) as watcher:
        for run in runs:
            pass_by(watcher, run)
    assert [call[1] for call in memory[0].told if call[0] == "ended"] == [
        run.id for run in runs[1:]
    ] and len(noted.said) == 1


def test_a_study_with_a_broken_tracker_has_all_its_runs(
    memory: list[Memory], micro: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sweep itself, in real worker processes; every call of the tracker fails."""
    from convscope.engines.local import LocalEngine
    from convscope.machine.costs import Costs
    from convscope.studies.engines import IMPORTED
    from convscope.studies.run_queue import run_all

    monkeypatch.setattr(Memory, "broken", "started")
    loaded = data.load(str(micro))
    recipes = [
        Recipe(data=str(micro), data_hash=loaded.hash, model=ConvNet(w, 1), epochs=2, batch=16)
        for w in (2, 3)
    ]
    noted = Noted()
    with (
        LocalEngine(1, IMPORTED, copied=True) as engine,
        tracked("memory", noted, tmp_path, SHAPE, CLASSES) as watcher,
    ):
        runs = run_all(engine, recipes, tmp_path / "runs", Costs(loaded, {}, []), watcher)
    assert [run.status for run in runs] == ["finished", "finished"] and len(noted.said) == 1
