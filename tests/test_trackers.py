"""Runs as they are mirrored: what a tracker is told, and trackers that fail, die or hang."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from memory_tracker import told
from mirroring import CLASSES, SHAPE, Noted, finding, pass_by

from convscope import data
from convscope.errors import UserError
from convscope.planning.requests import Request
from convscope.recipe.networks import ConvNet
from convscope.recipe.recipe import Recipe
from convscope.studies.trackers import mirror
from convscope.studies.trackers.names import TRACKERS, Known
from convscope.studies.trackers.tracking import tracked, train_tracked
from convscope.studies.watcher import Watcher
from convscope.training.main_path import train
from convscope.training.runs import Run

WHOLE = "training goes on, and its records are whole"


# --- any tracker


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """A tracker `memory`; sets what it does wrong."""
    monkeypatch.setitem(TRACKERS, "memory", Known("memory_tracker:Memory", "json"))

    def break_it(**how: Any) -> None:
        for key, value in how.items():
            monkeypatch.setenv(f"MEMORY_{key.upper()}", str(value))

    return break_it


def calls(folder: Path, method: str) -> list[list[Any]]:
    return [call[1:] for call in told(folder) if call[0] == method]


def test_everything_is_passed_on(
    memory: object, tmp_path: Path, make_run: Callable[..., Run]
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
        watcher.reported(tmp_path, "All of it.", {"capacity": finding(tmp_path)})
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
        ("reported", tmp_path, "All of it.", ["capacity"]),
    ]
    methods = ["made", "started", "epoch", "epoch", "ended", "found", "report", "close"]
    assert [call[0] for call in told(tmp_path)] == methods
    ((_, begun),) = calls(tmp_path, "started")
    assert begun["asked"] == {"capacity": "sweep"} and begun["config"]["model"]["width"] == 2
    ((_, found),) = calls(tmp_path, "found")
    picture = str(tmp_path / "charts" / "capacity-loss.png")
    assert found["charts"] == [["loss", "Loss — größer", picture]] and found["verdict"] == "width 4"
    assert calls(tmp_path, "report") == [["", "All of it.", ["report.html", "results.json"]]]
    with tracked(None, noted, tmp_path, SHAPE, CLASSES) as watcher:
        assert watcher is noted


def test_runs_that_differ_in_their_seed_share_a_configuration(
    memory: object, tmp_path: Path, make_run: Callable[..., Run]
) -> None:
    runs = [make_run(ConvNet(w, 1), [1.0], [1.0], seed=s) for w, s in ((2, 0), (2, 7), (3, 0))]
    with tracked("memory", Watcher(), tmp_path, SHAPE, CLASSES) as watcher:
        for run in runs:
            pass_by(watcher, run)
    a, b, c = (begun["configuration"] for _, begun in calls(tmp_path, "started"))
    assert a == b != c


def test_a_run_that_goes_on_sends_its_earlier_epochs_once(
    memory: Callable[..., None], micro: Path, tmp_path: Path
) -> None:
    run = train(Recipe(data=str(micro), model=ConvNet(2, 1), epochs=4, batch=16), tmp_path / "runs")
    for folder, first, has, wanted in (
        ("a", 3, 0, [1, 2, 3, 4]),
        ("b", 5, 0, [1, 2, 3, 4]),  # all epochs were trained, only the result was missing
        ("c", 3, 3, [4]),  # the tracker has three of them
    ):
        memory(has=has)
        place = tmp_path / folder
        with tracked("memory", Watcher(), place, SHAPE, CLASSES, tmp_path / "runs") as watcher:
            pass_by(watcher, run, first=first)
        assert [call[1] for call in calls(place, "epoch")] == wanted


def test_a_tracker_that_is_added_later_has_the_earlier_runs_once(
    memory: Callable[..., None], tmp_path: Path, make_run: Callable[..., Run]
) -> None:
    old, new = (make_run(ConvNet(2, 1), [1.0, 0.5], [1.0, 0.9], seed=seed) for seed in (0, 1))
    for turn in (1, 2):
        with tracked("memory", Watcher(), tmp_path, SHAPE, CLASSES) as watcher:
            watcher.known(old.recipe, old)
            if turn == 2:
                watcher.known(new.recipe, new)
            asked = [Request([old.recipe], "sweep"), Request([new.recipe], "final")]
            watcher.asked("capacity", asked, 1.0, 1.0)
            if turn == 1:
                pass_by(watcher, new)
    seen = [call[:2] for call in told(tmp_path) if call[0] != "made"]
    whole = ["started", "epoch", "epoch", "ended"]
    runs = [[call, run.id] for run in (old, new) for call in whole]
    assert seen == [*runs, ["close", ""], ["close", ""]]
    assert calls(tmp_path, "started")[0][1]["asked"] == {"capacity": "sweep"}
    assert [call[1] for call in calls(tmp_path, "ended")] == ["finished", "finished"]
    # a line that is cut off names no run: it is mirrored again
    (had,) = tmp_path.glob("mirrored-memory.txt")
    had.write_text(had.read_text()[:-1])
    with tracked("memory", Watcher(), tmp_path, SHAPE, CLASSES) as watcher:
        watcher.known(old.recipe, old)
        watcher.known(new.recipe, new)
        watcher.asked("capacity", asked, 0.0, 2.0)
    assert [call[0] for call in calls(tmp_path, "started")] == [old.id, new.id, new.id]


def test_a_run_that_a_tracker_lost_is_mirrored_when_it_is_known_again(
    memory: Callable[..., None], tmp_path: Path, make_run: Callable[..., Run]
) -> None:
    run = make_run(ConvNet(2, 1), [1.0], [1.0])
    asked = [Request([run.recipe], "sweep")]
    memory(broken="ended")
    with tracked("memory", Watcher(), tmp_path, SHAPE, CLASSES) as watcher:
        watcher.asked("capacity", asked, 1.0, 0.0)
        pass_by(watcher, run)
    memory(broken="")
    with tracked("memory", Watcher(), tmp_path, SHAPE, CLASSES) as watcher:
        watcher.known(run.recipe, run)
        watcher.asked("capacity", asked, 0.0, 1.0)
    assert [call[0] for call in calls(tmp_path, "ended")] == [run.id]


def test_a_finished_run_is_mirrored_where_a_tracker_lacks_it(
    memory: Callable[..., None], micro: Path, tmp_path: Path
) -> None:
    recipe = Recipe(data=str(micro), model=ConvNet(2, 1), epochs=2, batch=16)
    run = train_tracked(recipe, tmp_path, None)
    for _ in range(2):
        assert train_tracked(recipe, tmp_path, "memory") == run
    methods = ["made", "started", "epoch", "epoch", "ended", "close"]
    assert [call[0] for call in told(tmp_path)] == methods  # once


def test_runs_left_open_are_closed_as_interrupted(
    memory: object, tmp_path: Path, make_run: Callable[..., Run]
) -> None:
    run = make_run(ConvNet(2, 1), [1.0], [1.0])
    with (
        pytest.raises(KeyboardInterrupt),
        tracked("memory", Watcher(), tmp_path, SHAPE, CLASSES) as watcher,
    ):
        watcher.started(run.recipe)
        raise KeyboardInterrupt
    assert told(tmp_path)[-2:] == [["ended", run.id, "interrupted", {}], ["close", ""]]


def test_a_study_that_is_killed_leaves_no_tracker_behind(
    memory: object, tmp_path: Path, make_run: Callable[..., Run]
) -> None:
    run = make_run(ConvNet(2, 1), [1.0], [1.0])
    with tracked("memory", Watcher(), tmp_path, SHAPE, CLASSES) as watcher:
        watcher.started(run.recipe)
        (one,) = watcher.mirrors  # pyright: ignore[reportAttributeAccessIssue]
        one.closing = True
        one.calls.put(None)  # its end of the pipe is closed, as that of a dead process is
        one.process.wait(20)
    assert told(tmp_path)[-2:] == [["ended", run.id, "interrupted", {}], ["close", ""]]


@pytest.mark.parametrize("method", ["started", "epoch", "ended", "report", "close"])
def test_a_tracker_that_fails_harms_nothing_and_is_named_once(
    method: str, memory: Callable[..., None], tmp_path: Path, make_run: Callable[..., Run]
) -> None:
    runs = [make_run(ConvNet(width, 1), [1.0, 0.5], [1.0, 0.9]) for width in (2, 3, 4, 5, 6)]
    memory(broken=method)
    noted = Noted()
    with tracked("memory", noted, tmp_path, SHAPE, CLASSES) as watcher:
        for run in runs:
            pass_by(watcher, run)
        watcher.reported(tmp_path, "All.", {})
    assert [call for call in noted.seen if call[0] == "ended"] == [
        ("ended", run.id, "finished") for run in runs
    ]
    (said,) = noted.said
    assert said == (
        "track memory: failed (ConnectionError: the network\\nis down): what it was told of is no "
        f"longer mirrored, after 3 failures nothing is; {WHOLE}"
    )
    attempts = {"started": 0, "report": 5, "close": 5}.get(method, 3)
    assert len(calls(tmp_path, "started")) == attempts


def test_one_run_that_fails_does_not_silence_the_others(
    memory: Callable[..., None], tmp_path: Path, make_run: Callable[..., Run]
) -> None:
    runs = [make_run(ConvNet(width, 1), [1.0, 0.5], [1.0, 0.9]) for width in (2, 3, 4)]
    memory(broken="epoch", only=runs[0].id)
    noted = Noted()
    with tracked("memory", noted, tmp_path, SHAPE, CLASSES) as watcher:
        for run in runs:
            pass_by(watcher, run)
    assert [call[0] for call in calls(tmp_path, "ended")] == [run.id for run in runs[1:]]
    assert len(noted.said) == 1


@pytest.mark.parametrize("method", ["made", "epoch", "close"])
def test_a_tracker_that_dies_is_named_and_left(
    method: str, memory: Callable[..., None], tmp_path: Path, make_run: Callable[..., Run]
) -> None:
    memory(broken=method, fault="dies")
    noted, other = Noted(), tmp_path / "other"
    with tracked("memory", noted, tmp_path, SHAPE, CLASSES) as watcher:
        for width in (2, 3):
            pass_by(watcher, make_run(ConvNet(width, 1), [1.0], [1.0]))
    assert noted.said == [
        f"track memory: its process ended (SIGKILL): nothing more is mirrored; {WHOLE}"
    ]
    assert not other.exists()


@pytest.mark.parametrize("method", ["made", "epoch", "ended", "close"])
def test_a_tracker_that_hangs_is_named_and_ended(
    method: str,
    memory: Callable[..., None],
    tmp_path: Path,
    make_run: Callable[..., Run],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    memory(broken=method, fault="hangs")
    monkeypatch.setattr(mirror, "LAST_PATIENCE", 0.6)
    noted, began = Noted(), time.monotonic()
    with tracked("memory", noted, tmp_path, SHAPE, CLASSES) as watcher:
        pass_by(watcher, make_run(ConvNet(2, 1), [1.0] * 3, [1.0] * 3))
        (one,) = watcher.mirrors  # pyright: ignore[reportAttributeAccessIssue]
    assert time.monotonic() - began < 10 and one.process.poll() is not None
    (said,) = noted.said
    assert said == f"track memory: has not answered for 1 s: nothing more is mirrored; {WHOLE}"


def test_a_tracker_that_runs_into_timeouts_is_not_waited_for(
    memory: Callable[..., None],
    tmp_path: Path,
    make_run: Callable[..., Run],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    memory(broken="started", fault="times out")
    monkeypatch.setattr(mirror, "AFTER_FAILURE", 0.2)
    noted, began = Noted(), time.monotonic()
    with tracked("memory", noted, tmp_path, SHAPE, CLASSES) as watcher:
        for seed in range(3):
            pass_by(watcher, make_run(ConvNet(2, 1), [1.0], [1.0], seed=seed))
    assert time.monotonic() - began < 4.5 and len(noted.said) == 1


def test_a_tracker_that_hangs_in_the_middle_holds_up_nothing(
    memory: Callable[..., None],
    tmp_path: Path,
    make_run: Callable[..., Run],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """More is told than a pipe holds; the other tracker gets all of it."""
    monkeypatch.setitem(TRACKERS, "other", Known("memory_tracker:Memory", "json"))
    runs = [make_run(ConvNet(2, 1), [1.0] * 300, [1.0] * 300, seed=seed) for seed in range(3)]
    memory(broken="epoch", fault="hangs", only=runs[0].id)
    monkeypatch.setattr(mirror, "PATIENCE", 0.2)
    monkeypatch.setattr(mirror, "LAST_PATIENCE", 0.5)
    noted, began = Noted(), time.monotonic()
    with tracked("memory", noted, tmp_path, SHAPE, CLASSES) as watcher:
        for run in runs:
            pass_by(watcher, run)
            time.sleep(0.15)
        assert time.monotonic() - began < 5 and len(noted.said) == 1
    assert len(noted.said) == 1 and not calls(tmp_path, "ended")


def test_what_a_library_prints_goes_nowhere(
    memory: Callable[..., None],
    tmp_path: Path,
    make_run: Callable[..., Run],
    capfd: pytest.CaptureFixture[str],
) -> None:
    memory(broken="epoch", fault="prints")
    with tracked("memory", Watcher(), tmp_path, SHAPE, CLASSES) as watcher:
        pass_by(watcher, make_run(ConvNet(2, 1), [1.0], [1.0]))
    assert capfd.readouterr() == ("", "") and len(calls(tmp_path, "epoch")) == 1


def test_a_tracker_that_refuses_stops_the_study_before_it_trains(
    memory: Callable[..., None], tmp_path: Path
) -> None:
    memory(broken="refused")
    with (
        pytest.raises(UserError, match=r"^track memory: no account$"),
        tracked("memory", Watcher(), tmp_path, SHAPE, CLASSES),
    ):
        raise AssertionError("it is not begun")


@pytest.mark.slow
def test_a_study_with_a_broken_tracker_has_all_its_runs(
    memory: Callable[..., None], micro: Path, tmp_path: Path
) -> None:
    """The sweep itself, in real worker processes; every call of the tracker fails."""
    from convscope.engines.local import LocalEngine
    from convscope.machine.costs import Costs
    from convscope.studies.engines import IMPORTED
    from convscope.studies.run_queue import run_all

    memory(broken="started")
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


def test_a_sweep_is_a_chapter_of_its_own(
    memory: object, micro: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from convscope.studies.sweeping import sweep

    base = Recipe(data=str(micro), model=ConvNet(2, 1), epochs=1, batch=16)
    done = sweep(base, {"width": [2, 3]}, 2, out=tmp_path / "s", workers=1, track=["memory"])
    assert capfd.readouterr() == ("", "")
    assert {begun["run"] for _, begun in calls(tmp_path / "s", "started")} == {
        run.id for runs in done.runs.values() for run in runs
    }
    ((_, found),) = calls(tmp_path / "s", "found")
    (one,) = done.comparisons
    assert one.found is not None
    assert found["chapter"] == "sweep" and found["verdict"] == one.found.word
    ((_, sentence, files),) = calls(tmp_path / "s", "report")
    assert sentence == f"{one}." and files == ["report.html", "results.json", "runs.csv"]
