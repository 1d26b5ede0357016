"""Time budgets: what a user writes, and the ever smaller plans that are tried until one fits."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

from convscope.errors import UserError, one_line
from convscope.planning.context import BudgetFit

# seconds of a study, and of each chapter, that are neither training nor evaluation
OVERHEAD, CHAPTER_OVERHEAD = 16.0, 3.0

# The questions by what a study's answer is worth, the most first: which network, how good it is.
WORTH = ("capacity", "best", "nonlinearity", "receptive_field", "ordering", "convolution")

# Proved without any training: one of these is no study, where another question is asked too.
PROVED = ("ordering", "convolution")

# The least share of the epochs with which a question is asked well: of three, which most have, two
# are left.
WELL_EPOCHS = 0.67

# The least share of the training images beside which a further question is asked; one alone is
# still asked well on half as many.
WELL_IMAGES = 0.5
LEAST_IMAGES = 0.25

WELL_SEEDS = 3  # where a study has so many: from two the spread between seeds is hardly known

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

    Fewer epochs and trials, but two thirds, then fewer seeds, but three, then fewer training
    images, but a quarter.
    """
    # with 0.85, chapters of three epochs keep them, and longer ones give some up
    shares = (1.0, 0.9, 0.85, 0.8, WELL_EPOCHS)
    yield from (BudgetFit(epochs=share) for share in shares)
    for fewer in range(seeds - 1, WELL_SEEDS - 1, -1):
        yield from (BudgetFit(epochs=share, seeds=fewer) for share in shares)
    for images in (WELL_IMAGES, LEAST_IMAGES):
        yield from (BudgetFit(share, images, fewest_seeds(seeds)) for share in shares)


def fewest_seeds(seeds: int) -> int | None:
    """The fewest with which a study of so many asks well; None: all of them."""
    return WELL_SEEDS if seeds > WELL_SEEDS else None


def least_well(seeds: int, images: float) -> BudgetFit:
    """The smallest plan on this share of the training images that still asks well."""
    return BudgetFit(WELL_EPOCHS, images, fewest_seeds(seeds))


def asks_well(fit: BudgetFit) -> bool:
    """Whether a plan leaves enough epochs and training images for a question to be asked well."""
    return fit.epochs >= WELL_EPOCHS and fit.images >= LEAST_IMAGES


def last_levels(seeds: int) -> Iterator[BudgetFit]:
    """What is tried when not even one question can be asked well: it will tell little."""
    two = min(2, seeds)
    for share in (0.5, 0.25, 0.1):
        yield from (BudgetFit(share, images, two) for images in (0.25, 0.1, 0.05))
    for share in (0.25, 0.1):
        yield from (BudgetFit(share, images, 1) for images in (0.1, 0.05, 0.02))


def by_worth(chapters: Sequence[str]) -> list[str]:
    """The chapters by what their answers are worth, the most first."""
    return [name for name in WORTH if name in chapters]


def asked_well(
    chapters: Sequence[str], fits: Callable[[tuple[str, ...], float], bool]
) -> tuple[str, ...]:
    """The questions that a budget lets a study ask well, in their order; none: not even one.

    The question of most worth comes first, on half of the images or else on a quarter; where it
    does not fit, the next. Then each of less worth that fits beside those before it on as many
    images: a dear one that does not fit leaves its place to a cheap one.

    chapters: all that are wanted.
    fits: whether these questions fit, with the least epochs and this share of the images.
    """
    worth = by_worth(chapters)
    for first in [name for name in worth if name not in PROVED] or worth:
        for images in (WELL_IMAGES, LEAST_IMAGES):
            asked = in_order(chapters, [first])
            if not fits(asked, images):
                continue
            for name in worth[worth.index(first) + 1 :]:
                more = in_order(chapters, [*asked, name])
                asked = more if fits(more, images) else asked
            return asked
    return ()


def in_order(chapters: Sequence[str], wanted: Sequence[str]) -> tuple[str, ...]:
    """Those of the chapters that are wanted, in the chapters' order."""
    return tuple(name for name in chapters if name in wanted)


def duration(seconds: float) -> str:
    """Seconds in words: "45 s", "12 min", "1 h 30 min"."""
    if seconds < 119.5:  # in whole minutes 90 s would be a third more
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"
