"""Sweeps and studies through a Ray cluster whose nodes are killed, and cannot be reached."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from commands import Cli
from recording import blink
from trained_alike import same_run

import convscope as cs
from convscope import data
from convscope.engines.ray_engine import ClusterLost, RayEngine
from convscope.errors import UserError
from convscope.recipe import Recipe
from convscope.studies.toml_files import toml_of
from convscope.studies.watcher import Watcher
from convscope.training import Run

if TYPE_CHECKING:
    from own_cluster import OwnCluster

NETS = """
from torch import nn

def small(in_shape, num_classes, width=2):
    return nn.Sequential(nn.Conv2d(in_shape[0], width, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1),
                         nn.Flatten(), nn.Linear(width, num_classes))
"""


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
    return replace(blink(micro), epochs=100, evaluate_every=10)


def test_nodes_die_and_no_run_is_lost_or_recorded_twice_or_another(
    slow: Recipe, tmp_path: Path, ray_cluster: OwnCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two of two nodes, one after the other; images and a factory are sent to the new ones."""
    (tmp_path / "far_nets.py").write_text(NETS)
    monkeypatch.syspath_prepend(str(tmp_path))
    own = replace(slow, model=cs.Custom("far_nets:small", {"width": 3}))
    recipes = [replace(one, seed=seed) for one in (slow, own) for seed in range(3)]
    before = list(ray_cluster.nodes)

    def kill() -> None:
        ray_cluster.kill(before.pop())
        ray_cluster.add()

    watcher = Killer({5: kill, 25: kill})
    where = {"engine": "ray", "address": ray_cluster.address, "workers": 2}
    found = cs.sweep(recipes, compare=[], out=tmp_path / "ray", watcher=watcher, **where)
    assert sum("was lost" in line and "another one" in line for line in watcher.said) >= 2
    ids = sorted(recipe.id for runs in found.runs.values() for recipe in (r.recipe for r in runs))
    assert sorted(watcher.ends) == sorted(watcher.began) == ids and len(set(ids)) == 6
    assert all(epochs == list(range(10, 101, 10)) for epochs in watcher.epochs.values())
    here = cs.sweep(recipes, compare=[], out=tmp_path / "local", workers=1)
    for name, runs in here.runs.items():
        for one, other in zip(runs, found.runs[name], strict=True):
            same_run(one.path, other.path)
    sent = [list(ray_cluster.cache(node).glob("datasets/[!.]*")) for node in ray_cluster.nodes]
    names = {path.name for paths in sent for path in paths}
    hash_ = data.load(slow.data).hash
    assert names == {f"sent-{hash_[:20]}.v1"}


def finished(root: Path) -> set[str]:
    return {path.parent.name for path in root.glob("runs/*/result.json")}


def test_ctrl_c_leaves_a_sweep_that_the_local_engine_completes(
    slow: Recipe, tmp_path: Path, ray_cluster: OwnCluster
) -> None:
    recipes = [replace(slow, seed=seed, epochs=200) for seed in range(6)]
    where = {"engine": "ray", "address": ray_cluster.address, "workers": 2}
    code = (
        "import sys, convscope as cs\n"
        f"base = cs.read_recipe({str(tmp_path / 'r.json')!r})\n"
        f"cs.sweep(base, seeds=6, compare=[], out={str(tmp_path / 's')!r}, **{where!r})\n"
    )
    from convscope.files import write_json
    from convscope.recipe import to_json

    write_json(tmp_path / "r.json", to_json(replace(recipes[0])))
    with subprocess.Popen(
        [sys.executable, "-c", code], stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        until = time.monotonic() + 60
        while not finished(tmp_path / "s") and process.poll() is None and time.monotonic() < until:
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert err.rstrip().endswith("KeyboardInterrupt"), err
    there = finished(tmp_path / "s")
    assert 0 < len(there) < 6 and (tmp_path / "s" / "report.html").exists()
    stamps = {key: (tmp_path / "s" / "runs" / key).stat().st_mtime_ns for key in there}
    done = cs.sweep(recipes[0], seeds=6, compare=[], out=tmp_path / "s", workers=1)
    assert len(finished(tmp_path / "s")) == 6 and done.complete
    assert {k: (tmp_path / "s" / "runs" / k).stat().st_mtime_ns for k in there} == stamps


def test_the_heads_death_ends_the_cluster_and_not_the_study(
    slow: Recipe, tmp_path: Path, ray_cluster: OwnCluster
) -> None:
    from clustering import cluster

    with cluster(tmp_path / "nodes", nodes=0, head_cores=1) as alone:
        watcher = Killer({12: alone.end})
        where = {"engine": "ray", "address": alone.address}
        with pytest.raises(ClusterLost, match=r"the cluster has ended.*the same command goes on"):
            cs.sweep(slow, seeds=3, compare=[], out=tmp_path / "s", watcher=watcher, **where)
    assert len(finished(tmp_path / "s")) == 1
    where = {"engine": "ray", "address": ray_cluster.address}
    found = cs.sweep(slow, seeds=3, compare=[], out=tmp_path / "s", **where)
    assert found.complete and len(finished(tmp_path / "s")) == 3


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


def test_slots_that_no_node_has_room_for_are_refused(ray_cluster: OwnCluster) -> None:
    with RayEngine(0, address=ray_cluster.address) as engine:
        assert engine.room(1) == 2
        with pytest.raises(UserError, match="no node of the cluster has 3 cores for a slot"):
            engine.resize(1, threads=3)
