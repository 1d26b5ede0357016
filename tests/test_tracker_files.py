"""What TensorBoard, MLflow and Trackio hold of a study, read back with their own readers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mirroring import break_off_and_go_on, go_by

from convscope.errors import UserError
from convscope.recipe.networks import ConvNet, SoftmaxRegression
from convscope.studies.trackers.names import installed
from convscope.studies.trackers.to_mlflow import check_address
from convscope.studies.trackers.to_tensorboard import plain_name
from convscope.studies.trackers.tracker import library
from convscope.studies.trackers.tracking import MEASURES
from convscope.training.runs import Run

Runs = tuple[Run, Run, Run]


def needs(name: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(not installed(name), reason=f"needs convscope[{name}]")


@pytest.fixture
def study(tmp_path: Path) -> Path:
    return tmp_path / "größer als 100 % #1"


@pytest.fixture
def three(tmp_path: Path, make_run: Callable[..., Run]) -> Runs:
    """A run that finished, one that diverged, and a pilot."""
    first = make_run(ConvNet(4, 2), [2.0, 1.0, 0.5], [2.1, 1.2, 1.4], seed=3)
    second = make_run(ConvNet(2, 1), [2.0, 1.5], [2.1, 1.6], status="diverged")
    made = make_run(ConvNet(1, 1), [2.0], [2.1])
    linear = replace(made.recipe, model=SoftmaxRegression(), evaluate=("val",))
    return first, second, replace(made, recipe=linear, path=tmp_path / linear.id)


def parameters(run: Run) -> int:
    """3→4 and 4→8 filters of 3×3 with biases on 8×8 images, then 2×2×8 features to 10 classes."""
    assert run.recipe.model == ConvNet(4, 2)
    return 4 * 28 + 8 * 37 + 10 * 33


# --- TensorBoard


def tensorboard(study: Path) -> tuple[Any, dict[str, str]]:
    """TensorBoard's own reader of the whole folder, and the folder of each run by its id."""
    name = "tensorboard.backend.event_processing.event_multiplexer"
    read = library(name).EventMultiplexer(size_guidance={"scalars": 0, "images": 0, "tensors": 0})
    read.AddRunsFromDirectory(str(study / "tensorboard"))
    read.Reload()
    return read, {folder.rpartition(", ")[2]: folder for folder in read.Runs()}


def text(read: Any, run: str, tag: str) -> str:
    (event,) = read.Tensors(run, tag)
    return event.tensor_proto.string_val[0].decode()


def session(read: Any, run: str, which: str) -> Any:
    metadata = library("tensorboard.plugins.hparams.metadata")
    parse = getattr(metadata, f"parse_session_{which}_info_plugin_data")
    tag = f"_hparams_/session_{which}_info"
    return parse(read.SummaryMetadata(run, tag).plugin_data.content)


@needs("tensorboard")
def test_tensorboard_holds_epochs_hparams_and_charts(study: Path, three: Runs) -> None:
    first, second, pilot = three
    assert go_by("tensorboard", study, *three).said == []
    read, folders = tensorboard(study)
    assert folders == {
        first.id: f"capacity/width 4, depth 2, seed 3, {first.id}",
        second.id: f"best/width 2, depth 1, seed 0, {second.id}",
        pilot.id: f"capacity/softmax regression, seed 0, {pilot.id}",
        "capacity": "capacity",
        "report": "report",
    }  # and no run for the hyperparameters
    one = folders[first.id]
    for key in MEASURES:
        split, what = key.split("_")
        seen = [(event.step, event.value) for event in read.Scalars(one, f"{what}/{split}")]
        expected = [(row["epoch"], row[key]) for row in first.rows]
        assert seen == [(step, pytest.approx(value)) for step, value in expected]
    assert "loss/train" not in read.Runs()[folders[second.id]]["scalars"]  # it was not finite
    (best,) = read.Scalars(one, "best_val_loss")
    assert (best.step, best.value) == (2, pytest.approx(1.2))
    start = session(read, one, "start")
    hparams = start.hparams
    assert hparams["model.width"].number_value == 4 and "seed" not in hparams
    assert hparams["parameters"].number_value == parameters(first)
    assert start.group_name == f"width 4, depth 2 ({replace(first.recipe, seed=0).id})"
    assert hparams["chapters"].string_value == "capacity,best"
    assert session(read, folders[pilot.id], "start").hparams["pilot"].bool_value
    api = library("tensorboard.plugins.hparams.api_pb2")
    assert session(read, one, "end").status == api.STATUS_SUCCESS
    assert session(read, folders[second.id], "end").status == api.STATUS_FAILURE
    assert json.loads(text(read, one, "recipe").strip("`json\n"))["seed"] == 3
    assert text(read, folders[second.id], "status") == "diverged"
    assert text(read, "capacity", "verdict") == "width 4"
    (image,) = read.Images("capacity", "loss")
    assert (image.width, image.height) == (8, 6)
    picture = study / "charts" / "capacity-loss.png"
    assert image.encoded_image_string == picture.read_bytes()
    assert text(read, "report", "sentence") == "All of it."
    assert "report.html" in text(read, "report", "files")


@needs("tensorboard")
def test_tensorboard_has_each_epoch_of_a_run_that_goes_on_once(
    study: Path, make_run: Callable[..., Run]
) -> None:
    run = make_run(ConvNet(2, 1), [1.0, 0.5, 0.4], [1.0, 0.9, 0.8])
    break_off_and_go_on("tensorboard", study, run)
    read, folders = tensorboard(study)
    assert [event.step for event in read.Scalars(folders[run.id], "loss/val")] == [1, 2, 3]
    assert text(read, folders[run.id], "status") == "finished"
    assert len(read.Images("capacity", "loss")) == 1
    assert text(read, "report", "sentence") == "All of it."


def test_names_become_folders_that_can_be() -> None:
    assert plain_name("a/b\\c:d\ne") == "a-b-c-d-e" and plain_name("größer, seed 1") != "-"
    assert plain_name("..") == plain_name("") == "-"
    long = plain_name("界" * 300 + ", seed 12, 0123456789abcdef")
    assert long.endswith(", seed 12, 0123456789abcdef") and len(long.encode()) < 255


# --- MLflow


def mlflow_runs(uri: str, experiment: str) -> tuple[Any, dict[str, Any]]:
    """MLflow's client, and its runs by what they stand for."""
    client = library("mlflow").MlflowClient(tracking_uri=uri)
    found = client.get_experiment_by_name(experiment)
    runs = client.search_runs([found.experiment_id])
    return client, {run.data.tags["convscope.key"].partition("-")[2]: run for run in runs}


quiet = pytest.mark.filterwarnings("ignore")  # of MLflow about SQLAlchemy, and about its files


@needs("mlflow")
@quiet
def test_mlflow_holds_nested_runs_where_its_address_says(
    study: Path, three: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = (tmp_path / "elsewhere").as_uri()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # quick, against ten seconds for SQLite
    first, second, pilot = three
    assert go_by("mlflow", study, *three).said == []
    assert not (study / "mlflow").exists()
    client, runs = mlflow_runs(uri, study.name)
    chapters = {"chapter-capacity", "chapter-best"}
    assert set(runs) == {first.id, second.id, pilot.id, "report"} | chapters
    one = runs[first.id]
    assert one.info.run_name == "width 4, depth 2, seed 3" and one.info.status == "FINISHED"
    assert one.data.params["model.width"] == "4" and one.data.params["seed"] == "3"
    assert one.data.params["parameters"] == str(parameters(first))
    for key in (*MEASURES, "lr", "seconds"):
        history = client.get_metric_history(one.info.run_id, key)
        expected = [(row["epoch"], row[key]) for row in first.rows]
        assert sorted((metric.step, metric.value) for metric in history) == expected
    assert one.data.metrics["best_val_loss"] == 1.2 and one.data.tags["status"] == "finished"
    assert one.data.tags["chapters"] == "capacity,best" and one.data.tags["kind"] == "run"
    assert "train_loss" not in runs[second.id].data.metrics
    assert runs[second.id].info.status == "FAILED" and runs[pilot.id].data.tags["kind"] == "pilot"
    parent = {key: run.data.tags.get("mlflow.parentRunId") for key, run in runs.items()}
    assert parent[first.id] == parent[pilot.id] == runs["chapter-capacity"].info.run_id
    assert parent[second.id] == runs["chapter-best"].info.run_id
    assert parent["chapter-best"] == runs["report"].info.run_id and parent["report"] is None
    chapter = runs["chapter-capacity"]
    assert chapter.data.tags["verdict"] == "width 4" and chapter.info.status == "FINISHED"
    got = client.download_artifacts(chapter.info.run_id, "charts/capacity-loss.png", str(tmp_path))
    assert Path(got).read_bytes() == (study / "charts" / "capacity-loss.png").read_bytes()
    whole = runs["report"]
    assert whole.data.tags["sentence"] == "All of it."
    files = [file.path for file in client.list_artifacts(whole.info.run_id)]
    assert files == ["report.html", "results.json"]


@needs("mlflow")
@quiet
@pytest.mark.slow
def test_mlflow_without_an_address_is_a_sqlite_file_of_the_study(
    study: Path, make_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(name, raising=False)
    run = make_run(ConvNet(2, 1), [1.0, 0.5, 0.4], [1.0, 0.9, 0.8])
    break_off_and_go_on("mlflow", study, run)
    address = library("mlflow.utils.file_utils").path_to_local_sqlite_uri
    client, runs = mlflow_runs(address(str(study / "mlflow" / "mlflow.db")), study.name)
    assert set(runs) == {run.id, "chapter-capacity", "report"}
    one = runs[run.id]
    steps = [m.step for m in client.get_metric_history(one.info.run_id, "val_loss")]
    assert sorted(steps) == [1, 2, 3] and one.data.tags["status"] == "finished"
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    assert runs["report"].data.tags["sentence"] == "All of it."
    (chart,) = (study / "mlflow" / "artifacts").glob("*/artifacts/charts/capacity-loss.png")
    assert chart.read_bytes() == (study / "charts" / "capacity-loss.png").read_bytes()


@needs("mlflow")
@quiet
def test_an_address_of_no_mlflow_server_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for good in ("http://host:5000", "https://host", "sqlite:///a.db", "postgresql+psycopg://h/d"):
        check_address(good)
    for good in ("databricks", "databricks://profile", "databricks-uc"):
        check_address(good)
    with pytest.raises(UserError, match=r"^track mlflow: .*'htp://x': did you mean 'http'"):
        check_address("htp://x")
    monkeypatch.delenv("MLFLOW_ALLOW_FILE_STORE", raising=False)
    for files in ("./mlruns", "file:///tmp/mlruns"):
        with pytest.raises(UserError, match=r"writes no plain files; use sqlite:///"):
            check_address(files)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    check_address("./mlruns")


# --- Trackio

READ = """
import json, sys
import trackio
from trackio.sqlite_storage import SQLiteStorage as storage
found = {}
for run in trackio.Api().runs(sys.argv[1]):
    logs = storage.get_logs(sys.argv[1], run.name, run_id=run.id)
    found[run.name] = {"config": run.config, "logs": logs}
print(json.dumps({"runs": found, "artifacts": storage.list_artifacts(sys.argv[1])}, default=str))
"""


def trackio(study: Path) -> tuple[dict[str, Any], list[Any]]:
    """Trackio's runs by what their names end with, and its artifacts; it reads one folder only."""
    done = subprocess.run(
        [sys.executable, "-c", READ, study.name],
        env={**os.environ, "TRACKIO_DIR": str(study / "trackio")},
        capture_output=True,
        check=True,
    )
    tree = json.loads(done.stdout.splitlines()[-1])
    runs = {name.rpartition(", ")[2]: {"name": name, **run} for name, run in tree["runs"].items()}
    return runs, tree["artifacts"]


@needs("trackio")
def test_trackio_holds_config_epochs_and_charts_without_a_network(
    study: Path, three: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TRACKIO_DIR", raising=False)
    monkeypatch.setenv("TRACKIO_SPACE_ID", "someone/space")  # it would go there
    first, second, pilot = three
    assert go_by("trackio", study, *three).said == []
    runs, artifacts = trackio(study)
    assert set(runs) == {first.id, second.id, pilot.id, "capacity", "report"}
    one = runs[first.id]
    assert one["name"] == f"width 4, depth 2, seed 3, {first.id}"
    config = one["config"]
    assert config["model"]["width"] == 4 and config["parameters"] == parameters(first)
    assert config["_Group"] == "capacity" and config["seed"] == 3
    epochs = [log for log in one["logs"] if "val_loss" in log]
    assert [log["step"] for log in epochs] == [1, 2, 3]
    for row, seen in zip(first.rows, epochs, strict=True):
        assert {key: seen[key] for key in MEASURES} == {key: row[key] for key in MEASURES}
    (last,) = [log for log in one["logs"] if "status" in log]
    assert last["status"] == "finished" and last["best_val_loss"] == 1.2 and last["step"] == 2
    assert "train_loss" not in runs[second.id]["logs"][0] and runs[pilot.id]["config"]["pilot"]
    (found,) = runs["capacity"]["logs"]
    assert found["verdict"] == "width 4" and found["loss"]["caption"] == "Loss — größer"
    picture = study / "trackio" / "media" / found["loss"]["file_path"]
    assert picture.stat().st_size > 50
    assert runs["report"]["logs"][0]["sentence"] == "All of it."
    assert [artifact["name"] for artifact in artifacts] == ["report"]


@needs("trackio")
@pytest.mark.slow
def test_trackio_has_each_epoch_of_a_run_that_goes_on_once(
    study: Path, make_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TRACKIO_DIR", raising=False)
    run = make_run(ConvNet(2, 1), [1.0, 0.5, 0.4], [1.0, 0.9, 0.8])
    break_off_and_go_on("trackio", study, run)
    runs, _ = trackio(study)
    assert set(runs) == {run.id, "capacity", "report"}
    assert [log["step"] for log in runs[run.id]["logs"] if "val_loss" in log] == [1, 2, 3]
    status = [log["status"] for log in runs[run.id]["logs"] if "status" in log]
    assert status[-1] == "finished" and len(runs["capacity"]["logs"]) == 1
    assert runs["report"]["logs"][0]["sentence"] == "All of it."
