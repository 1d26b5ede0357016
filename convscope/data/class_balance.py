"""Whether the classes are so unequal that accuracy speaks mostly of the frequent ones."""

from __future__ import annotations

from collections.abc import Iterable

UNEQUAL = 3.0  # times as many images: from here on balanced accuracy stands beside accuracy

FEWEST = 10  # images of a class, on average: with fewer, chance alone makes classes unequal


def ratio_of(counts: Iterable[int]) -> float:
    """The images of the largest class by those of the smallest that has any.

    1 where there are too few images to tell.
    """
    some = [count for count in counts if count]
    return max(some) / min(some) if some and sum(some) >= FEWEST * len(some) else 1.0
