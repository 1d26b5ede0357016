"""Values of more than 8 bits become bytes: which range is stretched to 0 … 255, and what is said.

The rule, for all images of a data set together, so that equal values stay equal:

1. Whole numbers from 0 to 65,535 are read with the bits that the files state, or else with the
   fewest bits, 8 at least, that hold the largest value: 12 bits make 4,095 white.
2. Floating-point values from 0 to 1 make 1 white; those from 0 to 255, with one of 128 or more,
   make 255 white. Other values are stretched from the least to the greatest.
3. Where the middle 99 % of the values take less than a quarter of a range of rule 1 above 9 bits
   or of the last range of rule 2, they are stretched alone, and what lies beyond is cut.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convscope.errors import UserError

WHITE = 65_535  # of 16 bits
MIDDLE = (0.005, 0.995)  # quantiles
LEAST_SHARE = 0.25  # of the range: 64 of 256 levels
SAMPLED = 1 << 22  # values of a data set, for the quantiles
LEAST_SAMPLED = 64  # of an image


@dataclass(frozen=True)
class Extent:
    """The values of one image.

    low: the least value.
    high: the greatest one.
    sample: some of the values, evenly spread over the image.
    whole: whether they are whole numbers.
    bits: how many bits the file says that they have; 0 where it says nothing.
    """

    low: float
    high: float
    sample: NDArray[np.float32]
    whole: bool
    bits: int = 0


@dataclass(frozen=True)
class Scale:
    """The range that becomes 0 … 255.

    low: the value that becomes 0.
    high: the value that becomes 255.
    said: the rule in words, a sentence without the full stop; "" where nothing is to be said.
    """

    low: float = 0
    high: float = WHITE
    said: str = ""

    def to_bytes(self, values: NDArray[Any]) -> NDArray[np.uint8]:
        """Values beyond the range are cut."""
        if self.high <= self.low:
            return np.zeros(values.shape, np.uint8)
        if values.dtype.kind == "f":
            share = (values - self.low) / (self.high - self.low)
            return np.rint(np.clip(share, 0, 1) * 255).astype(np.uint8)
        low, span = int(self.low), int(self.high) - int(self.low)
        above = np.clip(values.astype(np.int64), low, low + span) - low
        return ((above * 255 + span // 2) // span).astype(np.uint8)


UNIT = Scale(0, 1)


def extent_of(values: NDArray[Any], images: int, bits: int = 0) -> Extent:
    """The extent of an image's values. Raises UserError where one is not finite.

    values: of the image.
    images: of the data set: the more there are, the fewer values of each are sampled.
    bits: what the file states; 0 where it states nothing.
    """
    low, high = float(values.min()), float(values.max())
    if not np.isfinite(low) or not np.isfinite(high):
        raise UserError("values that are not finite")
    flat = values.ravel()
    sample = flat[:: max(1, flat.size // max(LEAST_SAMPLED, SAMPLED // images))]
    whole = values.dtype.kind in "iub"
    return Extent(low, high, sample.astype(np.float32), whole, bits)


def scale_of(extents: Sequence[Extent], what: str) -> Scale:
    """The range by the rule above.

    extents: of all images with values of one kind.
    what: the images in words, as "12 grey images".
    """
    if not extents:
        return Scale()
    low, high = min(one.low for one in extents), max(one.high for one in extents)
    held = f"{what} hold values from {_number(low)} to {_number(high)}"
    if all(one.whole for one in extents) and low >= 0 and high <= WHITE:
        stated = max(one.bits for one in extents)
        fitting = max(8, int(high).bit_length())
        bits = stated if fitting <= stated < 16 else fitting
        scale = Scale(0, 2**bits - 1)
        if bits < 16:
            scale = Scale(0, 2**bits - 1, f"{held}: read as {bits} bits, {2**bits - 1:,} is white")
        return scale if bits <= 9 else _narrowed(scale, extents, held)
    if not any(one.whole for one in extents) and low >= 0 and high <= 1:
        return UNIT
    if low >= 0 and 128 <= high <= 255:
        return Scale(0, 255, f"{held}: 255 is white")
    scale = Scale(low, high, f"{held}: stretched to 0 … 255")
    return _narrowed(scale, extents, held)


def _narrowed(scale: Scale, extents: Sequence[Extent], held: str) -> Scale:
    """The range of the middle of the values where they take a small part of it."""
    sample = np.concatenate([one.sample for one in extents])
    low, high = (float(value) for value in np.quantile(sample, MIDDLE))
    if all(one.whole for one in extents):
        low, high = float(int(low)), float(int(high))
    if not 0 < high - low < LEAST_SHARE * (scale.high - scale.low):
        return scale
    middle = f"99 % of them lie from {_number(low)} to {_number(high)}"
    return Scale(low, high, f"{held}; {middle}: these are stretched to 0 … 255, the others cut")


def _number(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) else f"{value:,.4g}"
