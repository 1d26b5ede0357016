"""What a search is asked for, and whether that can be; nothing heavy is imported for it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from convscope.deployment.device_sizes import check_bits
from convscope.errors import UserError, did_you_mean, one_line

SAMPLERS = ("tpe", "random", "grid")

MOST_TRIALS = 100_000


@dataclass(frozen=True)
class Search:
    """How the chapter `best` searches.

    sampler: tpe, random or grid.
    trials, minutes: its budget; where both are None, the trials of the preset.
    ram, flash: bytes of feature maps and of weights that a device has room for. Then this search
        and the capacity sweep propose only networks that fit. None: as many as are needed.
    macs: the most multiply-adds of one image, likewise.
    bits: of weights and of values in feature maps on the device.
    """

    sampler: str = "tpe"
    trials: int | None = None
    minutes: float | None = None
    ram: int | None = None
    flash: int | None = None
    macs: int | None = None
    bits: int = 8


def check_search(search: Search) -> None:
    """UserError where sampler, trials or minutes cannot be searched with."""
    if search.sampler not in SAMPLERS:
        raise UserError(
            f"sampler {one_line(search.sampler)!r}{did_you_mean(search.sampler, SAMPLERS)}"
        )
    check_bits(search.bits)
    for name in ("ram", "flash", "macs"):
        most = getattr(search, name)
        if most is not None and (isinstance(most, bool) or not isinstance(most, int) or most < 1):
            raise UserError(f"{name} = {one_line(most)}: a whole number from 1")
    trials, minutes = search.trials, search.minutes
    if trials is not None and (
        isinstance(trials, bool) or not isinstance(trials, int) or not 1 <= trials <= MOST_TRIALS
    ):
        raise UserError(f"trials = {one_line(trials)}: a whole number from 1 to {MOST_TRIALS:,}")
    if minutes is not None:
        number = isinstance(minutes, int | float) and not isinstance(minutes, bool)
        if not number or not 0 < minutes < math.inf:
            raise UserError(f"minutes = {one_line(minutes)}: a number above 0")
