"""Processes of this machine: a pool of workers that import torch once and take one job at a time.

A job is a top-level function called as function(report, *arguments) in a worker; `report(payload)`
sends progress. The pool tells events. A worker that dies fails its own job only, with the signal
named, and is replaced; one whose job reports nothing for too long is ended. Workers end when their
parent does.
"""

from __future__ import annotations

import contextlib
import importlib
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from multiprocessing import connection
from multiprocessing.context import SpawnContext
from multiprocessing.process import current_process
from typing import TYPE_CHECKING, Any

from convscope.engines.affinity import unbound, without_binding
from convscope.engines.engine import AHEAD, ROUND, Engine
from convscope.engines.jobs import Event, Job, JobQueue
from convscope.engines.parents import children_end_too, end_with_parent

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerContext  # which Windows lacks

# A failed kernel spoils its process: all later calls of CUDA in it fail. A worker ends after that.
SPOILT = ("CUDA error", "cuDNN error", "graph capture")

PATIENCE = 5.0  # seconds that a worker has to end when asked, before it is killed


class Worker:
    """A process, which `start` starts, and the jobs that it was given."""

    def __init__(self, context: SpawnContext | ForkServerContext, preload: Sequence[str]) -> None:
        self.pipe, self.theirs = context.Pipe()
        arguments = (self.theirs, preload, without_binding(dict(os.environ)))
        self.process = context.Process(target=work, args=arguments, daemon=True)
        self.jobs: list[Job] = []  # the first is at work, others wait in the pipe
        self.heard = 0.0  # when the first one began, or last reported something
        self.began = 0.0  # when the first one began

    def start(self) -> None:
        if self.process.pid is None:
            with no_main_module(), unbound():
                self.process.start()
            self.theirs.close()

    def give(self, job: Job) -> None:
        self.start()
        self.pipe.send((job.function, job.given))
        if not self.jobs:
            self.heard = self.began = time.monotonic()
        self.jobs.append(job)

    @property
    def soon_free(self) -> bool:
        """Whether one job is at work that should soon end, and none waits behind it."""
        left = self.jobs[0].expected - (time.monotonic() - self.began) if self.jobs else 0.0
        return len(self.jobs) == 1 and left < AHEAD

    @property
    def silent(self) -> bool:
        """Whether the job at work has reported nothing for longer than it may."""
        limit = self.jobs[0].silence if self.jobs else None
        return limit is not None and time.monotonic() - self.heard > limit

    def stop(self) -> None:
        if self.process.pid is not None:
            self.process.terminate()
            self.process.join(PATIENCE)
            if self.process.is_alive():
                self.process.kill()
                self.process.join()
        self.theirs.close()
        self.pipe.close()


class LocalEngine(Engine[Worker]):
    """A pool of processes on this machine; use it in a with statement.

    workers: the number of processes.
    preload: modules that each imports at once, so that its first job need not.
    copied: one process imports these modules, and all workers are copies of it, where the system
        allows that; it serves all engines of this process. Not for a GPU, whose driver's state is
        not to be copied.
    """

    def __init__(self, workers: int, preload: Sequence[str] = (), copied: bool = False) -> None:
        self.context, self.preload = multiprocessing.get_context("spawn"), preload
        if copied and sys.platform == "linux":  # elsewhere the system's libraries forbid copies
            from multiprocessing import forkserver

            self.context = multiprocessing.get_context("forkserver")
            if preload:
                self.context.set_forkserver_preload(list(preload))
            with no_main_module(), unbound():
                forkserver.ensure_running()  # it imports while the caller goes on
        self.workers = [self.fresh() for _ in range(workers)]

    def fresh(self) -> Worker:
        """A worker that imports at once; a copy need not, and starts with its first job."""
        worker = Worker(self.context, self.preload)
        if isinstance(self.context, SpawnContext):
            worker.start()
        return worker

    def close(self) -> None:
        for worker in self.workers:
            worker.stop()
        self.workers = []

    def resize(self, workers: int, threads: int = 1) -> None:
        while len(self.workers) > workers:
            self.workers.pop().stop()
        while len(self.workers) < workers:
            self.workers.append(self.fresh())

    def rounds(self, jobs: Sequence[Job] | JobQueue) -> Iterator[Event | None]:
        waiting = jobs if isinstance(jobs, JobQueue) else JobQueue(jobs)
        while waiting or any(worker.jobs for worker in self.workers):
            for i, worker in enumerate(self.workers):
                if not worker.jobs and waiting:
                    job = waiting.pop()
                    try:
                        worker.give(job)
                    except (BrokenPipeError, ConnectionResetError):
                        worker.stop()  # it died between jobs: a fresh one takes the job
                        worker = self.workers[i] = self.fresh()
                        worker.give(job)
                    yield Event(job.key, "started")
            self.give_ahead(waiting)
            handles = [
                handle
                for worker in self.workers
                if worker.jobs
                for handle in (worker.pipe, worker.process.sentinel)
            ]
            ready = connection.wait(handles, timeout=ROUND)
            for i, worker in enumerate(self.workers):
                if not worker.jobs:  # it may not even have started
                    continue
                quiet = worker.pipe not in ready and worker.process.sentinel not in ready
                key = worker.jobs[0].key
                # the caller may have kept this round waiting: what came since lies in the pipe
                if quiet and worker.silent and not worker.pipe.poll():
                    reason = silence(worker.jobs[0].silence)
                    self.replace(i, waiting)
                    yield Event(key, "failed", reason)
                    continue
                if quiet and worker.process.is_alive():  # a grandchild may keep both open
                    continue
                worker.heard = time.monotonic()
                try:
                    if not worker.pipe.poll():  # the process has ended and left no answer
                        raise EOFError
                    kind, value, detail = worker.pipe.recv()
                except (EOFError, OSError):
                    worker.process.join(PATIENCE)
                    self.replace(i, waiting)
                    yield Event(key, "failed", death(worker.process.exitcode))
                    continue
                if kind != "progress":
                    del worker.jobs[0]
                    worker.began = worker.heard
                if kind == "failed" and is_spoilt(value):
                    self.replace(i, waiting, begun=0)
                yield Event(key, kind, value, detail)
                if kind != "progress" and worker.jobs:
                    yield Event(worker.jobs[0].key, "started")
            if not ready:
                yield None

    def replace(self, i: int, waiting: JobQueue, begun: int = 1) -> None:
        """Put a fresh worker in the place of one that is dead or is to end.

        Its jobs wait again, but for those that were `begun`.
        """
        worker = self.workers[i]
        self.workers[i] = self.fresh()
        worker.stop()
        for job in worker.jobs[begun:]:
            waiting.push(job)
        worker.jobs.clear()

    def give_ahead(self, waiting: JobQueue) -> None:
        """A worker whose job soon ends gets a second, so that it need not wait for the caller.

        Behind a long job it would wait, and the caller for it. The last jobs are not given ahead:
        whoever is free first takes these.
        """
        for worker in self.workers:
            if worker.soon_free and len(waiting) > len(self.workers):
                job = waiting.pop()
                try:
                    worker.give(job)
                except (BrokenPipeError, ConnectionResetError):
                    waiting.push(job)  # the worker has died, which is seen when its pipe is read


@contextlib.contextmanager
def no_main_module() -> Iterator[None]:
    """Hide the program that is running: a spawned worker would import it.

    That is, it would run a user's script again. A daemonic process, as those of a pool are, may
    start processes inside, too: ours end with it.
    """
    main = sys.modules["__main__"]
    kept = {name: vars(main)[name] for name in ("__file__", "__spec__") if name in vars(main)}
    vars(main).pop("__file__", None)
    vars(main)["__spec__"] = None
    settings: dict[str, Any] = getattr(current_process(), "_config", {})
    daemonic = settings.pop("daemon", None)
    try:
        yield
    finally:
        vars(main).update(kept)
        if daemonic is not None:
            settings["daemon"] = daemonic


def death(code: int | None) -> str:
    """Of what a worker died, in one line."""
    if code is not None and code < 0:
        known = {member.value: member.name for member in signal.Signals}
        hint = " (often: out of memory)" if code == -signal.SIGKILL else ""
        return f"the worker died of {known.get(-code, f'signal {-code}')}{hint}"
    return f"the worker ended with exit code {code}"


def silence(seconds: float | None) -> str:
    """Why a job was ended that reported nothing."""
    return f"it reported nothing for {seconds:,.0f} s and was ended"


def is_spoilt(reason: str) -> bool:
    """Whether a job failed in a way that leaves its worker unfit for others."""
    return any(sign in reason for sign in SPOILT)


def work(
    pipe: connection.Connection, preload: Sequence[str], environment: Mapping[str, str]
) -> None:
    """A worker's life: take a job, run it, send its result."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    if dict(os.environ) != environment:  # the copied process may be older than a change of it
        os.environ.clear()
        os.environ.update(environment)
    threading.Thread(target=end_with_parent, daemon=True).start()
    children_end_too()
    own_process = os.getpid()
    sys.stdout = sys.stderr  # what a user's network prints: standard output is for results
    for name in preload:
        with contextlib.suppress(Exception):  # what is wrong with it the first job will say
            importlib.import_module(name)

    def report(payload: Any) -> None:
        end_if_forked(own_process)
        pipe.send(("progress", payload, ""))

    while True:
        try:
            function, arguments = pipe.recv()
        except (EOFError, OSError):
            return
        try:
            answer = ("done", function(report, *arguments), "")
        except Exception as error:
            answer = failure(error)
        end_if_forked(own_process)
        try:
            pipe.send(answer)
            if answer[0] == "failed" and is_spoilt(answer[1]):
                return
        except Exception as error:  # a result that cannot be pickled fails the job, not the worker
            pipe.send(failure(error))


def failure(error: Exception) -> tuple[str, str, str]:
    """What a worker sends of the exception that is handled: kind, value and detail of an event."""
    why = f"{type(error).__name__}: {error}".strip().splitlines()[0]
    return "failed", why, traceback.format_exc()


def end_if_forked(worker: int) -> None:
    """End a child that a job has forked and that came back here: only its worker has the pipe."""
    if os.getpid() != worker:
        os._exit(1)
