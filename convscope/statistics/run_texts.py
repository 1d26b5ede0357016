"""What a comparison of runs says to people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convscope.words import count, share

if TYPE_CHECKING:
    from convscope.statistics.run_comparisons import Comparison


def sentence_on(found: Comparison) -> str:
    """The word, the two means, the difference with its interval, and what would settle it."""
    difference = found.difference
    if found.measure == "accuracy":
        means = f"{share(found.a)} against {share(found.b)}"
        gap = f"{100 * difference.mean:+.2f} points"
        interval = f"{100 * difference.low:+.2f} to {100 * difference.high:+.2f}"
        margin = f"{100 * found.margin:g} points"
    else:
        means = f"{found.a:.4f} against {found.b:.4f} nats"
        gap, margin = f"{difference.mean:+.4f} nats", f"{found.margin:g} nats"
        interval = f"{difference.low:+.4f} to {difference.high:+.4f}"
    split = "validation" if found.split == "val" else found.split
    seeds = " and ".join(count(n, "seed") for n in difference.n)
    lines = [
        f"A is {VERBS[found.word]} B: {split} {found.measure} {means}.",
        f"The difference is {gap} (95 % interval {interval}), from {seeds} on "
        f"{found.images:,} images; up to {margin} do not count.",
    ]
    if found.replication is not None:
        lines.append(
            f"A comparison of this size comes to the same word in {share(found.replication, 0)} "
            "of cases."
        )
    if found.word == "cannot tell":
        lines.append(what_would_settle(found))
    if found.differ:
        told = ", ".join(f"{name} {a!r} and {b!r}" for name, (a, b) in found.differ.items())
        lines.append(f"They differ in {told}.")
    return "\n".join(lines)


VERBS = {
    "better": "better than",
    "worse": "worse than",
    "equivalent": "equivalent to",
    "cannot tell": "not told apart from",
}


def what_would_settle(found: Comparison) -> str:
    if not found.difference.degrees:
        return "One seed of each says nothing about others: train two or more of each."
    ways = []
    if found.seeds_needed is not None:
        ways.append(f"about {found.seeds_needed:,} seeds of each")
    if found.images_needed is not None:
        ways.append(f"about {found.images_needed:,} images")
    if not ways:
        return "Neither more seeds nor more images alone would probably settle it."
    return f"To settle it takes {' or '.join(ways)}, if the difference is as it looks."
