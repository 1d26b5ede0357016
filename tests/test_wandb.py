"""Runs mirrored to Weights & Biases: its offline files are read back."""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mirroring import CLASSES, SHAPE, break_off_and_go_on, go_by

from convscope.errors import UserError
from convscope.fast.kernel_folder import kernel_folder
from convscope.recipe.networks import ConvNet, SoftmaxRegression
from convscope.recipe.recipe import Recipe
from convscope.studies.trackers.to_wandb import ToWandb
from convscope.studies.trackers.tracking import MEASURES, tracked, train_tracked
from convscope.studies.watcher import Watcher
from convscope.training.runs import Run

# --- Weights & Biases, offline


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("WANDB_API_KEY", "WANDB_PROJECT", "WANDB_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WANDB_MODE", "offline")
    # in another home all kernels would be compiled anew
    monkeypatch.setenv("CONVSCOPE_KERNELS_FOLDER", str(kernel_folder()))
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
                "job_type": run.job_type,
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
        if record.HasField("request") or record.HasField("artifact"):
            manifest = record.artifact.manifest.contents
            found.setdefault("files", []).extend(sorted(entry.path for entry in manifest))
        if record.HasField("exit"):
            found["exit"] = record.exit.exit_code
    return found


def mirrored(folder: Path) -> dict[str, dict[str, Any]]:
    """What was mirrored, by the id of convscope's run, or "report"."""
    files = sorted(folder.glob("wandb/offline-run-*/run-*.wandb"))
    wait_for(files)
    found = [read_back(path) for path in files]
    return {run["config"].get("run", "report"): run for run in found}


def wait_for(files: list[Path]) -> None:
    """wandb 0.31 writes a moment after `finish`, so the end of each file is waited for."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if all("exit" in read_back(path) for path in files):
            return
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
    noted = go_by("wandb", study, first, second, pilot)
    out, err = capfd.readouterr()
    assert (out, err, noted.said) == ("", "", [])
    found = mirrored(study)
    assert (
        set(found) == {first.id, second.id, pilot.id, "report"}
        and len({run["id"] for run in found.values()}) == 4
    )
    one = found[first.id]
    assert (
        one["project"] == "convscope"
        and one["group"] == "capacity"
        and one["tags"] == ["capacity", "best"]
        and one["id"].endswith(f"-{first.id}")
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
        assert {key: seen[key] for key in (*MEASURES, "lr", "seconds")} == {
            key: row[key] for key in (*MEASURES, "lr", "seconds")
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


@pytest.mark.slow
def test_wandb_offline_holds_verdict_charts_and_report(
    offline: None, tmp_path: Path, make_run: Callable[..., Run]
) -> None:
    run = make_run(ConvNet(2, 1), [1.0] * 3, [1.0] * 3, seed=7)
    break_off_and_go_on("wandb", tmp_path / "study", run)
    files = sorted((tmp_path / "study").glob("wandb/offline-run-*/run-*.wandb"))
    wait_for(files)
    found = [read_back(path) for path in files]
    # offline, the part after an interruption is a file of its own, under the same id
    parts = [part for part in found if part["config"].get("run") == run.id]
    assert [[row["_step"] for row in part["history"]] for part in parts] == [[1, 2], [1, 2, 3]]
    assert len({part["id"] for part in parts}) == 1 and parts[0]["exit"] == 1
    assert parts[0]["summary"]["status"] == "interrupted" and parts[1]["exit"] == 0
    assert parts[1]["job_type"].startswith("width 2, depth 1 (")
    reports = [part for part in found if part["job_type"] == "report"]
    assert len(reports) == 2 and len({part["id"] for part in reports}) == 1
    last = reports[1]["summary"]
    assert last["capacity/verdict"] == "width 4" and last["sentence"] == "All of it."
    (charts,) = reports[1]["history"]
    assert charts["capacity/loss/caption"] == "Loss — größer"
    assert reports[1]["files"] == ["report.html", "results.json"]


@pytest.mark.slow
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
    # it is finished: read, and not mirrored again
    assert train_tracked(recipe, tmp_path / "runs", "wandb") == run
    assert len(list((tmp_path / "runs" / "wandb").glob("offline-run-*"))) == 1


def test_the_id_depends_on_study_and_recipe_alone(offline: None, tmp_path: Path) -> None:
    folders = tmp_path / "a" / "one", tmp_path / "b" / "one", tmp_path / "two"
    a, b, c = (ToWandb(folder).prefix for folder in folders)
    assert a == b != c


def test_wandb_without_a_key_is_refused_before_training(
    offline: None, micro: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("WANDB_MODE", "online")
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


@pytest.mark.slow
def test_a_study_is_mirrored_whole(
    offline: None,
    tiny_preset: None,
    micro: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    from convscope.chapters import capacity
    from convscope.studies.main_path import study

    # each run costs a process of wandb's: two widths show as much as more
    widths = capacity.widths(capacity.first(1, (16,)), 2, 4)
    preset = capacity.Preset((widths,), 2, (1e-3, 4e-3), 1)
    # undone before `tiny_preset` is, which the fixture `monkeypatch` would outlive
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(capacity.PRESETS, "quick", preset)
        # one worker would take two threads, which wait for each other where two test processes run
        done = study(micro, ["capacity"], out=tmp_path / "study", workers=2, seeds=1, track="wandb")
    assert capfd.readouterr() == ("", "")
    found = mirrored(tmp_path / "study")
    whole = found.pop("report")["summary"]
    assert whole["capacity/verdict"] == done["capacity"].verdict
    assert whole["sentence"] == done.sentence
    assert set(found) == {run.id for run in done.runs} and {
        run["group"] for run in found.values()
    } == {"capacity"}
    for run in done.runs:
        seen = found[run.id]
        assert [row["val_loss"] for row in seen["history"]] == [row["val_loss"] for row in run.rows]
        assert {key: seen["config"][key] for key in run.size} == run.size
        assert ("pilot" in seen["tags"]) == ("test" not in run.recipe.evaluate)
