"""Workers that return, raise, exit, crash and are killed: each fails its own job only."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from convscope.engines.jobs import Event, Job
from convscope.engines.local import LocalEngine

Report = Callable[[Any], None]

# --- jobs: run in workers, which import this module


def square(report: Report, number: int) -> int:
    report("began")
    return number * number


def count(report: Report, upto: int) -> str:
    for i in range(upto):
        report(i)
    return "counted"


def has_imported(report: Report, module: str) -> bool:
    return module in sys.modules


def reads(report: Report, variable: str) -> str | None:
    return os.environ.get(variable)


def breaks(report: Report, text: str) -> None:
    raise ValueError(text)


def exits(report: Report, code: int | str) -> None:
    sys.exit(code)


def exits_at_once(report: Report, code: int) -> None:
    os._exit(code)


def aborts(report: Report) -> None:
    os.abort()


def reads_nowhere(report: Report) -> None:
    ctypes.string_at(0)


def kills_itself(report: Report) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def dies_on_its_way(report: Report) -> None:
    report("half")
    os.kill(os.getpid(), signal.SIGKILL)


def unpicklable(report: Report) -> object:
    return lambda: None


def reports_unpicklable(report: Report) -> None:
    report(lambda: None)


def leaves_a_child(report: Report, ended: Path) -> None:
    """The child holds the pipe open after the worker's death, and says when it ends."""
    child = os.fork()
    if child == 0:
        time.sleep(10)
        ended.touch()
        os._exit(0)
    report(child)
    os.kill(os.getpid(), signal.SIGKILL)


def own_pid(report: Report) -> int:
    return os.getpid()


def touches(report: Report, path: Path) -> None:
    path.touch()


def sleeps(report: Report) -> None:
    report(os.getpid())
    time.sleep(600)


# --- tests


@pytest.fixture(scope="module", params=[False, True], ids=["fresh", "copied"], autouse=True)
def copied(request: pytest.FixtureRequest) -> bool:
    """Workers that start afresh, and workers that are copies of one process."""
    if request.param:  # that process serves the studies of other tests, too
        from convscope.studies.main_path import IMPORTED  # not above: workers import this module

        with LocalEngine(0, IMPORTED, copied=True):
            pass
    return request.param


@pytest.fixture(scope="module")
def engine(copied: bool) -> Iterator[LocalEngine]:
    with LocalEngine(2, copied=copied) as engine:
        yield engine


def ends(events: list[Event]) -> dict[str, Event]:
    found = [event for event in events if event.kind in ("done", "failed")]
    assert len({event.key for event in found}) == len(found)
    return {event.key: event for event in found}


def test_results_come_back_by_key(engine: LocalEngine) -> None:
    assert engine.gather([Job(str(i), square, (i,)) for i in range(9)]) == {
        str(i): i * i for i in range(9)
    }
    assert engine.gather([]) == {} and list(engine.run([])) == []


def test_progress_comes_in_order_between_start_and_end(engine: LocalEngine) -> None:
    events = list(engine.run([Job(key, count, (20,)) for key in "abc"]))
    for key in "abc":
        kinds = [(event.kind, event.value) for event in events if event.key == key]
        assert kinds == [
            ("started", None),
            *(("progress", i) for i in range(20)),
            ("done", "counted"),
        ]


def test_jobs_start_in_their_order_and_stay_in_their_worker(copied: bool) -> None:
    with LocalEngine(1, copied=copied) as engine:
        keys = [str(i) for i in range(5)]
        events = list(engine.run([Job(key, own_pid) for key in keys]))
        assert [event.key for event in events if event.kind == "started"] == keys
        assert len({event.value for event in events if event.kind == "done"}) == 1
        engine.resize(3)
        assert (
            len(engine.workers) == 3
            and len(engine.gather([Job(key, own_pid) for key in keys])) == 5
        )
        engine.resize(1)
        assert len(multiprocessing.active_children()) >= 1 and engine.gather(
            [Job("x", square, (3,))]
        ) == {"x": 9}


def test_a_worker_goes_on_while_the_caller_thinks(tmp_path: Path, copied: bool) -> None:
    """One job is given ahead, in their order; not the last, which is for whoever is free first."""
    with LocalEngine(1, copied=copied) as engine:
        stream = engine.run([Job(key, touches, (tmp_path / key,)) for key in "abcd"])
        seen = [next(stream), next(stream)]
        assert [(event.key, event.kind) for event in seen] == [("a", "started"), ("a", "done")]
        until = time.monotonic() + 60
        while not (tmp_path / "b").exists() and time.monotonic() < until:
            time.sleep(0.01)
        assert (tmp_path / "b").exists() and not (tmp_path / "c").exists()
        rest = [(event.key, event.kind) for event in stream]
        assert rest == [(key, kind) for key in "bcd" for kind in ("started", "done")]


def test_jobs_given_ahead_to_a_worker_that_dies_are_done_by_another(copied: bool) -> None:
    with LocalEngine(1, copied=copied) as engine:
        found = ends(
            list(
                engine.run(
                    [Job("dies", dies_on_its_way), *(Job(str(i), square, (i,)) for i in range(4))]
                )
            )
        )
    assert found.pop("dies").kind == "failed" and {
        key: event.value for key, event in found.items()
    } == {str(i): i * i for i in range(4)}


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
import test_engine
with LocalEngine(2, ("told",), copied={copied}) as engine:
    engine.gather([Job(key, test_engine.square, (3,)) for key in "abcd"])
    assert len({{worker.process.pid for worker in engine.workers}}) == 2
"""
    paths = os.pathsep.join((str(tmp_path), os.environ.get("PYTHONPATH", "")))
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": paths},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and done.stdout == "imported\n" * (1 if copied else 2), done


def test_a_copy_knows_the_environment_of_its_engine(
    copied: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where it has changed since the copied process began."""
    for value in ("one", "two"):
        monkeypatch.setenv("CONVSCOPE_TEST", value)
        with LocalEngine(1, copied=copied) as engine:
            assert engine.gather([Job("x", reads, ("CONVSCOPE_TEST",))]) == {"x": value}


FAULTS: dict[str, tuple[Callable[..., Any], tuple[Any, ...], str]] = {
    "exception": (breaks, ("no such thing",), "ValueError: no such thing"),
    "two lines": (breaks, ("first\nsecond",), "ValueError: first"),
    "no message": (breaks, ("",), "ValueError"),
    "sys.exit": (exits, (3,), "exit code 3"),
    "os._exit": (exits_at_once, (7,), "exit code 7"),
    "exit code 0": (exits_at_once, (0,), "exit code 0"),
    "abort": (aborts, (), "SIGABRT"),
    "segmentation fault": (reads_nowhere, (), "SIGSEGV"),
    "SIGKILL": (kills_itself, (), "SIGKILL"),
    "SIGKILL on the way": (dies_on_its_way, (), "SIGKILL"),
    "unpicklable result": (unpicklable, (), "pickle"),
    "unpicklable progress": (reports_unpicklable, (), "pickle"),
}


def test_a_job_that_fails_names_the_reason_and_the_others_finish(engine: LocalEngine) -> None:
    jobs = []
    for i, (name, (function, arguments, _)) in enumerate(FAULTS.items()):
        jobs += [Job(name, function, arguments), Job(f"good {i}", square, (i,))]
    found = ends(list(engine.run(jobs)))
    assert len(found) == len(jobs)
    wrong = {}
    for i, (name, (_, _, reason)) in enumerate(FAULTS.items()):
        assert (found[f"good {i}"].kind, found[f"good {i}"].value) == ("done", i * i), name
        event = found[name]
        if (
            event.kind != "failed"
            or reason not in event.value
            or len(event.value.splitlines()) != 1
        ):
            wrong[name] = event
    assert wrong == {}
    assert "breaks" in found["exception"].detail and "Traceback" in found["exception"].detail
    assert len(engine.workers) == 2
    assert all(w.process.is_alive() for w in engine.workers if w.process.pid is not None)


def test_gather_raises_the_failure(engine: LocalEngine) -> None:
    with pytest.raises(RuntimeError, match="broken: ValueError: no such thing"):
        engine.gather([Job("broken", breaks, ("no such thing",))])


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
import test_engine
with LocalEngine(2, copied={copied}) as engine:
    for event in engine.run([Job("a", test_engine.sleeps), Job("b", test_engine.sleeps)]):
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
        os.kill(worker.process.pid, signal.SIGINT)
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
        "import test_engine\nfrom convscope.engines import Job, LocalEngine\n"
        f"with LocalEngine(2, copied={copied}) as engine:\n"
        "    print(engine.gather([Job('a', test_engine.square, (5,))]))\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=60)
    assert done.stdout == "script runs\n{'a': 25}\n", done.stderr


# --- errors that spoil a process


def broken_kernel(report: Report) -> None:
    raise RuntimeError("CUDA error: device-side assert triggered\nCUDA kernel errors might be …")


def test_a_worker_ends_after_an_error_of_cuda_and_its_waiting_job_goes_to_another(
    copied: bool,
) -> None:
    """A failed kernel leaves a process in which every later call of CUDA fails."""
    before = [Job("first", own_pid), Job("fault", breaks, ("x",)), Job("second", own_pid)]
    after = [Job(f"after {i}", own_pid) for i in range(4)]
    with LocalEngine(1, copied=copied) as engine:
        events = list(engine.run([*before, Job("broken", broken_kernel), *after]))
    ended = {event.key: event for event in events if event.kind in ("done", "failed")}
    assert len(ended) == 8 and [event.key for event in events if event.kind == "started"] == list(
        ended
    )
    failed = {key: event.value for key, event in ended.items() if event.kind == "failed"}
    assert failed == {
        "fault": "ValueError: x",
        "broken": "RuntimeError: CUDA error: device-side assert triggered",
    }
    assert ended["first"].value == ended["second"].value  # Python's errors spoil nothing
    later = {ended[job.key].value for job in after}
    assert len(later) == 1 and ended["first"].value not in later
