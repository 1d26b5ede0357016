"""Processes of this machine: how they start and end, and what they inherit."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from engine_jobs import has_imported, leaves_a_child, own_pid, reads, sleeps, square

from convscope.engines.jobs import Job
from convscope.engines.local import LocalEngine


@pytest.fixture(scope="module", params=[False, True], ids=["fresh", "copied"], autouse=True)
def copied(request: pytest.FixtureRequest) -> bool:
    """Workers that start afresh, and workers that are copies of one process."""
    if request.param:  # that process serves the studies of other tests, too
        from convscope.studies.engines import IMPORTED  # not above: workers import this module

        with LocalEngine(0, IMPORTED, copied=True):
            pass
    return request.param


@pytest.fixture(scope="module")
def engine(copied: bool) -> Iterator[LocalEngine]:
    with LocalEngine(2, copied=copied) as engine:
        yield engine


def test_modules_are_imported_before_the_first_job(copied: bool) -> None:
    """Also where one of them does not exist: a job that needs it would say so."""
    with LocalEngine(1, ("no_such_module", "tabnanny"), copied) as engine:
        assert engine.gather([Job("x", has_imported, ("tabnanny",))]) == {"x": True}
        engine.resize(0)
        engine.resize(1)
        assert engine.gather([Job("x", has_imported, ("tabnanny",))]) == {"x": True}
    with LocalEngine(1, copied=copied) as engine:
        assert engine.gather([Job("x", has_imported, ("tabnanny",))]) == {"x": False}


def test_copies_need_not_import_what_one_process_has(copied: bool, tmp_path: Path) -> None:
    (tmp_path / "told.py").write_text("print('imported', flush=True)\n")
    code = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from convscope.engines.local import Job, LocalEngine
import engine_jobs
with LocalEngine(2, ("told",), copied={copied}) as engine:
    seen = set()
    while len(seen) < 2:  # a slow one may import while the other does all of four jobs
        jobs = [Job(key, engine_jobs.own_pid, ()) for key in "abcd"]
        seen |= set(engine.gather(jobs).values())
"""
    paths = os.pathsep.join((str(tmp_path), os.environ.get("PYTHONPATH", "")))
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": paths},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done
    # what a job's process prints goes to standard error: standard output is for results
    assert (done.stdout if copied else done.stderr) == "imported\n" * (1 if copied else 2), done


def test_a_copy_knows_the_environment_of_its_engine(
    copied: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where it has changed since the copied process began."""
    for value in ("one", "two"):
        monkeypatch.setenv("CONVSCOPE_TEST", value)
        with LocalEngine(1, copied=copied) as engine:
            assert engine.gather([Job("x", reads, ("CONVSCOPE_TEST",))]) == {"x": value}


def test_a_worker_that_died_between_two_runs_is_replaced(copied: bool) -> None:
    with LocalEngine(2, copied=copied) as engine:
        pids = set(engine.gather([Job(str(i), own_pid) for i in range(8)]).values())
        for worker in engine.workers:
            worker.process.kill()
            worker.process.join()
        later = set(engine.gather([Job(str(i), own_pid) for i in range(8)]).values())
        assert not later & pids


def test_a_child_of_a_dead_worker_does_not_keep_its_job_alive(tmp_path: Path, copied: bool) -> None:
    ended = tmp_path / "ended"
    with LocalEngine(1, copied=copied) as engine:
        events = list(engine.run([Job("parent", leaves_a_child, (ended,))]))
        assert not ended.exists(), "the death was seen only when the child had ended"
    assert [event.kind for event in events] == [
        "started",
        "progress",
        "failed",
    ] and "SIGKILL" in events[-1].value
    with contextlib.suppress(ProcessLookupError):  # it may have ended with its parent
        os.kill(events[1].value, signal.SIGKILL)


def test_workers_end_with_the_engine(copied: bool) -> None:
    before = set(multiprocessing.active_children())
    with LocalEngine(2, copied=copied) as engine:
        pids = list(engine.gather([Job(str(i), own_pid) for i in range(2)]).values())
        stream = engine.run([Job("long", sleeps), Job("too", sleeps)])
        while next(stream).kind != "progress":
            pass
    assert set(multiprocessing.active_children()) == before
    assert not any(running(pid) for pid in pids)


def running(pid: int) -> bool:
    """Whether the process is there and is no zombie that nobody has waited for."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_workers_end_when_their_parent_is_killed(how: signal.Signals, copied: bool) -> None:
    code = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from convscope.engines.local import Job, LocalEngine
import engine_jobs
with LocalEngine(2, copied={copied}) as engine:
    for event in engine.run([Job("a", engine_jobs.sleeps), Job("b", engine_jobs.sleeps)]):
        if event.kind == "progress":
            print(event.value, flush=True)
"""
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        workers = [int(parent.stdout.readline()) for _ in range(2)]
        assert all(running(pid) for pid in workers)
        parent.send_signal(how)
        parent.wait()
        for _ in range(1000):  # they need a moment to notice
            if not any(running(pid) for pid in workers):
                break
            time.sleep(0.01)
    assert [pid for pid in workers if running(pid)] == []


def test_ctrl_c_is_left_to_the_parent(engine: LocalEngine) -> None:
    """The terminal sends it to the workers too; they go on."""
    for worker in engine.workers:
        worker.start()  # a copy starts with its first job
    ready: set[int] = set()
    while ready != {worker.process.pid for worker in engine.workers}:
        ready |= set(engine.gather([Job(str(i), own_pid) for i in range(8)]).values())
    for pid in ready:
        os.kill(pid, signal.SIGINT)
    jobs = [Job(str(i), square, (i,)) for i in range(4)]
    assert engine.gather(jobs) == {"0": 0, "1": 1, "2": 4, "3": 9}


def test_the_program_that_is_running_is_not_run_again_by_its_workers(
    tmp_path: Path, copied: bool
) -> None:
    """A user's script without the `if __name__` guard, as in a notebook's cell."""
    script = tmp_path / "script.py"
    script.write_text(
        f"import sys\nsys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "print('script runs', flush=True)\n"
        "import engine_jobs\nfrom convscope.engines import Job, LocalEngine\n"
        f"with LocalEngine(2, copied={copied}) as engine:\n"
        "    print(engine.gather([Job('a', engine_jobs.square, (5,))]))\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=60)
    assert done.stdout == "script runs\n{'a': 25}\n", done.stderr
