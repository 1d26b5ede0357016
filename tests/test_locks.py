"""Locks of folders, on file systems with and without them."""

from __future__ import annotations

import errno
import fcntl
import multiprocessing
import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from recording import blink
from refusing import refused

from convscope.training import locks
from convscope.training.main_path import run_lock, train


@pytest.fixture(params=["flock", "ENOSYS", "ENOLCK", "EOPNOTSUPP"])
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The system's locks, or their absence, as file systems report it."""
    if request.param != "flock":
        code = getattr(errno, request.param)

        def none(*_: object) -> None:
            raise OSError(code, os.strerror(code))

        monkeypatch.setattr(fcntl, "flock", none)
        monkeypatch.setattr(locks, "_told", set())
    return request.param


def test_one_process_at_a_time_and_again_afterwards(kind: str, tmp_path: Path) -> None:
    for _ in range(2):
        with (
            locks.held(tmp_path / ".lock"),
            pytest.raises(locks.Busy),
            locks.held(tmp_path / ".lock"),
        ):
            pass
    assert not (tmp_path / ".lock.owner").exists()


def test_a_run_trains_without_locks_and_says_so_once(
    kind: str, micro: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    runs = [train(replace(blink(micro), seed=seed), tmp_path) for seed in range(2)]
    assert [run.status for run in runs] == ["finished"] * 2
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == (kind != "flock") and all("no locks" in line for line in said)


def test_who_holds_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", none)
    path = tmp_path / "0123456789ab"
    path.mkdir()
    owner = path / ".lock.owner"
    owner.write_text("elsewhere 77 5\n")

    def hold() -> None:
        with run_lock(path):
            pass

    why = refused(hold)
    assert "process 77 on elsewhere" in why and "remove it" in why and str(owner) in why
    owner.write_text("")  # its owner died before it could write
    assert "remove it" in refused(hold)


@pytest.mark.parametrize("left", ["dead", "another process of that number"])
def test_what_a_dead_process_of_this_host_left_is_taken_over(left: str, tmp_path: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    pid, start = (gone.pid, "1") if left == "dead" else (os.getpid(), "1")
    (tmp_path / "x").write_text(f"{socket.gethostname()} {pid} {start}\n")
    locks.owned(tmp_path / "x")()
    assert list(tmp_path.iterdir()) == []


def test_where_the_system_tells_no_start_a_process_that_runs_is_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """macOS has no /proc."""
    monkeypatch.setattr(locks, "began", lambda pid: "-" if locks.is_running(pid) else "")
    give_back = locks.owned(tmp_path / "x")
    with pytest.raises(locks.Busy):
        locks.owned(tmp_path / "x")
    give_back()
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    (tmp_path / "x").write_text(f"{socket.gethostname()} {gone.pid} -\n")
    locks.owned(tmp_path / "x")()


def test_the_lock_of_windows_is_held_too(tmp_path: Path) -> None:
    """There filelock locks by msvcrt; here it does so by what it has."""
    give_back = locks.taken_by_filelock(tmp_path / "x")
    for other in (locks.taken_by_filelock, locks.taken):
        with pytest.raises(locks.Busy):
            other(tmp_path / "x")
    give_back()
    locks.taken_by_filelock(tmp_path / "x")()


def linger(ready: object, path: str) -> None:
    with locks.held(Path(path)):
        ready.set()  # pyright: ignore[reportAttributeAccessIssue]
        os.kill(os.getpid(), 9)


def test_the_lock_dies_with_its_owner(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    ready = context.Event()
    child = context.Process(target=linger, args=(ready, str(tmp_path / "x")))
    child.start()
    child.join()
    assert ready.is_set()
    with locks.held(tmp_path / "x"):
        pass


def test_what_is_no_matter_of_locks_is_raised(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), locks.held(tmp_path / "no" / "x"):
        pass
