"""Error against parameters as a small drawing: what is too small, enough, larger than needed.

An SVG of the page's own: it is there before any script runs, and takes the page's colours.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from convscope.recipe import short_label_of
from convscope.report.findings import Recommended, Sized

WIDTH, HEIGHT = 440, 250
LEFT, RIGHT, TOP, BOTTOM = 66, 10, 30, 46
TICKS = 5


@dataclass(frozen=True)
class Mark:
    """A network in the drawing: its place, its whisker's ends, and what is said of it."""

    x: float
    y: float
    low: float
    high: float
    name: str
    text: str
    zone: str
    taken: bool


@dataclass(frozen=True)
class Tick:
    at: float
    text: str


@dataclass(frozen=True)
class Zone:
    """A part of the axis, with the word that stands above it."""

    x: float
    width: float
    word: str
    key: str


@dataclass(frozen=True)
class ErrorChart:
    """What the template draws. alt: in words; twice: whether the network to take is on the sweep,
    trained in another way or with other seeds."""

    marks: list[Mark]
    sizes: list[Tick]
    errors: list[Tick]
    zones: list[Zone]
    alt: str
    twice: bool = False
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    top: int = TOP
    right: int = WIDTH - RIGHT
    bottom: int = HEIGHT - BOTTOM


def error_chart(sized: Sequence[Sized], taken: Recommended | None) -> ErrorChart | None:
    """sized: the networks of the sweep; taken: the network to take, on it or beside it.

    None where there are fewer than two networks to show.
    """
    shown = [*sized]
    if taken is not None and not any(is_taken(one, taken) for one in sized):
        low, high = 1 - taken.high, 1 - taken.low
        shown.append(Sized(taken.model, taken.parameters, 0, 1 - taken.accuracy, low, high))
    shown.sort(key=lambda one: (one.parameters, one.error))
    if len(shown) < 2:
        return None
    least, most = shown[0].parameters, shown[-1].parameters
    span = max(math.log(most / least), 1e-9)
    lowest = 0.1 * math.floor(10 * min(one.low for one in shown))
    highest = 0.1 * math.ceil(10 * max(one.high for one in shown))

    def across(parameters: float) -> float:
        inner = WIDTH - LEFT - RIGHT - 40
        return round(LEFT + 20 + inner * math.log(parameters / least) / span, 1)

    def down(error: float) -> float:
        return round(TOP + (HEIGHT - TOP - BOTTOM) * (highest - error) / (highest - lowest), 1)

    marks = [
        Mark(
            across(one.parameters),
            down(one.error),
            down(one.low),
            down(one.high),
            short_label_of(one.model),
            f"{short_label_of(one.model)}: error {100 * one.error:.1f} % ({100 * one.low:.1f} to "
            f"{100 * one.high:.1f}), {one.parameters:,} parameters"
            + (f", {one.zone}" if one.zone else ""),
            one.zone.replace(" ", "-"),
            taken is not None and is_taken(one, taken),
        )
        for one in shown
    ]
    sizes = [Tick(across(n), compact(n)) for n in spread([one.parameters for one in shown])]
    steps = max(1, round((highest - lowest) / 0.1 / TICKS)) * 0.1
    count = int(round((highest - lowest) / steps, 6)) + 1
    errors = [
        Tick(down(lowest + i * steps), f"{100 * (lowest + i * steps):.0f} %") for i in range(count)
    ]
    twice = taken is not None and sum(one.model == taken.model for one in shown) > 1
    return ErrorChart(marks, sizes, errors, zones_of(shown, across), alt_of(shown, taken), twice)


def is_taken(one: Sized, taken: Recommended) -> bool:
    """Whether it is the network to take, trained as that one is: its figures are the same."""
    return one.model == taken.model and abs(1 - taken.accuracy - one.error) < 1e-9


def spread(values: Sequence[int]) -> list[int]:
    """At most five of these sizes that do not stand too near each other."""
    span = math.log(max(values) / min(values)) or 1.0
    out: list[int] = []
    for value in sorted(set(values)):
        if not out or math.log(value / out[-1]) > span / TICKS:
            out.append(value)
    return out


def compact(number: int) -> str:
    """As "950", "12k", "1.2M"."""
    for size, letter in ((1_000_000, "M"), (1_000, "k")):
        if number >= size:
            value = number / size
            return f"{value:.0f}{letter}" if value >= 10 else f"{value:.1f}{letter}"
    return str(number)


def zones_of(shown: Sequence[Sized], across: Callable[[float], float]) -> list[Zone]:
    """The parts of the axis that the verdicts name, from the networks that lie in them."""
    known = [one for one in shown if one.zone]
    out = []
    for word in ("too small", "enough", "larger than needed"):
        inside = [across(one.parameters) for one in known if one.zone == word]
        if inside:
            others = [across(one.parameters) for one in known if one.zone != word]
            start = middle(max((x for x in others if x < min(inside)), default=None), min(inside))
            end = middle(min((x for x in others if x > max(inside)), default=None), max(inside))
            start = LEFT if start is None else start
            end = WIDTH - RIGHT if end is None and word != "too small" else end
            end = max(inside) + 10 if end is None else end
            out.append(Zone(start, round(end - start, 1), word, word.replace(" ", "-")))
    return out


def middle(a: float | None, b: float) -> float | None:
    return None if a is None else round((a + b) / 2, 1)


def alt_of(shown: Sequence[Sized], taken: Recommended | None) -> str:
    best = min(shown, key=lambda one: one.error)
    told = (
        f"Test error against learnable parameters of {len(shown)} networks. "
        f"The lowest error is {100 * best.error:.1f} %, of {short_label_of(best.model)} "
        f"with {best.parameters:,} parameters."
    )
    if taken is None:
        return told
    return (
        f"{told} The network to take, {short_label_of(taken.model)}, has "
        f"{100 * (1 - taken.accuracy):.1f} % with {taken.parameters:,}."
    )
