"""What was found at the place of a data set: how it was read, formats, sizes, what was skipped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from convscope.data.listing import Skipped
from convscope.data.pixels import Header

NUM_SIZES = 5  # named; the others are counted


@dataclass(frozen=True)
class Preview:
    """What was found where the data are, before pixels became tensors.

    rule: how it was read, a sentence without the full stop.
    formats: format -> images, the most frequent first.
    pixels: kind of pixels -> images.
    sizes: "WIDTH×HEIGHT" -> images, the most frequent five and "other sizes".
    range: the smallest and the largest size, by area.
    resized: what became of the sizes; "" where the images stayed as they are.
    skipped: what was left out, and why.
    """

    rule: str
    formats: dict[str, int]
    pixels: dict[str, int]
    sizes: dict[str, int]
    range: tuple[str, str]
    resized: str
    skipped: tuple[Skipped, ...]

    @classmethod
    def from_json(cls, tree: Mapping[str, Any]) -> Preview:
        """From what `dataclasses.asdict` made, through JSON."""
        skipped = (Skipped(s["why"], s["count"], tuple(s["examples"])) for s in tree["skipped"])
        return cls(**{**tree, "range": tuple(tree["range"]), "skipped": tuple(skipped)})

    @property
    def in_short(self) -> str:
        """How it was read, and the formats where there are several."""
        return f"{self.rule}; {_counts(self.formats)} files" if len(self.formats) > 1 else self.rule

    def __str__(self) -> str:
        low, high = self.range
        sizes = _counts(self.sizes)
        if low != high:
            sizes += f"; from {low} to {high}"
        lines = [
            f"read as: {self.rule}",
            f"formats: {_counts(self.formats)}",
            f"pixels: {_counts(self.pixels)}",
            f"sizes: {sizes}",
        ]
        if self.resized:
            lines.append(self.resized)
        return "\n".join([*lines, *(map(str, self.skipped) if self.skipped else ["skipped: none"])])


def preview_of(
    rule: str, headers: Sequence[Header], resized: str, skipped: tuple[Skipped, ...]
) -> Preview:
    """From the headers of the images.

    rule: how the images were found.
    headers: of all images.
    resized: what became of the sizes.
    skipped: what was left out.
    """
    sizes = Counter((header.width, header.height) for header in headers)
    named = {_size(size): count for size, count in sizes.most_common(NUM_SIZES)}
    if others := len(headers) - sum(named.values()):
        named["other sizes"] = others
    by_area = sorted(sizes, key=lambda size: (size[0] * size[1], size))
    return Preview(
        rule,
        dict(Counter(header.format for header in headers).most_common()),
        dict(Counter(header.kind for header in headers).most_common()),
        named,
        (_size(by_area[0]), _size(by_area[-1])),
        resized,
        skipped,
    )


def _size(size: tuple[int, int]) -> str:
    return f"{size[0]}×{size[1]}"


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {what}" for what, count in counts.items())
