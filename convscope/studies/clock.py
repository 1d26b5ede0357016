"""How long a study will still take, from measured costs and from its pace so far."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping

RISE = 1.2  # what is shown as left is never more than so many times what was shown before

SLOWEST = 5.0  # as a multiple of what was measured; a pace beyond is a pause

SETTLED = 0.1  # share of the training from which on the pace so far counts alone

SHORTEST = 1.0  # seconds that are left as long as the study is not done


class Clock:
    """Time left, from the measured costs and corrected by the pace so far.

    A chapter's training costs what was forecast, or what it has asked for if that is more; once it
    has its finding, what it has asked for. Analyses and the report take time, too.
    """

    def __init__(self) -> None:
        self.done = 0.0  # seconds of workers
        self.workers = 1
        self.after = 0.0
        self.started = self.heard = time.monotonic()
        self.forecast: dict[str, float] = {}
        self.known: dict[str, float] = {}
        self.trained: dict[str, float] = {}
        self.waiting: set[str] = set()  # chapters without a finding
        self.chapters: dict[str, str] = {}  # a run's id -> the first chapter that asked for it
        self.lowest = float("inf")  # of what was shown as left
        self.highest = 0.0  # of what was shown as done

    def plan(self, costs: Mapping[str, float], workers: int, after: float = 0.0) -> None:
        self.forecast, self.workers, self.after = dict(costs), workers, after
        self.known, self.trained = dict.fromkeys(costs, 0.0), dict.fromkeys(costs, 0.0)
        self.waiting, self.done = set(costs), 0.0
        self.started = self.heard = time.monotonic()

    def asked(self, chapter: str, cost: float, skipped: float, ids: Iterable[str] = ()) -> None:
        self.forecast[chapter] -= skipped
        self.known[chapter] += cost
        for key in ids:
            self.chapters.setdefault(key, chapter)

    def found(self, chapter: str) -> None:
        self.forecast[chapter] = 0.0
        self.waiting.discard(chapter)
        self.heard = time.monotonic()

    def trains(self, key: str, cost: float) -> None:
        """A run has trained for what was expected to cost so many seconds."""
        self.done += cost
        self.heard = time.monotonic()
        if (chapter := self.chapters.get(key)) in self.trained:
            self.trained[chapter] += cost

    @property
    def total(self) -> float:
        """Seconds of workers that all training costs."""
        return sum(max(self.forecast[chapter], self.known[chapter]) for chapter in self.forecast)

    @property
    def pace(self) -> float:
        """Seconds that a second of the measured costs takes, as far as is known."""
        spent = self.heard - self.started
        if self.done <= 0.0 or spent <= 0.0:
            return 1.0
        seen = min(SLOWEST, max(1 / SLOWEST, spent * self.workers / self.done))
        weight = min(1.0, self.done / max(SETTLED * self.total, 1e-9))
        return seen**weight

    def of_chapter(self, chapter: str) -> float:
        """Seconds until a chapter's training is done, with all workers on it."""
        costs = max(self.forecast.get(chapter, 0.0), self.known.get(chapter, 0.0))
        return max(0.0, costs - self.trained.get(chapter, 0.0)) / self.workers * self.pace

    def expected(self) -> float:
        """Seconds until the report is there, as estimated now."""
        training = max(0.0, self.total - self.done) / self.workers * self.pace
        parts = (len(self.waiting) + 1) / (len(self.forecast) + 1)
        since = time.monotonic() - self.heard
        return max(SHORTEST, training + self.after * parts - since)

    def left(self) -> float:
        """Seconds to show: the estimate, which is not let rise by more than a fifth."""
        shown = min(self.expected(), RISE * self.lowest)
        self.lowest = min(self.lowest, shown)
        return shown

    def share(self) -> float:
        """Of the whole time what has passed, to show: it never falls, and is below 1."""
        spent = time.monotonic() - self.started
        self.highest = max(self.highest, min(0.99, spent / max(spent + self.expected(), 1e-9)))
        return self.highest
