"""What upsampling does to intervals of input positions, tap by tap as torch computes it.

Position j of the output lies at a place s of the input. Nearest takes floor(s); bilinear the two
positions around s, bicubic the four. The places are fractions of one denominator, by which the
bounds are tight.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

from torch import Tensor

from convscope.probes.atoms import State, spread

StateOf = Callable[[Any], State | None]
Upsampling = Callable[[StateOf, Any, Tensor, int], State]

FINEST = 10_000  # denominator of a scale: a float such as 1.7 is meant as 17/10


def ratios(args: Any, out: Tensor, scales: int) -> list[Fraction]:
    """Outputs per input on each axis: the scale that was given, else the quotient of the sides.

    scales: the place among the arguments where scales begin.
    """
    given = args[0].shape[2:]
    sides = [Fraction(m, n) for m, n in zip(out.shape[2:], given, strict=True)]
    asked = args[scales : scales + len(sides)]
    return [
        Fraction(asked[i]).limit_denominator(FINEST) if i < len(asked) and asked[i] else side
        for i, side in enumerate(sides)
    ]


def nearest(exact: bool) -> Upsampling:
    """floor(j / r), or exactly nearest floor((j + 1/2) / r); a pixel shuffle is alike."""

    def rule(state_of: StateOf, args: Any, out: Tensor, _: int) -> State:
        state = state_of(args[0])
        assert state is not None
        dims = list(state)
        for d, r in enumerate(ratios(args, out, 2), 2):
            offset = 1 / (2 * r) if exact else Fraction(0)
            reach = 1 - Fraction(1, (2 if exact else 1) * r.numerator)  # floor takes off so much
            dims[d] = spread(state[d], r, reach, offset - reach, out.shape[d])
        return tuple(dims)

    return rule


def interpolated(taps: int, filtered: bool = False) -> Upsampling:
    """`taps` positions around (j + 1/2) / r - 1/2; with align_corners around j (n - 1) / (m - 1).

    filtered: with antialias, where an image that shrinks takes as many more.
    """

    def rule(state_of: StateOf, args: Any, out: Tensor, _: int) -> State:
        state, given = state_of(args[0]), args[0].shape
        assert state is not None
        dims, aligned = list(state), bool(args[2])
        for d, r in enumerate(ratios(args, out, 3), 2):
            n, m = given[d], out.shape[d]
            if aligned:
                r = Fraction(m - 1, n - 1) if min(n, m) > 1 else Fraction(m, 1)
            offset = Fraction(0) if aligned else 1 / (2 * r) - Fraction(1, 2)
            grid = math.lcm((1 / r).denominator, offset.denominator)  # places are multiples of 1/it
            half = Fraction(taps, 2) - Fraction(1, grid)
            if filtered:
                half = Fraction(taps, 2) * max(1 / r, Fraction(1)) + (1 if aligned else 0)
            dims[d] = spread(state[d], r, 2 * half, offset - half, m, math.ceil(half))
        return tuple(dims)

    return rule
