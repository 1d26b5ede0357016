"""What studies ask of an engine, wherever its workers are."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any, ClassVar, Generic, Self, TypeVar

from convscope.engines.jobs import Event, Job, JobQueue

AHEAD = 30.0  # seconds before a worker should be free in which it is given the next job

ROUND = 0.2  # seconds after which an engine looks whether its workers live, where none tells it

W = TypeVar("W")  # what an engine keeps of a worker


class Engine(ABC, Generic[W]):
    """Runs jobs in workers; use it in a with statement.

    workers: one object for each worker; their number is what others look at.
    elsewhere: whether workers may see other disks than this process: then jobs send files back.
    ahead: how many jobs a worker is given before it has ended one.
    """

    workers: list[W]
    elsewhere: ClassVar[bool] = False
    ahead: ClassVar[int] = 1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @abstractmethod
    def close(self) -> None:
        """End all workers."""

    @abstractmethod
    def resize(self, workers: int, threads: int = 1) -> None:
        """Stop workers that are not needed, start those that are missing; call it between runs.

        threads: of each worker, where the engine has to know that.
        """

    @abstractmethod
    def rounds(self, jobs: Sequence[Job] | JobQueue) -> Iterator[Event | None]:
        """As `run`, and None wherever nothing has happened for ROUND seconds."""

    def run(self, jobs: Sequence[Job] | JobQueue) -> Iterator[Event]:
        """Run the jobs in order, each worker one at a time, and yield what happens.

        jobs: a list, or a queue, to which more may be pushed meanwhile.
        Every job ends in exactly one event "done" or "failed".
        """
        return (event for event in self.rounds(jobs) if event is not None)

    def room(self, threads: int) -> int | None:
        """How many workers of so many threads fit; None where that is for the caller to know."""
        return None

    def gather(self, jobs: Sequence[Job]) -> dict[str, Any]:
        """Results by key; RuntimeError with the first failure."""
        results: dict[str, Any] = {}
        for event in self.run(jobs):
            if event.kind == "failed":
                raise RuntimeError(f"{event.key}: {event.value}\n{event.detail}")
            if event.kind == "done":
                results[event.key] = event.value
        return results
