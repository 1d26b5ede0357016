"""What an engine is given and what it tells: jobs, events, a queue."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Job:
    """A function to be called in a worker as function(report, *arguments).

    key: names it.
    arguments: a tuple, or what makes it as soon as a worker is free to take the job.
    silence: seconds after which it is ended where it has reported nothing; None: never.
    expected: seconds that it should take, as far as that is known.
    """

    key: str
    function: Callable[..., Any]
    arguments: tuple[Any, ...] | Callable[[], tuple[Any, ...]] = ()
    silence: float | None = None
    expected: float = 0.0

    @property
    def given(self) -> tuple[Any, ...]:
        """The arguments as they are now."""
        return self.arguments() if callable(self.arguments) else self.arguments


@dataclass(frozen=True)
class Event:
    """What has happened to a job.

    key: the job's.
    kind: started, progress, again (its worker was lost, and another one begins anew), done or
        failed.
    value: what the job reported, its result, or in one line why it failed or begins anew.
    detail: the traceback of a failure.
    """

    key: str
    kind: str
    value: Any = None
    detail: str = ""


class JobQueue:
    """Jobs that wait, the most urgent first; more can be pushed while an engine works on it."""

    def __init__(self, jobs: Sequence[Job] = ()) -> None:
        self.heap: list[tuple[tuple[float, ...], int, Job]] = []
        self.count = itertools.count()
        for job in jobs:
            self.push(job)

    def push(self, job: Job, urgency: tuple[float, ...] = ()) -> None:
        """Add a job: the smallest urgency goes first, an empty one before all.

        Jobs of equal urgency go in the order in which they came.
        """
        heapq.heappush(self.heap, (urgency, next(self.count), job))

    def pop(self) -> Job:
        return heapq.heappop(self.heap)[2]

    def __len__(self) -> int:
        return len(self.heap)
