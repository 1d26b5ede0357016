"""What was begun goes on as it began, and a failure never hides a result."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from commands import Cli
from recording import blink

from convscope.cli import training
from convscope.engines.jobs import Event
from convscope.files import write_json
from convscope.machine import Costs
from convscope.recipe import ConvNet, Recipe, to_json
from convscope.studies.run_queue import SILENCE, Sweep, record_failure
from convscope.studies.watcher import Watcher
from convscope.training.main_path import run_lock, train
from convscope.training.run_folder import RunFolder, read_run

PLAIN = ("--model", "convnet,width=2,depth=1", "--batch", "30", "--epochs", "2")


@pytest.fixture
def begun(micro: Path, tmp_path: Path, cli: Cli) -> Recipe:
    """A run that was broken off after its recipe was written, computed as nothing is here."""
    recipe = Recipe(
        data=str(micro),
        data_hash=train(replace(blink(micro), epochs=1), tmp_path / "elsewhere").recipe.data_hash,
        model=ConvNet(2, 1),
        batch=30,
        epochs=2,
        threads=2,
        precision="float64",
        layout="contiguous",
    )
    RunFolder(tmp_path / "runs" / recipe.id).begin(recipe)
    return recipe


def test_train_goes_on_with_the_threads_and_precision_it_began_with(
    cli: Cli, micro: Path, tmp_path: Path, begun: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def measured(recipe: Recipe, given: object) -> Recipe:
        asked.append(recipe)
        return replace(recipe, threads=1, precision="float32")

    monkeypatch.setattr(training, "measured", measured)
    command = ("train", micro, *PLAIN, "--out", tmp_path / "runs", "--json")
    first = json.loads(cli(*command).out)
    assert first["id"] == begun.id and asked == []
    assert read_run(tmp_path / "runs" / begun.id).recipe.precision == "float64"
    assert json.loads(cli(*command).out)["id"] == begun.id and asked == []
    other = json.loads(cli(*command, "--seed", 1).out)
    assert other["id"] != begun.id and len(asked) == 1, "another run is measured anew"
    given = json.loads(cli(*command, "--precision", "float32").out)
    assert given["id"] != begun.id, "what the user gives goes before what was begun"


def test_a_users_network_goes_on_as_it_began_too(
    cli: Cli, micro: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def measured(recipe: Recipe, given: object) -> Recipe:
        asked.append(recipe)
        return replace(recipe, threads=1 + len(asked), precision="float32")

    monkeypatch.setattr(training, "measured", measured)
    command = ("train", micro, "--model", "own_modules:Shared", "--batch", "30", "--epochs", "1")
    command = (*command, "--out", tmp_path / "runs", "--json")
    first = cli(*command)
    again = json.loads(cli(*command).out)
    assert again["id"] == json.loads(first.out)["id"] and len(asked) == 1, first.err


def test_a_failure_is_not_recorded_over_a_finished_run(micro: Path, tmp_path: Path) -> None:
    recipe = blink(micro)
    run = train(recipe, tmp_path)
    before = {path.name: path.read_bytes() for path in run.path.iterdir()}
    assert record_failure(run.recipe, tmp_path, "the worker died of SIGKILL") == run
    assert {path.name: path.read_bytes() for path in run.path.iterdir()} == before


def test_a_failure_is_not_recorded_while_another_process_trains_the_run(
    micro: Path, tmp_path: Path
) -> None:
    recipe, said = blink(micro), []
    watcher = Watcher()
    watcher.say = said.append  # pyright: ignore[reportAttributeAccessIssue]
    sweep = object.__new__(Sweep)
    sweep.root, sweep.watcher = tmp_path, watcher
    sweep.recipes, sweep.runs = {recipe.id: recipe}, {}
    with run_lock(tmp_path / recipe.id):
        assert sweep._see(Event(recipe.id, "failed", "the worker died of SIGKILL"))
        assert [path.name for path in (tmp_path / recipe.id).iterdir()] == [".lock"]
    assert sweep.runs == {recipe.id: None}
    assert "SIGKILL" in said[0] and "another process is training it" in said[0]
    assert record_failure(recipe, tmp_path, "no reason").status == "failed"


def test_silence_is_stated_by_the_user_or_by_what_was_measured(micro: Path) -> None:
    class Slow(Costs):
        def __init__(self) -> None: ...

        def since_row_before(self, recipe: Recipe, epoch: int) -> float:
            return 60.0 * epoch

    sweep = object.__new__(Sweep)
    sweep.costs, sweep.silence = Slow(), None
    every = replace(blink(micro), evaluate_every=2)
    assert sweep._silence_of(every) == 50 * 120
    sweep.silence = 5.0
    assert sweep._silence_of(every) == 5.0
    assert SILENCE == 15 * 60


FORKS = """
import os
from torch import nn
def net(in_shape, num_classes):
    os.fork()
    return nn.Sequential(nn.Flatten(), nn.Linear(in_shape[0] * in_shape[1] ** 2, num_classes))
"""


@pytest.mark.slow
def test_the_child_of_a_factory_that_forks_writes_nothing_of_the_run(
    micro: Path, tmp_path: Path
) -> None:
    (tmp_path / "forking.py").write_text(FORKS)
    recipe = to_json(replace(blink(micro), epochs=1))
    recipe["model"] = {"kind": "custom", "factory": "forking:net", "arguments": {}}
    write_json(tmp_path / "recipe.json", recipe)
    command = [sys.executable, "-m", "convscope.cli", "train", "--recipe", "recipe.json"]
    done = subprocess.run(
        [*command, "--out", "runs"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    (path,) = (tmp_path / "runs").iterdir()
    assert done.returncode == 0 and read_run(path).status == "finished", done.stderr
