"""What a comparison of runs says to people: sentences and a table."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Any

from convscope.errors import one_line
from convscope.words import count, listed, share

if TYPE_CHECKING:
    from convscope.statistics.run_comparisons import Comparison

SURE = 0.9  # a word that fewer repetitions would come to is told with a warning

SPLITS = {"val": "validation", "test": "test"}

HEADS = {
    "better": "A is better than B.",
    "worse": "A is worse than B.",
    "equivalent": "A and B are equivalent.",
    "cannot tell": "It cannot be told whether A or B is better.",
}


def sentence_on(found: Comparison) -> str:
    """The word and what it rests on, how sure it is, and what would settle it; a line each."""
    a, b = both(found)
    lower = " (lower is better)" if found.measure == "loss" else ""
    lines = [
        HEADS[found.word],
        f"{what(found).capitalize()}{lower}: {a} for A, {b} for B.",
        f"The difference, A minus B, is {gap(found)}; its {interval(found)}.",
        on_margin(found),
        f"These figures come from {seeds_of(found)}, on the same {found.images:,} images.",
        on_one_seed(found),
    ]
    lines += [again(found), to_settle(found), on_settings(found), on_smoothing(found)]
    return "\n".join(line for line in lines if line)


def rows_on(found: Comparison) -> list[tuple[str, str]]:
    """The same as a table: what, and how much."""
    a, b = both(found)
    rows = [
        ("verdict", HEADS[found.word]),
        ("A", f"{what(found)} {a}, {count(found.difference.n[0], 'seed')}"),
        ("B", f"{what(found)} {b}, {count(found.difference.n[1], 'seed')}"),
        ("difference", f"{gap(found)}, {interval(found).replace(' is', '')}"),
        ("margin", size(found, found.margin)),
        ("images", f"{found.images:,} {SPLITS[found.split]} images, the same for A and B"),
        ("replication", replicated(found)),
    ]
    if found.looks > 1:
        rows.append(("looks", f"{found.looks}, which share the error of 5 %"))
    if found.word == "cannot tell":
        rows.append(("to settle it", to_settle(found)))
    names = list(found.differ)
    for i, name in enumerate(names):
        rows.append(("" if i else "differ in", f"{name}: {values(*found.differ[name])}"))
    if not names:
        rows.append(("differ in", "their seeds alone"))
    return [*rows, ("mind", told)] if (told := on_smoothing(found)) else rows


def html_on(found: Comparison) -> str:
    """The table, for a notebook."""
    lines = (
        f"<tr><th>{html.escape(name)}</th><td>{html.escape(text)}</td></tr>"
        for name, text in found.rows()
    )
    return f"<table>{''.join(lines)}</table>"


def what(found: Comparison) -> str:
    return f"{SPLITS[found.split]} {found.measure}"


def both(found: Comparison) -> tuple[str, str]:
    """The two means."""
    if found.measure == "accuracy":
        return share(found.a, 2), share(found.b, 2)
    return f"{found.a:.4f} nats", f"{found.b:.4f} nats"


def size(found: Comparison, value: float, sign: str = "") -> str:
    """As "0.5 points" or "0.02 nats"; with a sign all digits of the figures."""
    if found.measure == "accuracy":
        return f"{100 * value:{sign + '.2f' if sign else 'g'}} points"
    return f"{value:{sign + '.4f' if sign else 'g'}} nats"


def gap(found: Comparison) -> str:
    return size(found, found.difference.mean, "+")


def interval(found: Comparison) -> str:
    low, high = (size(found, value, "+") for value in found.interval)
    return f"{100 * found.level:.3g} % interval is {low.rpartition(' ')[0]} to {high}"


def seeds_of(found: Comparison) -> str:
    a, b = found.difference.n
    return f"{count(a, 'seed')} of {'each' if a == b else f'A and {b:,} of B'}"


def on_margin(found: Comparison) -> str:
    """What the difference is against the margin."""
    margin = size(found, found.margin)
    if found.word == "equivalent":
        return f"It is shown to be smaller than the margin, {margin}: so little does not matter."
    if found.word == "cannot tell":
        return (
            f"It is neither shown to be smaller than the margin, {margin}, "
            "nor shown to be other than 0."
        )
    low, high = found.interval
    if low >= found.margin or high <= -found.margin:
        return f"It is larger than the margin, {margin}."
    return f"It is not 0, but may be smaller than the margin, {margin}."


def on_one_seed(found: Comparison) -> str:
    """What the interval is worth where a configuration was trained once."""
    a, b = found.difference.n
    if min(a, b) > 1:
        return ""
    if a == b:
        return (
            "The interval leaves out how much seeds differ: networks trained once say nothing "
            "about that."
        )
    one, other = ("A", "B") if a < b else ("B", "A")
    return (
        f"{one} was trained once: the interval supposes that its seeds differ as much as those "
        f"of {other}, which nothing shows."
    )


def again(found: Comparison) -> str:
    """How often the same word would come out."""
    if found.replication is None:
        return ""
    often = f"{'about' if found.replication >= SURE else 'only about'} "
    often += share(found.replication, 0)
    if found.replication >= 0.995:
        often = "nearly 100 %"
    return (
        "With other seeds and other images, as many as here, "
        f"the same verdict would come out in {often} of cases."
    )


def replicated(found: Comparison) -> str:
    if found.replication is None:
        return "unknown"
    sure = "" if found.replication >= SURE else ": not sure to come out again"
    return f"{share(found.replication, 0)}{sure}"


def to_settle(found: Comparison) -> str:
    if found.word != "cannot tell":
        return ""
    if min(found.difference.n) < 2:
        return f"Train {found.seeds_needed} or more seeds of each: the fewest that allow a verdict."
    ways = []
    if found.seeds_needed is not None:
        ways.append(f"about {found.seeds_needed:,} seeds of each, in all")
    if found.images_needed is not None:
        ways.append(f"about {found.images_needed:,} images")
    if not ways:
        return "Neither more seeds nor more images alone would probably settle it."
    return f"To settle it takes {' or '.join(ways)}, if the difference is as it looks now."


def on_settings(found: Comparison) -> str:
    """All settings in which the two differ, and that the verdict is about them together."""
    told = [f"{name} ({values(*pair)})" for name, pair in found.differ.items()]
    if not told:
        return "A and B differ in their seeds alone, so that any difference is chance."
    if len(told) == 1:
        return f"A and B differ in {told[0]}."
    return (
        f"A and B differ in {len(told)} settings: {listed(told)}. "
        "The verdict is about all of them together."
    )


def values(a: Any, b: Any) -> str:
    return f"A {plain(a)}, B {plain(b)}"


def plain(value: Any) -> str:
    """A setting's value as people write it."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple | list):
        return listed(map(plain, value)) or "none"
    return f"{value:g}" if isinstance(value, float) else one_line(value, 60)


def on_smoothing(found: Comparison) -> str:
    if found.measure == "accuracy" or "label_smoothing" not in found.differ:
        return ""
    return (
        "Label smoothing raises the loss of a network whose answers are as right: "
        "compare the accuracy, too."
    )
