"""Sweeps and studies through a Ray cluster whose nodes are killed, and cannot be reached."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import studying
from commands import Cli
from recording import blink
from trained_alike import same_run

import convscope as cs
from convscope import data
from convscope.engines import Engine, LocalEngine
from convscope.engines.ray_engine import ClusterLost, Losses, RayEngine
from convscope.errors import UserError
from convscope.files import write_json
from convscope.machine import Costs, cost_kind
from convscope.models import with_sources
from convscope.recipe import Recipe, to_json
from convscope.studies.run_queue import run_all
from convscope.studies.toml_files import toml_of
from convscope.studies.watcher import Watcher
from convscope.training import Run, read_run

if TYPE_CHECKING:
    from own_cluster import OwnCluster


class Killer(Watcher):
    """Does something at some of the rows that come in, and keeps what it sees."""

    def __init__(self, acts: dict[int, Callable[[], object]]) -> None:
        self.acts, self.rows = acts, 0
        self.said: list[str] = []
        self.began: list[str] = []
        self.ends: list[str] = []
        self.epochs: dict[str, list[int]] = {}

    def say(self, text: str) -> None:
        self.said.append(text)

    def started(self, recipe: Recipe) -> None:
        self.began.append(recipe.id)

    def epoch(self, recipe: Recipe, row: dict[str, Any], cost: float) -> None:
        self.rows += 1
        self.epochs.setdefault(recipe.id, []).append(row["epoch"])
        self.acts.pop(self.rows, lambda: None)()

    def ended(self, recipe: Recipe, run: Run) -> None:
        self.ends.append(recipe.id)


@pytest.fixture
def slow(micro: Path, session_cache: Path) -> Recipe:
    """A run that takes about half a second, of which every tenth epoch is told."""
    loaded = data.load(str(micro))
    return replace(blink(micro), data_hash=loaded.hash, epochs=100, evaluate_every=10)


def trained(engine: Engine, recipes: list[Recipe], root: Path, watcher: Watcher) -> list[Run]:
    loaded = data.load(recipes[0].data)
    kind = cost_kind(recipes[0])
    return run_all(engine, recipes, root, Costs(loaded, {kind.id: (1e-3, 1e-4)}, [kind]), watcher)


@pytest.mark.cluster
def test_a_node_dies_and_no_run_is_lost_or_recorded_twice_or_another(
    slow: Recipe,
    tmp_path: Path,
    ray_cluster: OwnCluster,
    ray_engine: Engine,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Another one joins: to both the images have been sent, and the user's factory.

    Its death is known at once: it is not held against the run.
    """
    own = with_sources(cs.Custom("own_modules:weight_norm"))
    recipes = [replace(slow, model=model, seed=s) for model in (slow.model, own) for s in range(3)]
    before = list(ray_cluster.nodes)

    def kill() -> None:
        ray_cluster.kill(ray_cluster.nodes[-1])
        ray_cluster.add()

    seen: list[tuple[list[str], frozenset[str]]] = []
    ends = Losses.ends

    def noted(self: Losses, alive: frozenset[str]) -> bool:
        seen.append((self.nodes, alive))
        return ends(self, alive)

    monkeypatch.setattr(Losses, "ends", noted)
    watcher = Killer({25: kill})
    found = trained(ray_engine, recipes, tmp_path / "ray", watcher)
    assert any("was lost" in line and "another one" in line for line in watcher.said)
    assert not any(node in lived for losses, lived in seen for node in losses)
    ids = sorted(recipe.id for recipe in recipes)
    assert sorted(watcher.ends) == sorted(watcher.began) == ids == sorted(r.id for r in found)
    assert all(epochs == list(range(10, 101, 10)) for epochs in watcher.epochs.values())
    with LocalEngine(1, copied=True) as here:
        for one, other in zip(
            trained(here, recipes, tmp_path / "here", Watcher()), found, strict=True
        ):
            same_run(one.path, other.path)
    for node in {*before, *ray_cluster.nodes}:
        sent = [path.name for path in ray_cluster.cache(node).glob("datasets/[!.]*")]
        assert set(sent) <= {f"sent-{slow.data_hash[:20]}.v1"}
        assert sent or node not in before


def finished(root: Path) -> set[str]:
    return {path.parent.name for path in root.rglob("result.json")}


@pytest.fixture
def free_node(ray_cluster: OwnCluster) -> Iterator[str]:
    """A node whose core no other test's engine holds."""
    name = ray_cluster.add()
    yield name
    ray_cluster.kill(name)


@pytest.mark.cluster
def test_a_study_through_the_cluster_has_the_runs_and_words_of_one_here(
    _study_once: Path, small_images: Path, tmp_path: Path, ray_cluster: OwnCluster, free_node: str
) -> None:
    with studying.tiny():
        where = {"engine": "ray", "address": ray_cluster.address, "workers": 1}
        made = cs.study(small_images, ["capacity"], out=tmp_path / "study", **where)
    here = json.loads((_study_once / "results.json").read_text())
    there = json.loads((made.path / "results.json").read_text())
    assert finished(made.path) == finished(_study_once) == {run["id"] for run in there["runs"]}
    for key in finished(made.path):
        same_run(_study_once / "runs" / key, made.path / "runs" / key)
    assert there["chapters"]["capacity"]["verdict"] == here["chapters"]["capacity"]["verdict"]
    assert there["sentence"] == here["sentence"]
    saved = tomllib.loads((made.path / "study.toml").read_text())
    assert (saved["engine"], saved["address"]) == ("ray", ray_cluster.address)


FACTORY = """
from torch import nn
from far_parts import last

def small(in_shape, num_classes, width=2):
    return nn.Sequential(nn.Conv2d(in_shape[0], width, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1),
                         nn.Flatten(), last(width, num_classes))
"""

PART = """
from torch import nn

def last(width, num_classes):
    return nn.Linear(width, num_classes)
"""


@pytest.mark.cluster
def test_ctrl_c_leaves_whole_runs_of_a_users_factory_and_a_report(
    slow: Recipe, tmp_path: Path, ray_cluster: OwnCluster, free_node: str
) -> None:
    (tmp_path / "far_nets.py").write_text(FACTORY)
    (tmp_path / "far_parts.py").write_text(PART)
    recipe = replace(slow, model=cs.Custom("far_nets:small", {"width": 3}), epochs=200)
    write_json(tmp_path / "recipe.json", to_json(recipe))
    asked = {"recipes": [str(tmp_path / "recipe.json")], "seeds": 6, "out": "s"}
    (tmp_path / "s.toml").write_text(toml_of(asked))
    command = [sys.executable, "-m", "convscope.cli", "sweep", "s.toml", "--engine", "ray"]
    command += ["--address", ray_cluster.address, "--workers", "1"]
    root, pipe = tmp_path / "s", subprocess.PIPE
    with subprocess.Popen(
        command, stdout=pipe, stderr=pipe, text=True, start_new_session=True, cwd=tmp_path
    ) as process:
        until = time.monotonic() + 100
        while not finished(root) and process.poll() is None and time.monotonic() < until:
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130 and out == "" and "Traceback" not in err, err
    there = finished(root)
    assert 0 < len(there) < 6 and (root / "report.html").exists()
    for key in there:
        assert read_run(root / "runs" / key).status == "finished"


@pytest.mark.cluster
def test_the_heads_death_ends_the_cluster_and_not_the_runs(slow: Recipe, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    from clustering import cluster

    recipes = [replace(slow, seed=seed) for seed in range(3)]
    with cluster(tmp_path / "nodes", nodes=0, head_cores=1) as alone:
        watcher = Killer({12: alone.end})
        with (
            RayEngine(1, address=alone.address) as engine,
            pytest.raises(ClusterLost, match=r"the cluster has ended.*the same command goes on"),
        ):
            trained(engine, recipes, tmp_path / "runs", watcher)
    there = finished(tmp_path / "runs")
    assert len(there) == 1
    with LocalEngine(1, copied=True) as here:
        again = Killer({})
        trained(here, recipes, tmp_path / "runs", again)
    assert len(finished(tmp_path / "runs")) == 3 and len(again.began) == 2


# --- what is refused


def test_without_ray_the_engine_is_refused_with_what_installs_it(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("convscope.engines.ray_engine.importlib.util.find_spec", lambda name: None)
    (tmp_path / "s.toml").write_text(toml_of({"data": "shapes", "grid": {"width": [1, 2]}}))
    for command in (("study", "shapes"), ("sweep", tmp_path / "s.toml")):
        answer = cli(*command, "--engine", "ray", "--out", tmp_path / "out")
        assert answer.code == 2 and "pip install 'convscope[ray]'" in answer.err, answer.err
        assert len(answer.err.strip().splitlines()) == 1 and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--engine", "dask"), "engine 'dask'; known: local, ray"),
        (("--address", "auto"), "address 'auto': is for --engine ray"),
        (("--engine", "ray", "--address", "ray://head:10001"), "is that of a Ray client"),
        (("--engine", "ray", "--address", " "), "auto or HOST:PORT is expected"),
        (("--engine", "ray", "--workers", "0"), "workers = 0: from 1 to"),
    ],
    ids=["name", "address", "client", "empty", "workers"],
)
def test_what_cannot_work_is_refused_at_once(
    cli: Cli, tmp_path: Path, options: tuple[str, ...], said: str
) -> None:
    if "ray" in options and importlib.util.find_spec("ray") is None:
        pytest.skip("ray is not installed")
    answer = cli("study", "shapes", *options, "--out", tmp_path / "out")
    assert answer.code == 2 and said in answer.err, answer.err
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_slots_that_no_node_has_room_for_are_refused(ray_engine: RayEngine) -> None:
    assert ray_engine.room(1) >= 2  # a node that was killed counts until the head notices
    try:
        with pytest.raises(UserError, match="no node of the cluster has 3 cores for a slot"):
            ray_engine.resize(1, threads=3)
    finally:
        ray_engine.resize(2, threads=1)


def test_an_address_where_no_cluster_is_is_refused() -> None:
    pytest.importorskip("ray")
    with pytest.raises(UserError, match=r"address 127.0.0.1:9: no Ray cluster can be joined"):
        RayEngine(1, address="127.0.0.1:9")
