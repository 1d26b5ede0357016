"""What every engine does: workers return, raise, exit, crash and are killed.

Each fails its own job only. The same tests for processes of this machine and for a Ray cluster.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from engine_jobs import (
    aborts,
    breaks,
    broken_kernel,
    count,
    dies_on_its_way,
    exits,
    exits_at_once,
    kills_itself,
    own_pid,
    reads_nowhere,
    reports_unpicklable,
    sleeps,
    square,
    touches,
    unpicklable,
)

from convscope.engines.engine import Engine
from convscope.engines.jobs import Event, Job, JobQueue
from convscope.engines.local import LocalEngine

NAMES = ("fresh", "copied", pytest.param("ray", marks=pytest.mark.slow))


@pytest.fixture(scope="module", params=NAMES)
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    """Workers that start afresh, that are copies of one process, that are on nodes of a cluster."""
    if request.param == "ray":
        yield request.getfixturevalue("ray_engine")
        return
    with LocalEngine(2, copied=request.param == "copied") as made:
        yield made


@pytest.fixture
def alone(engine: Engine) -> Iterator[Engine]:
    """With one worker."""
    engine.resize(1)
    yield engine
    engine.resize(2)


def ends(events: list[Event]) -> dict[str, Event]:
    found = [event for event in events if event.kind in ("done", "failed")]
    assert len({event.key for event in found}) == len(found)
    return {event.key: event for event in found}


def test_results_come_back_by_key(engine: Engine) -> None:
    assert engine.gather([Job(str(i), square, (i,)) for i in range(9)]) == {
        str(i): i * i for i in range(9)
    }
    assert engine.gather([]) == {} and list(engine.run([])) == []


def test_progress_comes_in_order_between_start_and_end(engine: Engine) -> None:
    events = list(engine.run([Job(key, count, (20,)) for key in "abc"]))
    for key in "abc":
        kinds = [(event.kind, event.value) for event in events if event.key == key]
        assert kinds == [
            ("started", None),
            *(("progress", i) for i in range(20)),
            ("done", "counted"),
        ]


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


def test_a_job_that_fails_names_the_reason_and_the_others_finish(engine: Engine) -> None:
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
    if isinstance(engine, LocalEngine):
        started = [one.process for one in engine.workers if one.process.pid is not None]
        assert all(process.is_alive() for process in started)


def test_gather_raises_the_failure(engine: Engine) -> None:
    with pytest.raises(RuntimeError, match="broken: ValueError: no such thing"):
        engine.gather([Job("broken", breaks, ("no such thing",))])


def test_a_silent_job_is_ended_and_one_that_reports_is_not(engine: Engine) -> None:
    jobs = [Job("silent", sleeps, silence=1.0), Job("telling", count, (3,), silence=60.0)]
    found = ends(list(engine.run(jobs)))
    assert found["silent"].value == "it reported nothing for 1 s and was ended"
    assert found["telling"].value == "counted"


def test_arguments_are_made_when_a_worker_is_given_the_job(alone: Engine) -> None:
    done: list[str] = []
    jobs = [Job(str(i), square, lambda: (len(done),)) for i in range(3)]
    values = []
    for event in alone.run(jobs):
        if event.kind == "done":
            done.append(event.key)
            values.append(event.value)
    assert values[0] == 0 and values[-1] > 0


def test_the_most_urgent_of_the_waiting_jobs_goes_first(alone: Engine) -> None:
    queue = JobQueue([Job("first", square, (1,))])
    order = []
    for event in alone.run(queue):
        if event.kind == "started":
            order.append(event.key)
        if event.kind == "started" and event.key == "first":
            queue.push(Job("late", square, (2,)), (2.0,))
            queue.push(Job("soon", square, (3,)), (1.0,))
    assert order == ["first", "soon", "late"]


def test_jobs_start_in_their_order_and_stay_in_their_worker(alone: Engine) -> None:
    keys = [str(i) for i in range(5)]
    events = list(alone.run([Job(key, own_pid) for key in keys]))
    assert [event.key for event in events if event.kind == "started"] == keys
    assert len({event.value for event in events if event.kind == "done"}) == 1
    alone.resize(2)
    assert len(alone.workers) == 2 and len(alone.gather([Job(key, own_pid) for key in keys])) == 5
    alone.resize(1)
    assert alone.gather([Job("x", square, (3,))]) == {"x": 9}


def test_a_worker_goes_on_while_the_caller_thinks(tmp_path: Path, alone: Engine) -> None:
    """Jobs are given ahead, in their order; not the last ones, for whoever is free first."""
    keys = "abcdefg"[: 3 + alone.ahead]
    ahead, left = keys[1 : 1 + alone.ahead], keys[1 + alone.ahead :]
    stream = alone.run([Job(key, touches, (tmp_path / key,)) for key in keys])
    seen = [next(stream), next(stream)]
    assert [(event.key, event.kind) for event in seen] == [("a", "started"), ("a", "done")]
    until = time.monotonic() + 60
    while not all((tmp_path / key).exists() for key in ahead) and time.monotonic() < until:
        time.sleep(0.01)
    assert all((tmp_path / key).exists() for key in ahead)
    assert not any((tmp_path / key).exists() for key in left)
    rest = [(event.key, event.kind) for event in stream]
    assert rest == [(key, kind) for key in keys[1:] for kind in ("started", "done")]


def test_no_job_is_given_ahead_behind_one_that_takes_long(tmp_path: Path, alone: Engine) -> None:
    """It would wait there, and what waits for it, while others become free."""
    long = Job("long", touches, (tmp_path / "long",), expected=1000.0)
    jobs = [long, *(Job(key, touches, (tmp_path / key,)) for key in "abcd")]
    stream = alone.run(jobs)
    assert [next(stream).kind for _ in range(2)] == ["started", "done"]
    time.sleep(0.3)  # a job given ahead would begin at once
    assert not any((tmp_path / key).exists() for key in "abcd")
    assert [event.key for event in stream if event.kind == "done"] == list("abcd")


def test_jobs_given_ahead_to_a_worker_that_dies_are_done_by_another(alone: Engine) -> None:
    jobs = [Job("dies", dies_on_its_way), *(Job(str(i), square, (i,)) for i in range(5))]
    found = ends(list(alone.run(jobs)))
    assert found.pop("dies").kind == "failed"
    assert {key: event.value for key, event in found.items()} == {str(i): i * i for i in range(5)}


def test_a_worker_ends_after_an_error_of_cuda_and_its_waiting_job_goes_to_another(
    alone: Engine,
) -> None:
    """A failed kernel leaves a process in which every later call of CUDA fails."""
    before = [Job("first", own_pid), Job("fault", breaks, ("x",)), Job("second", own_pid)]
    after = [Job(f"after {i}", own_pid) for i in range(4)]
    events = list(alone.run([*before, Job("broken", broken_kernel), *after]))
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
