"""What an engine is given and what it answers: jobs, events, a queue."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Job:
    key: str
    function: Callable[..., Any]
    arguments: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Event:
    """kind: "started", "progress" (value: what the job reported), "done" (value: its result), "failed" (value: why, in one line)."""

    key: str
    kind: str
    value: Any = None
    detail: str = ""  # the traceback of a failure


class JobQueue:
    """Jobs that wait, the most urgent first; more can be pushed while an engine works through it."""

    def __init__(self, jobs: Sequence[Job] = ()) -> None:
        self.heap: list[tuple[tuple[float, ...], int, Job]] = []
        self.count = itertools.count()
        for job in jobs:
            self.push(job)

    def push(self, job: Job, urgency: tuple[float, ...] = ()) -> None:
        """The smallest urgency goes first, none before all; jobs of equal urgency in the order in which they came."""
        heapq.heappush(self.heap, (urgency, next(self.count), job))

    def pop(self) -> Job:
        return heapq.heappop(self.heap)[2]

    def __len__(self) -> int:
        return len(self.heap)
