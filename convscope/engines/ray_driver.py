"""The process that talks to Ray, the only one that imports it.

It is one of its own because Ray ends the process that drives it when the cluster's head dies, and
prints to its standard output. It gives actors what it is told to, and tells what they answer.
"""

from __future__ import annotations

import contextlib
import os
import queue
import re
import signal
import socket
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing import connection
from typing import Any

from convscope.engines.parents import end_with_parent
from convscope.engines.slot import Slot
from convscope.errors import one_line

ROUND = 0.05  # seconds after which it looks for orders while it waits for actors

REACH = 2.0  # seconds that a node has to answer a call
PATIENCE = 5.0  # seconds that an idle slot has to end when asked, before it is killed

QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DEDUP_LOGS": "0",
}


# errors of Ray that say that an actor's process or node has gone
GONE = ("ActorDiedError", "ActorUnavailableError", "ActorUnschedulableError", "NodeDiedError")

# of Ray's messages what says nothing of the cause
NOISE = (
    r"The actor \w+ is unavailable: The actor is temporarily unavailable:",
    r"The task may or may not have been executed on the actor\.",
    r"\b(class_name|actor_id|pid|namespace): \S+",
    r"RpcError: RPC error:",
    r"rpc_code: \d+",
)


@dataclass(frozen=True)
class Settings:
    """How to join a cluster.

    address: of its head; None: that of RAY_ADDRESS, or a cluster of this machine alone.
    code: files and folders of Python that are shipped to the workers.
    preload: modules that each worker imports at once.
    environment: variables for the workers.
    """

    address: str | None
    code: tuple[str, ...]
    preload: tuple[str, ...]
    environment: Mapping[str, str]


@dataclass(frozen=True)
class Order:
    """What the driver is told to do.

    kind: start or stop a slot, give it a job, tell the nodes.
    slot: its number.
    attempt: the job's number.
    """

    kind: str
    slot: int = 0
    attempt: int = 0
    resources: tuple[int, int] = (1, 0)  # cores and GPUs
    payload: bytes = b""
    silence: float | None = None
    images: tuple[str, ...] = ()


@dataclass
class Running:
    """An actor and the jobs that it was given, with the streams of what it tells of each."""

    actor: Any
    hello: Any
    node: str = ""
    host: str = ""
    given: deque[tuple[Order, Any]] = field(default_factory=deque)


def drive(pipe: connection.Connection, settings: Settings) -> None:
    """This process's life: join the cluster, then do as it is told until the pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    threading.Thread(target=end_with_parent, daemon=True).start()
    nothing = os.open(os.devnull, os.O_WRONLY)
    for descriptor in (1, 2):
        os.dup2(nothing, descriptor)
    os.environ.update({name: os.environ.get(name, value) for name, value in QUIET.items()})
    try:
        join(settings)
    except Exception as error:
        pipe.send(("refused", 0, 0, f"{type(error).__name__}: {one_line(error)}", ""))
        return
    pipe.send(("nodes", 0, 0, nodes(), ""))
    try:
        Driver(pipe, settings).work()
    finally:
        import ray

        ray.shutdown()


def join(settings: Settings) -> None:
    import logging

    import ray

    joined = settings.address or os.environ.get("RAY_ADDRESS")
    own: dict[str, Any] = {} if joined else {"include_dashboard": False}
    ray.init(
        address=settings.address,
        runtime_env={"py_modules": list(settings.code)},
        log_to_driver=False,
        logging_level=logging.ERROR,
        **own,
    )


def nodes() -> dict[str, tuple[float, float]]:
    """The nodes that are alive: id -> cores and GPUs."""
    import ray

    alive = [node for node in ray.nodes() if node["Alive"]]
    return {
        node["NodeID"]: (node["Resources"].get("CPU", 0.0), node["Resources"].get("GPU", 0.0))
        for node in alive
    }


def living(suspects: set[str]) -> frozenset[str]:
    """The ids of the nodes that live; of suspects those that answer, too.

    The head notices a death only after some of its questions have gone unanswered.
    """
    import ray

    return frozenset(
        node["NodeID"]
        for node in ray.nodes()
        if node["Alive"] and (node["NodeID"] not in suspects or answers(node))
    )


def answers(node: Mapping[str, Any]) -> bool:
    """Whether something listens where a node's manager does."""
    try:
        place = node["NodeManagerAddress"], int(node["NodeManagerPort"])
        socket.create_connection(place, timeout=REACH).close()
    except OSError:
        return False
    return True


class Driver:
    """Does what it is told, and tells what actors answer.

    A message is (kind, slot, attempt, value, detail): ready, lost, unstarted, nodes, or the kind
    of an Event.
    """

    def __init__(self, pipe: connection.Connection, settings: Settings) -> None:
        import ray

        self.ray, self.pipe, self.settings = ray, pipe, settings
        self.orders: queue.SimpleQueue[Order | None] = queue.SimpleQueue()
        self.slots: dict[int, Running] = {}
        self.suspects: set[str] = set()  # nodes on which a slot was lost
        self.sent: dict[str, list[Any]] = {}  # hash of images -> where Ray has their files

    def work(self) -> None:
        threading.Thread(target=self.listen, daemon=True).start()
        while True:
            waiting: list[tuple[int, Any]] = []
            for number, slot in self.slots.items():
                if not slot.node:
                    waiting.append((number, slot.hello))
                elif slot.given:
                    waiting.append((number, slot.given[0][1]))
            try:
                order = self.orders.get(block=not waiting)
            except queue.Empty:
                self.hear(waiting)
                continue
            if order is None:
                return
            getattr(self, order.kind)(order)

    def listen(self) -> None:
        """Take orders while the other thread waits for actors."""
        while True:
            try:
                self.orders.put(self.pipe.recv())
            except (EOFError, OSError):
                self.orders.put(None)
                return

    # --- orders

    def start(self, order: Order) -> None:
        cores, gpus = order.resources
        made = self.ray.remote(Slot).options(
            num_cpus=cores, num_gpus=gpus, max_restarts=0, max_task_retries=0
        )
        threads = {"OMP_NUM_THREADS": str(max(1, cores))}
        actor = made.remote(self.settings.preload, {**self.settings.environment, **threads})
        self.slots[order.slot] = Running(actor, actor.hello.remote())

    def stop(self, order: Order) -> None:
        if (slot := self.slots.pop(order.slot, None)) is None:
            return
        with contextlib.suppress(Exception):
            if slot.node and not slot.given:
                self.ray.get(slot.actor.end.remote(), timeout=PATIENCE)
            self.ray.kill(slot.actor)

    def give(self, order: Order) -> None:
        if (slot := self.slots.get(order.slot)) is None:
            return  # it was lost, which the other side is about to hear
        images = {key: self.sent.get(key, []) for key in order.images}
        method = slot.actor.work.options(num_returns="streaming")
        slot.given.append((order, method.remote(order.payload, order.silence, images)))

    def nodes(self, order: Order) -> None:
        self.tell("nodes", 0, 0, nodes())

    # --- answers

    def hear(self, waiting: Sequence[tuple[int, Any]]) -> None:
        """Wait for a moment until an actor tells something; pass on all that is there."""
        what = [one for _, one in waiting]
        ready, _ = self.ray.wait(what, num_returns=1, timeout=ROUND)
        if not ready:
            return
        ready, _ = self.ray.wait(what, num_returns=len(what), timeout=0)
        told = {id(one) for one in ready}
        for number, one in waiting:
            if id(one) in told:
                try:
                    self.take(number, self.slots[number])
                except Exception as error:  # any error of Ray means that the actor is gone
                    self.lose(number, error)

    def take(self, number: int, slot: Running) -> None:
        if not slot.node:
            slot.node, slot.host = self.ray.get(slot.hello)
            self.tell("ready", number, 0, slot.node)
            return
        order, stream = slot.given[0]
        kind, value, detail = self.ray.get(next(stream))
        if kind == "lacks":
            slot.given.popleft()
            self.send_images(value)
            self.give(order)
            return
        if kind in ("done", "failed"):
            slot.given.popleft()
        self.tell(kind, number, order.attempt, value, detail)

    def send_images(self, key: str) -> None:
        """Put the files of images where Ray takes them from, once to each node that lacks them."""
        from convscope.data import files_of, folder_with

        if key not in self.sent:
            folder = folder_with(key)
            assert folder is not None, f"images {key} have left the cache"
            self.sent[key] = [self.ray.put(files_of(folder))]

    def lose(self, number: int, error: Exception) -> None:
        slot = self.slots.pop(number)
        with contextlib.suppress(Exception):
            self.ray.kill(slot.actor)
        if not slot.node:
            # a node that died while it started is not its fault
            died = type(error).__name__ in GONE and not getattr(error, "actor_init_failed", False)
            self.tell("unstarted", number, 0, (why(error), not died))
            return
        reason = f"its slot on node {slot.host} was lost: {why(error)}"
        self.suspects.add(slot.node)
        self.tell("lost", number, 0, (reason, slot.node, living(self.suspects)))

    def tell(self, kind: str, slot: int, attempt: int, value: Any, detail: str = "") -> None:
        self.pipe.send((kind, slot, attempt, value, detail))


def why(error: Exception) -> str:
    """An error of Ray on one line: its kind, and what it says of the cause."""
    text = " ".join(str(error).split())
    for pattern in NOISE:
        text = re.sub(pattern, "", text)
    return f"{type(error).__name__}: {one_line(text.strip(' .:'), 300)}"
