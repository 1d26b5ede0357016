"""Where a user has no home, where nothing can be written, and systems that lack what Linux has."""

from __future__ import annotations

import errno
import os
import pwd
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from convscope import files
from convscope.data import cache_folder
from convscope.machine import circumstances, limits
from convscope.machine.circumstances import what_is_unusual


@pytest.fixture
def _no_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container that runs under a number: no HOME, and no entry of the user."""
    for name in ("HOME", "XDG_CACHE_HOME", "CONVSCOPE_CACHE"):
        monkeypatch.delenv(name, raising=False)

    def no_entry(number: int) -> Any:
        raise KeyError(f"getpwuid(): uid not found: {number}")

    monkeypatch.setattr(pwd, "getpwuid", no_entry)


@pytest.mark.usefixtures("_no_home")
def test_without_a_home_the_cache_lies_among_temporary_files() -> None:
    assert cache_folder() == Path(tempfile.gettempdir()) / f"convscope-{os.getuid()}"
    said = " ".join(what_is_unusual())
    assert "no home folder is known" in said and "folder for temporary files" in said


def test_a_cache_that_cannot_be_written_is_left_for_another(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("CONVSCOPE_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert cache_folder() == tmp_path / "cache" / "convscope"
    access = os.access
    monkeypatch.setattr(
        os, "access", lambda path, mode: tmp_path not in Path(path).parents and access(path, mode)
    )
    (tmp_path / "cache").mkdir()
    assert cache_folder().parent == Path(tempfile.gettempdir())


def test_a_read_only_working_folder_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(circumstances, "is_writable", lambda folder: folder != tmp_path)
    assert any("is read-only: give --out" in line for line in what_is_unusual())


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP])
def test_a_folder_that_cannot_be_synced_stops_no_write(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, number: int
) -> None:
    sync = os.fsync

    def refuses_folders(descriptor: int) -> None:
        if Path(f"/proc/self/fd/{descriptor}").is_dir():
            raise OSError(number, os.strerror(number))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", refuses_folders)
    files.write_bytes(tmp_path / "a", b"content")
    assert (tmp_path / "a").read_bytes() == b"content"
    monkeypatch.setattr(files, "CANNOT_SYNC", set())
    with pytest.raises(OSError):
        files.sync_folder(tmp_path)


def test_windows_syncs_no_folder_and_tells_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    nowhere = Path("/nowhere/at/all")
    with monkeypatch.context() as patch:
        patch.setattr(os, "name", "nt")
        files.sync_folder(nowhere)  # is not opened
        asked = limits.physical_memory()
    assert asked == 0  # there is no kernel32 here to be asked
    with pytest.raises(FileNotFoundError):
        files.sync_folder(nowhere)


def test_a_system_without_affinity_has_all_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    monkeypatch.delenv("PYTHON_CPU_COUNT", raising=False)
    assert limits.usable_cores() == 6
    monkeypatch.setenv("PYTHON_CPU_COUNT", "4")
    assert limits.usable_cores() == 4


def test_systems_that_do_not_end_orphans_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(circumstances.sys, "platform", "darwin")
    assert any("outlives a parent" in line for line in circumstances.of_processes())


TRAINS = """
import sys, threading
from dataclasses import replace
import convscope as cs

recipe = cs.Recipe(data=sys.argv[1], model=cs.ConvNet(2, 1), epochs=2, batch=16, flip=True)
seeds = [replace(recipe, seed=seed) for seed in (0, 1)]
alone = [cs.train(one, "alone") for one in seeds]
found = {}

def work(one):
    found[one.seed] = cs.train(one, "beside")

threads = [threading.Thread(target=work, args=(one,)) for one in seeds]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
for one in alone:
    losses = [[row["test_loss"] for row in run.rows] for run in (one, found[one.recipe.seed])]
    assert losses[0] == losses[1], losses
"""


@pytest.mark.slow
def test_where_warnings_are_errors_and_in_threads_of_another_library(
    micro: Path, tmp_path: Path
) -> None:
    """Runs side by side in threads are those of one after the other, to the bit."""
    done = subprocess.run(
        [sys.executable, "-c", TRAINS, str(micro)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONWARNINGS": "error", "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and not done.stderr, done.stderr
    assert len(list((tmp_path / "beside").glob("*/result.json"))) == 2
