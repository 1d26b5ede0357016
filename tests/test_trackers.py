"""Runs as they are mirrored: offline files of Weights & Biases, and trackers that fail."""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from convscope import data
from convscope.errors import UserError
from convscope.planning.requests import Request, Role
from convscope.recipe.networks import ConvNet, SoftmaxRegression
from convscope.recipe.recipe import Recipe
from convscope.studies import trackers
from convscope.studies.trackers import (
    TRACKERS,
    Tracker,
    Tracking,
    check_tracker,
    tracked,
    train_tracked,
)
from convscope.studies.watcher import Watcher
from convscope.training.main_path import train
from convscope.training.runs import Run

SHAPE, CLASSES = (3, 8, 8), 10


class Noted(Watcher):
    """Writes down what goes by."""

    def __init__(self) -> None:
        self.seen: list[tuple[Any, ...]] = []

    def say(self, text: str) -> None:
        self.seen.append(("say", text))

    def step(self, description: str, done: int, total: int | None) -> None:
        self.seen.append(("step", description, done, total))

    def plan(self, costs: Mapping[str, float], workers: int) -> None:
        self.seen.append(("plan", dict(costs), workers))

    def asked(self, chapter: str, requests: Sequence[Request], cost: float, skipped: float) -> None:
        self.seen.append(("asked", chapter, len(requests), cost, skipped))

    def found(self, chapter: str) -> None:
        self.seen.append(("found", chapter))

    def started(self, recipe: Recipe) -> None:
        self.seen.append(("started", recipe.id))

    def epoch(self, recipe: Recipe, row: dict[str, Any], cost: float) -> None:
        self.seen.append(("epoch", recipe.id, row["epoch"]))

    def ended(self, recipe: Recipe, run: Run) -> None:
        self.seen.append(("ended", recipe.id, run.status))

    @property
    def said(self) -> list[str]:
        return [text for kind, *rest in self.seen if kind == "say" for text in rest]


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


def pass_by(watcher: Watcher, run: Run, first: int = 1) -> None:
    """A run goes by, as a study tells of it; rows before `first` are an earlier process's."""
    watcher.started(run.recipe)
    for row in run.rows[first - 1 :]:
        watcher.epoch(run.recipe, row, 1.0)
    watcher.ended(run.recipe, run)


# --- Weights & Biases, offline


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("WANDB_API_KEY", "WANDB_PROJECT", "WANDB_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WANDB_MODE", "offline")
    for name in ("HOME", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "home"))


def records(path: Path) -> Iterator[Any]:
    """The records of a .wandb file, which is a LevelDB log.

    It has blocks of 32 KiB, and in them pieces of records with checksum, length and kind.
    """
    from wandb.proto import wandb_internal_pb2

    raw, place, whole = path.read_bytes(), 7, b""
    assert raw[:4] == b":W&B"
    while place + 7 <= len(raw):
        left = 32768 - place % 32768
        if left < 7:
            place += left
            continue
        _, length, kind = struct.unpack("<IHB", raw[place : place + 7])
        piece = raw[place + 7 : place + 7 + length]
        place += 7 + length
        whole = piece if kind in (1, 2) else whole + piece  # all of it, or its first piece
        if kind in (1, 4):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(whole)
            yield record


def read_back(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = {"history": [], "summary": {}}
    for record in records(path):
        if record.HasField("run"):
            run = record.run
            found |= {
                "id": run.run_id,
                "project": run.project,
                "group": run.run_group,
                "name": run.display_name,
                "tags": list(run.tags),
            }
            found["config"] = {u.key: json.loads(u.value_json) for u in run.config.update}
        if record.HasField("history"):
            found["history"].append(
                {
                    "/".join(i.nested_key) or i.key: json.loads(i.value_json)
                    for i in record.history.item
                }
            )
        if record.HasField("summary"):
            found["summary"] |= {
                "/".join(u.nested_key) or u.key: json.loads(u.value_json)
                for u in record.summary.update
            }
        if record.HasField("exit"):
            found["exit"] = record.exit.exit_code
    return found


def mirrored(folder: Path) -> dict[str, dict[str, Any]]:
    """What was mirrored, by the id of convscope's run.

    wandb 0.31 writes a moment after `finish`, so the end of each file is waited for.
    """
    deadline = time.monotonic() + 30
    while True:
        found = [read_back(path) for path in sorted(folder.glob("wandb/offline-run-*/run-*.wandb"))]
        if all("exit" in run for run in found) or time.monotonic() > deadline:
            return {run["config"]["run"]: run for run in found}
        time.sleep(0.05)


def test_wandb_offline_holds_config_metrics_and_group(
    offline: None, tmp_path: Path, make_run: Callable[..., Run], capfd: pytest.CaptureFixture[str]
) -> None:
    study = tmp_path / "my study"
    first = make_run(ConvNet(4, 2), [2.0, 1.0, 0.5], [2.1, 1.2, 1.4], seed=3)
    second = make_run(ConvNet(2, 1), [2.0, 1.5], [2.1, 1.6], status="diverged")
    made = make_run(ConvNet(1, 1), [2.0], [2.1])
    linear = replace(made.recipe, model=SoftmaxRegression(), evaluate=("val",))
    pilot = replace(made, recipe=linear, path=tmp_path / linear.id)
    noted = Noted()
    with tracked("wandb", noted, study, SHAPE, CLASSES) as watcher:
        assert isinstance(watcher, Tracking)
        sweep, rates = Request([first.recipe], "sweep"), Request([pilot.recipe], "pilot")
        watcher.asked("capacity", [sweep, rates], 2.0, 0.0)
        watcher.asked("best", [Request([second.recipe, first.recipe], "final")], 1.0, 0.0)
        watcher.started(first.recipe)
        watcher.started(second.recipe)  # several are open at a time
        for a, b in zip(first.rows, (*second.rows, None), strict=True):
            watcher.epoch(first.recipe, a, 1.0)
            if b is not None:
                watcher.epoch(second.recipe, {**b, "train_loss": None}, 1.0)
        watcher.ended(second.recipe, second)
        watcher.ended(first.recipe, first)
        pass_by(watcher, pilot)
    out, err = capfd.readouterr()
    assert (out, err, noted.said) == ("", "", [])
    found = mirrored(study)
    assert (
        set(found) == {first.id, second.id, pilot.id}
        and len({run["id"] for run in found.values()}) == 3
    )
    one = found[first.id]
    assert (
        one["project"] == "convscope"
        and one["group"] == "capacity"
        and one["tags"] == ["capacity", "best"]
    )
    assert one["name"] == "width 4, depth 2, seed 3" and one["exit"] == 0
    config = one["config"]
    assert (
        config["model"]["width"] == 4
        and config["seed"] == 3
        and config["data"] == "cifar10"
        and config["lr"] == first.recipe.lr
    )
    # 3→4 and 4→8 filters of 3×3 with biases on 8×8 images, then 2×2×8 features to 10 classes
    assert (
        config["parameters"] == 4 * 28 + 8 * 37 + 10 * 33
        and config["filters"] == 12
        and config["flops"] > 0
    )
    assert [row["_step"] for row in one["history"]] == [1, 2, 3]
    for row, seen in zip(first.rows, one["history"], strict=True):
        assert {key: seen[key] for key in (*trackers.MEASURES, "lr", "seconds")} == {
            key: row[key] for key in (*trackers.MEASURES, "lr", "seconds")
        }
    assert (
        one["summary"]["best_epoch"] == 2
        and one["summary"]["best_val_loss"] == 1.2
        and one["summary"]["status"] == "finished"
    )
    assert found[second.id]["group"] == "best" and found[second.id]["exit"] == 1
    assert found[second.id]["summary"]["status"] == "diverged"
    assert (
        "train_loss" not in found[second.id]["history"][0]
        and found[second.id]["history"][0]["val_loss"] == 2.1
    )
    assert (
        found[pilot.id]["tags"] == ["capacity", "pilot"]
        and found[pilot.id]["name"] == "softmax regression, seed 0"
    )


def test_wandb_mirrors_a_run_that_is_trained_alone(
    offline: None, micro: Path, tmp_path: Path
) -> None:
    seen: list[int] = []
    recipe = Recipe(data=str(micro), model=ConvNet(2, 1), epochs=3, batch=16)
    run = train_tracked(
        recipe, tmp_path / "runs", "wandb", log=lambda row: seen.append(int(row["epoch"] or 0))
    )
    assert seen == [1, 2, 3] and run.status == "finished"
    (found,) = mirrored(tmp_path / "runs").values()
    assert (
        found["config"]["run"] == run.id
        and found["config"]["parameters"] == run.size["parameters"]
        and found["group"] == ""
    )
    assert [row["val_loss"] for row in found["history"]] == [row["val_loss"] for row in run.rows]
    assert (
        train_tracked(recipe, tmp_path / "runs", "wandb") == run
    )  # it is finished: read, and not mirrored again
    assert len(list((tmp_path / "runs" / "wandb").glob("offline-run-*"))) == 1


def test_the_id_depends_on_study_and_recipe_alone(
    offline: None, tmp_path: Path, make_run: Callable[..., Run]
) -> None:
    run = make_run(ConvNet(2, 1), [1.0], [1.0])
    ids = []
    for folder in (tmp_path / "a" / "one", tmp_path / "b" / "one", tmp_path / "two"):
        with tracked("wandb", Watcher(), folder, SHAPE, CLASSES) as watcher:
            pass_by(watcher, run)
        ids.append(mirrored(folder)[run.id]["id"])
    assert ids[0] == ids[1] != ids[2] and all(name.endswith(run.id) for name in ids)


def test_wandb_without_a_key_is_refused_before_training(
    offline: None, micro: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setattr("wandb.login", lambda **_: False)
    with pytest.raises(
        UserError,
        match=r"^track wandb: no API key; run `wandb login` first, or set WANDB_MODE=offline",
    ):
        train_tracked(Recipe(data=str(micro), epochs=1), tmp_path, "wandb")
    assert not list(tmp_path.glob("*/result.json"))
    monkeypatch.setenv("WANDB_MODE", "sometimes")
    with (
        pytest.raises(UserError, match=r"^track wandb: .*mode.*'offline'"),
        tracked("wandb", Watcher(), tmp_path, SHAPE, CLASSES),
    ):
        pass


def test_wandb_that_is_not_installed_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "wandb", None)
    with (
        pytest.raises(
            UserError, match=r"^track wandb: not installed; pip install 'convscope\[wandb\]'$"
        ),
        tracked("wandb", Watcher(), tmp_path, SHAPE, CLASSES),
    ):
        pass


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
        watcher.asked("capacity", [Request([run.recipe], "sweep")], 1.5, 0.5)  # pyright: ignore[reportAttributeAccessIssue] (sweep.Watcher has it)
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
    from convscope.studies.sweep import run_all

    monkeypatch.setattr(Memory, "broken", "started")
    loaded = data.load(str(micro))
    recipes = [
        Recipe(data=str(micro), data_hash=loaded.hash, model=ConvNet(w, 1), epochs=2, batch=16)
        for w in (2, 3)
    ]
    noted = Noted()
    with LocalEngine(1) as engine, tracked("memory", noted, tmp_path, SHAPE, CLASSES) as watcher:
        runs = run_all(engine, recipes, tmp_path / "runs", Costs(loaded, {}, []), watcher)
    assert [run.status for run in runs] == ["finished", "finished"] and len(noted.said) == 1


def test_a_study_is_mirrored_whole(
    offline: None, tiny_preset: None, micro: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from convscope.studies.main_path import study

    done = study(micro, ["capacity"], out=tmp_path / "study", workers=1, seeds=1, track="wandb")
    assert capfd.readouterr() == ("", "")
    found = mirrored(tmp_path / "study")
    assert set(found) == {run.id for run in done.runs} and {
        run["group"] for run in found.values()
    } == {"capacity"}
    for run in done.runs:
        seen = found[run.id]
        assert [row["val_loss"] for row in seen["history"]] == [row["val_loss"] for row in run.rows]
        assert {key: seen["config"][key] for key in run.size} == run.size
        assert ("pilot" in seen["tags"]) == ("test" not in run.recipe.evaluate)
