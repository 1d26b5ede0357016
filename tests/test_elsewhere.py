"""A run that is trained on a machine with other disks, and images that are sent by their hash."""

from __future__ import annotations

import hashlib
import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from recording import blink
from trained_alike import same_run

from convscope import data
from convscope.engines.jobs import JobQueue
from convscope.engines.ray_engine import MOST_LOSSES, Losses, RayEngine, Seat
from convscope.errors import UserError
from convscope.recipe import Recipe
from convscope.training.elsewhere import begun_files, receive, train_elsewhere
from convscope.training.main_path import train
from convscope.training.resident_data import dataset_of
from convscope.training.run_folder import RunFolder, read_run


class Broken(Exception):
    """Ends a run after some epochs."""


@pytest.fixture
def recipe(micro: Path) -> Recipe:
    return replace(blink(micro), data_hash=data.load(str(micro)).hash)


def test_files_that_are_sent_make_the_same_run(recipe: Recipe, tmp_path: Path) -> None:
    rows: list[Any] = []
    files = train_elsewhere(rows.append, recipe, {})
    run = receive(recipe, tmp_path / "sent", files)
    here = train(recipe, tmp_path / "here")
    assert run is not None
    same_run(here.path, run.path)
    assert [row["epoch"] for row, more in rows if not more] == [1, 2, 3, 4]
    assert not list((tmp_path / "sent").rglob("*.part"))


def test_a_late_duplicate_is_dropped(recipe: Recipe, tmp_path: Path) -> None:
    files = train_elsewhere(lambda _: None, recipe, {})
    first = receive(recipe, tmp_path, files)
    assert first is not None
    before = {path: path.stat().st_mtime_ns for path in first.path.iterdir()}
    again = receive(recipe, tmp_path, {**files, "metrics.jsonl": b"another\n"})
    broken_off = receive(recipe, tmp_path, {name: b"" for name in files if name != "result.json"})
    assert again == first == broken_off
    assert {path: path.stat().st_mtime_ns for path in first.path.iterdir()} == before


def test_a_run_goes_on_from_the_files_that_a_lost_worker_sent(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("convscope.training.elsewhere.SEND_EVERY", 0.0)
    root, rows = tmp_path / "sent", []

    def lost_after_two(told: Any) -> None:
        row, files = told
        assert receive(recipe, root, files) is None
        if row["epoch"] == 2:
            raise Broken

    with pytest.raises(Broken):
        train_elsewhere(lost_after_two, recipe, begun_files(recipe, root))
    files = train_elsewhere(rows.append, recipe, begun_files(recipe, root))
    assert [row["epoch"] for row, _ in rows] == [3, 4]
    run, here = receive(recipe, root, files), train(recipe, tmp_path / "here")
    assert run is not None
    same_run(here.path, run.path)


def test_a_failed_run_is_replaced_by_what_comes(recipe: Recipe, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / recipe.id)
    folder.begin(recipe)
    folder.finish(recipe, "failed", {"filters": 0, "parameters": 0, "flops": 0}, "its node died")
    assert begun_files(recipe, tmp_path) == {}
    files = train_elsewhere(lambda _: None, recipe, {})
    run = receive(recipe, tmp_path, files)
    assert run is not None and read_run(folder.path).status == "finished"


def test_what_arrives_altered_is_named(recipe: Recipe, tmp_path: Path) -> None:
    files = train_elsewhere(lambda _: None, recipe, {})
    torn = {**files, "best.safetensors": files["best.safetensors"][:-8]}
    with pytest.raises(UserError, match="altered"):
        receive(recipe, tmp_path, torn)


# --- images by their hash


def test_images_are_found_and_sent_by_their_hash(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = data.load(recipe.data)
    folder = data.folder_with(loaded.hash)
    assert folder is not None
    files = data.files_of(folder)
    monkeypatch.setenv("CONVSCOPE_CACHE", str(tmp_path / "cache"))
    assert data.folder_with(loaded.hash) is None
    monkeypatch.setattr("convscope.training.resident_data._by_hash", [True])
    elsewhere = replace(recipe, data="/no/such/folder")
    with pytest.raises(UserError, match="is not in this machine's cache"):
        dataset_of(elsewhere)
    kept = data.keep_files(loaded.hash, files)
    assert kept == data.folder_with(loaded.hash) and kept.name.startswith("sent-")
    stamps = {path: path.stat().st_mtime_ns for path in kept.iterdir()}
    assert data.keep_files(loaded.hash, files) == kept  # a second slot of the node
    assert {path: path.stat().st_mtime_ns for path in kept.iterdir()} == stamps
    found = dataset_of(elsewhere)
    assert found.hash == loaded.hash and found.held_out == loaded.held_out
    for split in ("train", "val", "test"):
        one, other = getattr(found, split), getattr(loaded, split)
        assert one.images.equal(other.images) and one.labels.equal(other.labels)


def test_images_that_arrive_altered_are_refused(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = data.folder_with(recipe.data_hash)
    assert folder is not None
    files = data.files_of(folder)
    monkeypatch.setenv("CONVSCOPE_CACHE", str(tmp_path))
    name = "train_images.npy"
    flipped = files[name][:-1] + bytes([files[name][-1] ^ 1])
    with pytest.raises(UserError, match="what was sent is not what was to be sent"):
        data.keep_files(recipe.data_hash, {**files, name: flipped})
    assert not list(tmp_path.rglob("sent-*/meta.json"))
    other = hashlib.sha256(b"other").hexdigest()
    with pytest.raises(UserError, match="what was sent is not what was to be sent"):
        data.keep_files(other, files)
    assert data.keep_files(recipe.data_hash, files) == data.folder_with(recipe.data_hash)


# --- how often a job may be lost


def test_a_job_that_takes_its_slot_down_twice_fails_and_dying_nodes_are_not_its_fault() -> None:
    alive = frozenset({"a", "b"})
    assert not Losses(["a"]).ends(alive) and Losses(["a", "b"]).ends(alive)
    assert Losses(["a", "a"]).ends(alive)
    dead = [f"dead {i}" for i in range(MOST_LOSSES)]
    assert not Losses([*dead[:-2], "a"]).ends(alive)
    assert Losses(dead).ends(alive)


@pytest.mark.parametrize(("own", "most"), [(True, 5), (False, 51)])
def test_slots_that_never_start_end_the_engine(own: bool, most: int) -> None:
    """Also where each time its node seems to have died: nothing is tried for ever."""
    engine = object.__new__(RayEngine)  # no cluster is joined
    numbers = itertools.count(1)
    engine.workers, engine.unstarted = [Seat(0)], 0.0
    engine._started = lambda: Seat(next(numbers))
    with pytest.raises(UserError, match="no worker can start: a reason"):
        for _ in range(most):
            message = ("unstarted", engine.workers[0].number, 0, ("a reason", own), "")
            list(engine._take(message, JobQueue()))
    assert next(numbers) >= most - 2
