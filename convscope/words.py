"""Numbers as plain English, and the texts that are made with them.

A text is a macro in a Jinja file beside the code that computes its numbers; line breaks and
indentation in the file are there for its editor only. What several files say alike they import, by
a path from the package's folder. Numbers come in through filters:

    {% macro sentence(name, best, seeds) %}
    On {{ name }} the best network is {{ best.label }} ({{ best.parameters | count("parameter") }},
    test accuracy {{ best.test_accuracy | percent }}; {{ seeds | count("seed") }}).
    {% endmacro %}
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from convscope.errors import one_line

if TYPE_CHECKING:
    import jinja2


class Interval(Protocol):
    """A mean with its 95 % interval, as an estimate or a difference has them."""

    @property
    def mean(self) -> float: ...
    @property
    def low(self) -> float: ...
    @property
    def high(self) -> float: ...


def count(number: int, noun: str, plural: str = "") -> str:
    """As "1 seed", "2 seeds", "1,558,026 parameters"; `plural` where it is not noun + s."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def listed(items: Iterable[object], joint: str = "and") -> str:
    """As "a", "a and b", "a, b and c"."""
    words = [str(item) for item in items]
    return f" {joint} ".join([*([", ".join(words[:-1])] if words[1:] else []), *words[-1:]])


def percent(estimate: Interval) -> str:
    """As "68.8 % ± 1.7": the mean and half of the 95 % interval."""
    return f"{100 * estimate.mean:.1f} % ± {100 * (estimate.high - estimate.mean):.1f}"


def share(fraction: float, digits: int = 1) -> str:
    """As "68.8 %"."""
    return f"{100 * fraction:.{digits}f} %"


def points(difference: Interval) -> str:
    """As "27.3 points (26.1 to 28.5)": percentage points and their 95 % interval."""
    return _points(difference.mean, difference.low, difference.high)


def size_in_points(difference: Interval) -> str:
    """As `points`, of the difference without its sign: turned round where it is negative."""
    if difference.mean >= 0:
        return points(difference)
    return _points(-difference.mean, -difference.high, -difference.low)


def _points(*interval: float) -> str:
    mean, low, high = (round(100 * value, 1) + 0.0 for value in interval)  # + 0.0: no "-0.0"
    return f"{mean:.1f} points ({low:.1f} to {high:.1f})"


def buys_or_costs(difference: Interval) -> str:
    """As "buys 27.3 points (26.1 to 28.5)"; "costs …" where the difference is negative."""
    return f"{'buys' if difference.mean >= 0 else 'costs'} {size_in_points(difference)}"


def one_seed_caveat(degrees: int) -> str:
    """What a text on a difference must add where every configuration has one seed; else nothing.

    degrees: the degrees of freedom of the seeds' variance, 0 where it is unknown.
    """
    missing = "the intervals leave out how much runs differ by chance"
    return "" if degrees else f" (one seed per network: {missing})"


def thousands(number: float) -> str:
    """As "1,558,026"."""
    return f"{number:,}"


def optimiser(name: str) -> str:
    """A recipe's name of its optimiser, as it is written in a text."""
    return {"sgd": "SGD", "adam": "Adam", "adamw": "AdamW", "muon": "Muon"}.get(name, name)


def short(number: float) -> str:
    """As "0.002", "1e-05": as few digits as the number needs, six at most."""
    return f"{number:g}"


FILTERS: dict[str, Callable[..., Any]] = {
    "buys_or_costs": buys_or_costs,
    "count": count,
    "exp": math.exp,
    "listed": listed,
    "one_line": one_line,
    "one_seed_caveat": one_seed_caveat,
    "optimiser": optimiser,
    "percent": percent,
    "points": points,
    "share": share,
    "short": short,
    "size_in_points": size_in_points,
    "thousands": thousands,
}


class Texts:
    """The macros of a Jinja file as methods that return one line of plain text each.

    A macro that is not there, and a value that a macro names and was not given, are errors.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def __getattr__(self, name: str) -> Callable[..., str]:
        macro = getattr(module_of(self._path), name)
        return lambda *values, **named: " ".join(str(macro(*values, **named)).split())


def texts_beside(file: str, name: str = "texts.jinja") -> Texts:
    """The texts in the folder of a module: `texts_beside(__file__)`."""
    return Texts(Path(file).parent / name)


@functools.cache
def module_of(path: Path) -> Any:
    """A file's macros, compiled once."""
    return environment().from_string(path.read_text(encoding="utf-8")).module


@functools.cache
def environment() -> jinja2.Environment:
    """Plain text: nothing is escaped here; the page escapes what it shows."""
    import jinja2

    made = jinja2.Environment(
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=jinja2.FileSystemLoader(Path(__file__).parent),  # for what files share
    )
    made.filters.update(FILTERS)
    return made
