"""Workers that are busy, silent or forked, and engines in places where processes are not meant."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from convscope.engines.jobs import Event, Job
from convscope.engines.local import LocalEngine, death

Report = Callable[[Any], None]


# --- jobs, which workers import from here


def square(report: Report, number: int) -> int:
    return number * number


def busy_in_c(report: Report, seconds: float) -> None:
    """A loop of C that holds the interpreter's lock: no thread of Python runs beside it."""
    report(os.getpid())
    ctypes.PyDLL(None).usleep(int(seconds * 1e6))


def sleeps(report: Report, seconds: float) -> None:
    report("began")
    time.sleep(seconds)


def reports_slowly(report: Report, times: int, seconds: float) -> str:
    for i in range(times):
        time.sleep(seconds)
        report(i)
    return "done"


def forks(report: Report, child_does: str) -> str:
    """The child comes back here as its parent does, raises, or goes on."""
    child = os.fork()
    if child == 0:
        if child_does == "raises":
            raise ValueError("in the child")
        if child_does == "reports":
            report("from the child")
        if child_does == "goes on":
            time.sleep(60)
        return "the child's"
    if child_does != "goes on":
        os.waitpid(child, 0)
    report(child)
    return "the parent's"


# --- tests


def running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def gone_soon(pid: int, seconds: float = 10) -> bool:
    until = time.monotonic() + seconds
    while running(pid) and time.monotonic() < until:
        time.sleep(0.02)
    return not running(pid)


def ends(events: list[Event]) -> dict[str, Event]:
    return {event.key: event for event in events if event.kind in ("done", "failed")}


@pytest.mark.parametrize("copied", [False, True], ids=["fresh", "copied"])
def test_a_worker_in_a_loop_of_c_ends_with_its_parent(copied: bool) -> None:
    code = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from convscope.engines.local import Job, LocalEngine
import test_workers
with LocalEngine(1, copied={copied}) as engine:
    for event in engine.run([Job("a", test_workers.busy_in_c, (120,))]):
        if event.kind == "progress":
            print(event.value, flush=True)
"""
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", code], stdout=pipe, text=True) as parent:
        assert parent.stdout is not None
        worker = int(parent.stdout.readline())
        assert running(worker)
        parent.kill()
        parent.wait()
        assert gone_soon(worker)


def test_a_job_that_reports_nothing_is_ended_and_named() -> None:
    jobs = [
        Job("sleeps", sleeps, (60,), silence=1.5),
        Job("busy", busy_in_c, (60,), silence=1.5),
        *(Job(str(i), square, (i,), silence=60) for i in range(3)),
    ]
    with LocalEngine(2) as engine:
        started = time.monotonic()
        found = ends(list(engine.run(jobs)))
    assert time.monotonic() - started < 30
    for key in ("sleeps", "busy"):
        assert (found[key].kind, found[key].value) == (
            "failed",
            "it reported nothing for 2 s and was ended",
        )
    assert [found[str(i)].value for i in range(3)] == [0, 1, 4]


@pytest.mark.slow
def test_a_job_that_reports_in_time_may_take_long() -> None:
    with LocalEngine(1) as engine:
        jobs = [Job("slow", reports_slowly, (8, 0.4), silence=2.0)]
        assert ends(list(engine.run(jobs)))["slow"].value == "done"


@pytest.mark.parametrize("child_does", ["comes back", "raises", "reports", "goes on"])
def test_a_job_that_forks_is_alone_with_it(child_does: str) -> None:
    with LocalEngine(1) as engine:
        jobs = [Job("forks", forks, (child_does,)), Job("next", square, (5,))]
        events = list(engine.run(jobs))
        told = [(event.key, event.kind) for event in events]
        assert told == [
            ("forks", "started"),
            ("forks", "progress"),
            ("forks", "done"),
            ("next", "started"),
            ("next", "done"),
        ]
        assert (events[2].value, events[4].value) == ("the parent's", 25)
        child = events[1].value
    assert gone_soon(child), "what a worker forked ends with it"


def test_a_child_that_is_slow_to_start_ends_though_its_parent_is_gone_by_then() -> None:
    code = """
import os, time
from convscope.engines.parents import children_end_too
os.register_at_fork(after_in_child=lambda: time.sleep(1))  # runs before the child can ask
children_end_too()
child = os.fork()
if child == 0:
    time.sleep(60)
print(child, flush=True)
os._exit(0)
"""
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, timeout=30)
    assert gone_soon(int(done.stdout))


def in_a_pool(number: int) -> dict[str, int]:
    with LocalEngine(1) as engine:
        found = engine.gather([Job("a", square, (number,))])
    assert multiprocessing.current_process().daemon  # as it was
    return found


def test_an_engine_inside_a_daemonic_worker_of_a_pool() -> None:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.map(in_a_pool, [6]) == [{"a": 36}]


def test_how_a_worker_died_is_named_on_systems_without_signals_of_that_number() -> None:
    assert death(-signal.SIGKILL).endswith("SIGKILL (often: out of memory)")
    assert death(-99).endswith("signal 99") and death(3).endswith("exit code 3")
    assert death(None)
