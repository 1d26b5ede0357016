"""A slot of a cluster: an actor of Ray with one process of its own, to which it gives jobs.

The actor itself imports nothing heavy. A job that crashes takes down the process alone, which the
actor replaces, so that the reason is named as on one machine.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from convscope.engines.jobs import Job
from convscope.engines.local import LocalEngine

PREFIX = "convscope-slot-"  # of folders among a node's temporary files

# what an actor tells of a job: kind, pickled value or a text, detail; as an Event has them, or
# kind "lacks" with the hash of images that are not on this node
Told = tuple[str, Any, str]


class Slot:
    """An actor, whose methods Ray calls one at a time.

    preload: modules that its process imports at once.
    environment: variables for that process.
    """

    def __init__(self, preload: Sequence[str], environment: Mapping[str, str]) -> None:
        os.environ.update(environment)
        remove_left_over()
        self.place = tempfile.mkdtemp(prefix=PREFIX)
        self.lock = FileLock(Path(self.place, ".lock"))
        self.lock.acquire()
        os.environ["TMPDIR"] = self.place  # where its process puts run folders
        self.images: set[str] = set()  # hashes of those that are known to be on this node
        self.engine = LocalEngine(1, preload)

    def hello(self) -> tuple[str, str]:
        """Called first: it answers when there is a worker, with its node's id and name."""
        import socket

        import ray

        return ray.get_runtime_context().get_node_id(), socket.gethostname()

    def end(self) -> None:
        """Called last: nothing stays on the node."""
        self.engine.close()
        self.lock.release()
        shutil.rmtree(self.place, ignore_errors=True)

    def work(
        self,
        payload: bytes,
        silence: float | None,
        images: Mapping[str, Sequence[Any]],
    ) -> Iterator[Told]:
        """Run a job, and yield what happens.

        payload: the function and its arguments, pickled.
        silence: as of a Job.
        images: hash of each set of images that the job needs -> where Ray has its files, in a
            list; an empty one where they have not been sent.
        """
        try:
            for key, sent in images.items():
                if not self.has(key, sent):
                    yield "lacks", key, ""
                    return
        except Exception as error:  # a cache that cannot be written
            from convscope.engines.local import failure

            yield failure(error)
            return
        job = Job("", call_pickled, (payload, bool(images)), silence)
        for event in self.engine.run([job]):
            yield event.kind, event.value, event.detail

    def has(self, key: str, sent: Sequence[Any]) -> bool:
        """Whether images are on this node; those that were sent are kept in its cache."""
        if key in self.images:
            return True
        from convscope.data import folder_with, keep_files

        if folder_with(key) is None:
            if not sent:
                return False
            import ray

            keep_files(key, ray.get(sent[0]))
        self.images.add(key)
        return True


def call_pickled(report: Callable[[bytes], None], payload: bytes, by_hash: bool) -> bytes:
    """Call what is pickled, in a slot's process; values stay pickled on their way.

    by_hash: whether recipes name images that are known here by their hash, not by their path.
    """
    if by_hash:
        from convscope.training import find_data_by_hash

        find_data_by_hash()
    function, arguments = pickle.loads(payload)

    def told(value: Any) -> None:
        report(pickle.dumps(value))

    return pickle.dumps(function(told, *arguments))


def remove_left_over() -> None:
    """Remove the folders of slots that were killed: no process holds their locks."""
    for place in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError, Timeout):
            if not (place / ".lock").exists():
                continue  # its owner has only just made it
            with FileLock(place / ".lock", timeout=0):
                shutil.rmtree(place, ignore_errors=True)
