"""Time budgets: what a user writes, and the ever smaller plans that are tried until one fits."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from convscope.errors import UserError, one_line
from convscope.planning.context import BudgetFit

# seconds of a study, and of each chapter, that are neither training nor evaluation
OVERHEAD, CHAPTER_OVERHEAD = 16.0, 3.0

# The question that is given up first, where a budget is too short for all to be asked well: what
# is proved anyhow comes before what only a study can tell.
GIVEN_UP = ("ordering", "receptive_field", "nonlinearity", "convolution", "best", "capacity")

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


def least(chapters: int = 1) -> float:
    """Seconds that a study of so many chapters takes, however little it trains."""
    return OVERHEAD + CHAPTER_OVERHEAD * chapters


def check_budget(budget: float) -> None:
    """UserError for a budget in which no study fits, whatever the machine."""
    if budget < least():
        raise UserError(
            f"budget = {duration(budget)}: a study of one chapter takes {duration(least())} "
            "without any training; give it more, a minute at least"
        )


def levels(seeds: int) -> Iterator[BudgetFit]:
    """Ever smaller plans that still ask well.

    Fewer epochs and trials, then fewer seeds, but two, since from one nothing can be told, then
    fewer training images, but a quarter.
    """
    shares = (1.0, 0.9, 0.8, 0.65, 0.5, 0.35, 0.25)
    yield from (BudgetFit(epochs=share) for share in shares)
    for fewer in range(seeds - 1, 1, -1):
        yield from (BudgetFit(epochs=share, seeds=fewer) for share in shares[3:])
    two = min(2, seeds)
    for images in (0.5, 0.25):
        yield from (BudgetFit(epochs=share, images=images, seeds=two) for share in (0.5, 0.25))


def last_levels(seeds: int) -> Iterator[BudgetFit]:
    """What is tried when not even one question can be asked well: it will tell little."""
    two = min(2, seeds)
    yield from (BudgetFit(share, images, two) for images in (0.1, 0.05) for share in (0.25, 0.1))
    for images in (0.1, 0.05, 0.02):
        yield from (BudgetFit(share, images, 1) for share in (0.25, 0.1))


def ever_fewer(chapters: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """The chapters, then without the one that is given up first, and so on, in their order."""
    left = list(chapters)
    yield tuple(left)
    for name in GIVEN_UP:
        if name in left and len(left) > 1:
            left.remove(name)
            yield tuple(left)


def duration(seconds: float) -> str:
    """Seconds in words: "45 s", "12 min", "1 h 30 min"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"
