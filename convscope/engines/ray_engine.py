"""Workers on the nodes of a Ray cluster: long-lived actors, one for each slot, fed ahead.

This process keeps the jobs, and alone writes what comes back. Ray calls each job once; what a lost
node had at work is given to another one here.
"""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
import logging
import math
import multiprocessing
import os
import pickle
import socket
import time
from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from convscope.engines.affinity import unbound
from convscope.engines.engine import AHEAD, ROUND, Engine
from convscope.engines.jobs import Event, Job, JobQueue
from convscope.engines.local import death, no_main_module
from convscope.errors import UserError, one_line
from convscope.recipe import Recipe
from convscope.words import count

PATIENCE = 10.0  # seconds that the driver has to end
WAITING = 30.0  # seconds without a slot after which that is said
REACH = 5.0  # seconds that the head has to answer a call
STARTING = 120.0  # seconds that it has to join a cluster

OWN_LOSSES = 2  # so many times a job may take down its slot while the node lives
MOST_LOSSES = 10  # so many times it may be lost at all: nodes that die say nothing of it
UNSTARTED = 5  # slots in a row that cannot start end the engine
LOST_WITH_NODE = 0.1  # of such a failure counts where the slot's node has died

SHIPPED = ("CONVSCOPE_KERNELS", "CONVSCOPE_CUDA_GRAPHS")  # of this process's environment

MISSING = "engine ray: not installed; pip install 'convscope[ray]'"


Message = tuple[str, int, int, Any, str]  # of the driver: kind, slot, attempt, value, detail


class ClusterLost(UserError):
    """The cluster has ended, and with it its jobs."""


@dataclass
class Given:
    """A job that a slot has; begun: when it began, None before."""

    job: Job
    attempt: int
    begun: float | None = None


@dataclass
class Seat:
    """A slot as this process sees it: whether it has a worker, and the jobs that it was given."""

    number: int
    ready: bool = False
    jobs: list[Given] = field(default_factory=list)

    @property
    def soon_free(self) -> bool:
        """Whether the jobs that it has should soon end."""
        now = time.monotonic()
        begun = (one.begun for one in self.jobs if one.begun is not None)
        expected = sum(one.job.expected for one in self.jobs)
        return expected - (now - min(begun, default=now)) < AHEAD


@dataclass
class Losses:
    """How often a job's slot was lost, and on which nodes."""

    nodes: list[str] = field(default_factory=list)

    def ends(self, alive: frozenset[str]) -> bool:
        """Whether it is enough; a slot that was lost with its node says nothing of the job."""
        own = sum(node in alive for node in self.nodes)
        return own >= OWN_LOSSES or len(self.nodes) >= MOST_LOSSES


class RayEngine(Engine[Seat]):
    """Slots of a Ray cluster; use it in a with statement.

    workers: the number of slots; 0: none until `resize`.
    preload: modules that each worker imports at once.
    address: of the cluster's head, or "auto"; None: that of RAY_ADDRESS, else this machine alone.
    threads: cores of each slot.
    gpus: GPUs of each slot.
    code: files and folders of Python that are shipped, besides this package.

    Raises UserError where Ray is not installed or the cluster cannot be reached, and ClusterLost
    when it has ended.
    """

    elsewhere: ClassVar[bool] = True
    ahead: ClassVar[int] = 2

    def __init__(
        self,
        workers: int,
        preload: Sequence[str] = (),
        *,
        address: str | None = None,
        threads: int = 1,
        gpus: int = 0,
        code: Sequence[str | Path] = (),
    ) -> None:
        from convscope.engines.ray_driver import Settings, drive

        check_ray(address)
        check_reach(address)
        package = Path(__file__).parents[1]
        settings = Settings(
            address,
            (str(package), *(str(Path(path).absolute()) for path in code)),
            tuple(preload),
            {name: os.environ[name] for name in SHIPPED if name in os.environ},
        )
        self.threads, self.gpus = threads, gpus
        self.workers = []
        self.numbers, self.attempts = itertools.count(1), itertools.count(1)
        self.losses: defaultdict[str, Losses] = defaultdict(Losses)
        self.early: deque[Message] = deque()  # came while the nodes were asked for
        self.unstarted = 0.0
        self.waits_since: float | None = None  # when there was first no slot
        self.nodes: dict[str, tuple[float, float]] = {}
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=drive, args=(theirs, settings), daemon=True)
        with no_main_module(), unbound():
            self.process.start()
        theirs.close()
        try:
            self._look_at_nodes(f"address {one_line(address or 'of this machine')}: ")
            self.resize(workers, threads)
        except BaseException:
            self.close()
            raise

    def _look_at_nodes(self, where: str = "") -> None:
        """Wait for a message of the nodes. Raises UserError where the cluster is out of reach."""
        until = time.monotonic() + STARTING
        while time.monotonic() < until:
            if (message := self._message(STARTING)) is None:
                break
            kind, _, _, value, _ = message
            if kind == "nodes":
                self.nodes = value
                return
            if kind == "refused":
                raise UserError(f"{where}no Ray cluster can be joined there ({value})")
            self.early.append(message)
        raise UserError(f"{where}no answer of a Ray cluster in {STARTING:.0f} s")

    def _message(self, seconds: float) -> Message | None:
        """What the driver tells; None where it tells nothing. Raises ClusterLost at its end."""
        try:
            return self.pipe.recv() if self.pipe.poll(seconds) else None
        except (EOFError, OSError):
            self.process.join(PATIENCE)
            raise lost_cluster(self.process.exitcode) from None

    def _order(self, kind: str, slot: int = 0, **rest: Any) -> None:
        from convscope.engines.ray_driver import Order

        try:
            self.pipe.send(Order(kind, slot, **rest))
        except OSError:
            self.process.join(PATIENCE)
            raise lost_cluster(self.process.exitcode) from None

    def close(self) -> None:
        with contextlib.suppress(ClusterLost):
            self.resize(0)
        self.pipe.close()
        self.process.join(PATIENCE)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()

    def room(self, threads: int) -> int:
        """How many slots of so many cores the cluster's nodes have, or how many GPUs."""
        self._order("nodes")
        self._look_at_nodes()
        if self.gpus:
            return max(1, sum(int(gpus) // self.gpus for _, gpus in self.nodes.values()))
        return max(1, sum(int(cores) // threads for cores, _ in self.nodes.values()))

    def resize(self, workers: int, threads: int = 1) -> None:
        if threads != self.threads:
            self._stop(len(self.workers))
            self.threads = threads
        self._stop(len(self.workers) - workers)
        if len(self.workers) < workers:
            self._check_room()
        while len(self.workers) < workers:
            self.workers.append(self._started())

    def _check_room(self) -> None:
        """UserError where no node can take a slot, which would be waited for in vain."""
        if not any(
            cores >= self.threads and gpus >= self.gpus for cores, gpus in self.nodes.values()
        ):
            what = count(self.gpus, "GPU") if self.gpus else count(self.threads, "core")
            raise UserError(f"engine ray: no node of the cluster has {what} for a slot")

    def _stop(self, slots: int) -> None:
        """Stop so many slots."""
        for _ in range(slots):
            self._order("stop", self.workers.pop().number)

    def _started(self) -> Seat:
        """A slot that is asked for; Ray starts it as soon as a node has room."""
        seat = Seat(next(self.numbers))
        self._order("start", seat.number, resources=(self.threads, self.gpus))
        return seat

    def rounds(self, jobs: Sequence[Job] | JobQueue) -> Iterator[Event | None]:
        waiting = jobs if isinstance(jobs, JobQueue) else JobQueue(jobs)
        while waiting or any(seat.jobs for seat in self.workers):
            self._feed(waiting)
            message = self.early.popleft() if self.early else self._message(ROUND)
            if message is None:
                if not self.process.is_alive():
                    raise lost_cluster(self.process.exitcode)
                self._tell_of_waiting()
                yield None
                continue
            yield from self._take(message, waiting)

    def _tell_of_waiting(self) -> None:
        """Say once that nothing can begin, where that takes long."""
        if any(seat.ready for seat in self.workers):
            self.waits_since = None
        elif self.waits_since is None:
            self.waits_since = time.monotonic()
        elif time.monotonic() - self.waits_since > WAITING:
            self.waits_since = math.inf
            logging.getLogger("convscope").warning(
                "engine ray: no slot has started for %.0f s; others may hold the cluster's cores, "
                "or its nodes are gone: it waits for one",
                WAITING,
            )

    def _feed(self, waiting: JobQueue) -> None:
        """Each slot has a job at work, and some ahead, so that none idles while the caller thinks.

        Not behind a long one, where they would wait; not the last ones: whoever is free first
        takes these.
        """
        ready = [seat for seat in self.workers if seat.ready]
        for seat in ready:
            if not seat.jobs and waiting:
                self._give(seat, waiting.pop())
        for level in range(1, self.ahead + 1):
            for seat in ready:
                many = len(waiting) > self.ahead * len(ready)
                if many and len(seat.jobs) == level and seat.soon_free:
                    self._give(seat, waiting.pop())

    def _give(self, seat: Seat, job: Job) -> None:
        given = Given(job, next(self.attempts))
        seat.jobs.append(given)
        arguments = job.given
        self._order(
            "give",
            seat.number,
            attempt=given.attempt,
            payload=pickle.dumps((job.function, arguments)),
            silence=job.silence,
            images=tuple(images_of(arguments)),
        )

    def _take(self, message: Message, waiting: JobQueue) -> Iterator[Event]:
        """What a message of the driver means for a job."""
        kind, number, attempt, value, detail = message
        seat = next((seat for seat in self.workers if seat.number == number), None)
        if seat is None:  # it was stopped meanwhile
            return
        if kind == "ready":
            seat.ready, self.unstarted = True, 0.0
        elif kind == "unstarted":
            reason, own = value
            self.unstarted += 1.0 if own else LOST_WITH_NODE
            if self.unstarted >= UNSTARTED:
                raise UserError(f"engine ray: no worker can start: {reason}")
            self._replace(seat)
        elif kind == "lost":
            reason, node, alive = value
            yield from self._lose(seat, reason, node, alive, waiting)
        else:
            given = next((one for one in seat.jobs if one.attempt == attempt), None)
            if given is None:
                return
            given.begun = given.begun or time.monotonic()
            if kind in ("done", "failed"):
                seat.jobs.remove(given)
                self.losses.pop(given.job.key, None)
            if kind in ("done", "progress"):
                value = pickle.loads(value)
            yield Event(given.job.key, kind, value, detail)

    def _replace(self, seat: Seat) -> None:
        self.workers[self.workers.index(seat)] = self._started()

    def _lose(
        self, seat: Seat, reason: str, node: str, alive: frozenset[str], waiting: JobQueue
    ) -> Iterator[Event]:
        """Another slot takes the place of one that was lost, and others its jobs."""
        self._replace(seat)
        for given in seat.jobs:
            job = given.job
            if given.begun is None:
                waiting.push(job)
                continue
            losses = self.losses[job.key]
            losses.nodes.append(node)
            if losses.ends(alive):
                del self.losses[job.key]
                yield Event(job.key, "failed", f"{reason}, for the {ordinal(losses)} time")
            else:
                waiting.push(job)
                yield Event(job.key, "again", reason)


def ordinal(losses: Losses) -> str:
    times = len(losses.nodes)
    return {1: "first", 2: "second", 3: "third"}.get(times, f"{times}th")


def images_of(arguments: Sequence[Any]) -> Iterator[str]:
    """The hashes of the images that a job's recipes name."""
    for one in arguments:
        if isinstance(one, Recipe) and one.data_hash:
            yield one.data_hash


def lost_cluster(code: int | None) -> ClusterLost:
    why = death(code).removeprefix("the worker ")
    return ClusterLost(
        f"engine ray: the cluster has ended (the process that drives it {why}); "
        "finished runs are on disk, and the same command goes on, with either engine"
    )


def check_reach(address: str | None) -> None:
    """UserError where nothing listens at an address; Ray itself would try for a minute."""
    host, colon, port = (address or "").rpartition(":")
    if not colon or not port.isdecimal():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=REACH).close()
    except (OSError, OverflowError) as error:
        why = getattr(error, "strerror", None) or one_line(error)
        raise UserError(
            f"address {one_line(address)}: no Ray cluster can be joined there ({why}); "
            "ray start --head on a node begins one and prints its address"
        ) from None


def check_ray(address: str | None = None) -> None:
    """UserError where Ray is not installed, and for an address that is none of a node."""
    if importlib.util.find_spec("ray") is None:
        raise UserError(MISSING)
    if address is not None and address.startswith("ray://"):
        raise UserError(
            f"address {one_line(address)!r}: is that of a Ray client; start the command on a node "
            "of the cluster, and give auto or HOST:PORT of its head"
        )
