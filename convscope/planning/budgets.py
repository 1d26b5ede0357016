"""Time budgets: what a user writes, and the ever smaller plans that are tried until one fits."""

from __future__ import annotations

import re
from collections.abc import Iterator

from convscope.errors import UserError, one_line
from convscope.planning.context import BudgetFit

# seconds of a study, and of each chapter, that are neither training nor evaluation
OVERHEAD, CHAPTER_OVERHEAD = 15.0, 8.0

UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}


def parse_budget(budget: str | float, name: str = "budget") -> float:
    """Seconds of "90s", "10m", "1h30m" or a number of seconds. Raises UserError with the name."""
    text = str(budget).strip().lower()
    parts = re.findall(r"(\d+(?:\.\d+)?)([smh])", text)
    if isinstance(budget, int | float) and not isinstance(budget, bool):
        seconds = float(budget)
    elif parts and "".join(a + b for a, b in parts) == text:
        seconds = sum(float(number) * UNITS[unit] for number, unit in parts)
    else:
        raise UserError(f"{name} {one_line(budget)!r}: write a time as 90s, 10m or 1h30m")
    if not 1 <= seconds <= 1e8:
        raise UserError(f"{name} {one_line(budget)!r}: from 1 second to 1,000 days")
    return seconds


def levels(seeds: int) -> Iterator[BudgetFit]:
    """Ever smaller plans: fewer epochs and trials, then fewer seeds, then fewer training images."""
    shares = (1.0, 0.8, 0.65, 0.5, 0.35, 0.25)
    yield from (BudgetFit(epochs=share) for share in shares)
    for fewer in range(seeds - 1, 0, -1):
        yield from (BudgetFit(epochs=share, seeds=fewer) for share in shares[2:])
    for images in (0.5, 0.25, 0.1, 0.05, 0.02):
        yield from (BudgetFit(epochs=share, images=images, seeds=1) for share in (0.5, 0.25, 0.1))


def duration(seconds: float) -> str:
    """Seconds in words: "45 s", "12 min", "1 h 30 min"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"
