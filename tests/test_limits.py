"""Cores and memory: by affinity, by OpenMP's binding, by control groups of both versions."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from convscope.data import control_groups, memory
from convscope.machine import limits

Tree = Callable[[str, dict[str, str]], Path]


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """A root folder with /proc/self/cgroup and files below /sys/fs/cgroup."""

    def make(groups: str, files: dict[str, str]) -> Path:
        (tmp_path / "proc/self").mkdir(parents=True)
        (tmp_path / "proc/self/cgroup").write_text(groups)
        for name, text in files.items():
            path = tmp_path / "sys/fs/cgroup" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{text}\n")
        return tmp_path

    return make


V1 = "5:cpu,cpuacct:/docker/abc\n4:memory:/docker/abc\n0::/\n"
QUOTAS: dict[str, tuple[str, dict[str, str], float | None]] = {
    "v2, a container's own root": ("0::/\n", {"cpu.max": "150000 100000"}, 1.5),
    "v2, none": ("0::/\n", {"cpu.max": "max 100000"}, None),
    "v2, nested: the smallest holds": (
        "0::/a/b\n",
        {"cpu.max": "max 100000", "a/cpu.max": "300000 100000", "a/b/cpu.max": "max 100000"},
        3.0,
    ),
    "v2, nested the other way": (
        "0::/a/b\n",
        {"a/cpu.max": "400000 100000", "a/b/cpu.max": "50000 100000"},
        0.5,
    ),
    "v2, the host's path is not shown": ("0::/../../x\n", {"cpu.max": "200000 100000"}, 2.0),
    "v1": (
        V1,
        {"cpu,cpuacct/cpu.cfs_quota_us": "250000", "cpu,cpuacct/cpu.cfs_period_us": "100000"},
        2.5,
    ),
    "v1 by its single name": (
        V1,
        {"cpu/docker/abc/cpu.cfs_quota_us": "50000", "cpu/docker/abc/cpu.cfs_period_us": "50000"},
        1.0,
    ),
    "v1, none": (V1, {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None),
    "nonsense": ("x\n0::/\n", {"cpu.max": "a lot"}, None),
    "no control groups": ("", {}, None),
}


@pytest.mark.parametrize("name", QUOTAS)
def test_quotas(name: str, tree: Tree) -> None:
    groups, files, expected = QUOTAS[name]
    assert limits.quota(tree(groups, files)) == expected


MEMORY: dict[str, tuple[str, dict[str, str], int | None, int | None]] = {
    "v2": ("0::/\n", {"memory.max": "2000", "memory.current": "500"}, 2000, 1500),
    "v2, throttled before": (
        "0::/\n",
        {"memory.max": "2000", "memory.high": "1000", "memory.current": "100"},
        1000,
        900,
    ),
    "v2, none": ("0::/\n", {"memory.max": "max", "memory.current": "5"}, None, None),
    "v2, nested": (
        "0::/a\n",
        {"a/memory.max": "max", "a/memory.current": "1", "memory.max": "9", "memory.current": "2"},
        9,
        7,
    ),
    "v2, a cache is given back": (
        "0::/\n",
        {"memory.max": "90", "memory.current": "80", "memory.stat": "anon 30\ninactive_file 50"},
        90,
        60,
    ),
    "v1": (
        V1,
        {"memory/memory.limit_in_bytes": "700", "memory/memory.usage_in_bytes": "900"},
        700,
        0,
    ),
    "v1, none": (V1, {"memory/memory.limit_in_bytes": "9223372036854771712"}, None, None),
}


@pytest.mark.parametrize("name", MEMORY)
def test_memory(name: str, tree: Tree) -> None:
    groups, files, limit, left = MEMORY[name]
    root = tree(groups, files)
    assert control_groups.memory_limit(root) == limit
    assert control_groups.memory_left(root) == left


def test_data_that_a_container_cannot_hold_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "memory_left", lambda: 1000)
    assert memory.free_memory() == 1000
    with pytest.raises(ValueError, match="GB of memory are free"):
        memory.refuse_what_does_not_fit(2000, "d.npz: unpacks to", "store fewer images")


def test_cores_are_the_fewest_that_anything_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "allowed_cores", lambda: frozenset(range(8)))
    monkeypatch.setattr(limits, "quota", lambda: None)
    monkeypatch.delenv("PYTHON_CPU_COUNT", raising=False)
    assert limits.cores() == 8
    monkeypatch.setattr(limits, "quota", lambda: 2.5)
    assert limits.cores() == 3  # rounded up
    monkeypatch.setattr(limits, "quota", lambda: 0.2)
    assert limits.cores() == 1
    monkeypatch.setattr(limits, "quota", lambda: 64.0)
    monkeypatch.setenv("PYTHON_CPU_COUNT", "5")
    assert limits.cores() == 5
    monkeypatch.setenv("PYTHON_CPU_COUNT", "default")
    assert limits.cores() == 8
    monkeypatch.setattr(limits, "allowed_cores", frozenset)  # macOS and Windows tell no affinity
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert limits.cores() == 6


ASK = """
import os, sys
if "--pin" in sys.argv:
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
import torch
torch.ones(300, 300) @ torch.ones(300, 300)
from convscope.device import cores
from convscope.engines.affinity import unbound
with unbound():
    print(cores(), len(os.sched_getaffinity(0)), "OMP_PROC_BIND" in os.environ)
"""


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one core")
@pytest.mark.parametrize("pinned", [pytest.param(False, marks=pytest.mark.slow), True])
def test_openmp_that_binds_the_process_to_a_core_does_not_hide_the_others(pinned: bool) -> None:
    command = [sys.executable, "-c", ASK, *(["--pin"] if pinned else [])]
    environment = os.environ | {"OMP_PROC_BIND": "close", "OMP_PLACES": "cores"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    have = 1 if pinned else len(os.sched_getaffinity(0))
    # processes that start inside `unbound` may use all of them, and are told of no binding
    quota = limits.quota()
    seen = have if quota is None else min(have, limits.math.ceil(quota))
    assert done.stdout.split() == [str(seen), str(have), "False"], done.stderr


def test_the_memory_of_this_machine_is_told() -> None:
    assert 2**28 < limits.memory_bytes() <= limits.physical_memory()
    assert limits.memory_of_windows() == 0  # which this machine is not
