"""Labels of a table that are none: a value for each image, or several labels in one cell."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from convscope.data.listing import quoted
from convscope.errors import UserError, one_line

MOST_SHARE = 0.5  # of different labels among the training images

SEPARATORS = "|;,"


def refuse_one_each(labels: Sequence[str], column: str, shown: str) -> None:
    """UserError where most images have a label that no other one has.

    labels: of the training images.
    column: where they come from.
    shown: the table, printable.
    """
    different = dict.fromkeys(labels)
    if len(different) < 3 or len(different) <= MOST_SHARE * len(labels):
        return
    numbers = all(re.fullmatch(r"-?[\d.]+(e-?\d+)?", label.lower()) for label in different)
    raise UserError(
        f"{shown}: column {one_line(column, 60)!r} holds {len(different):,} different labels for "
        f"{len(labels):,} training images ({quoted(different)}); a class needs several images, "
        f"{'so cut such numbers into classes, or ' if numbers else ''}say --columns label=COLUMN "
        "for another column"
    )


def several_labels(classes: Collection[str]) -> str:
    """What is to be said of classes that look like several labels of an image; "" of others."""
    for mark in SEPARATORS:
        cut = {name: [part.strip() for part in name.split(mark)] for name in classes}
        joined = [name for name, parts in cut.items() if len(parts) > 1 and all(parts)]
        others = {part for name in classes if name not in joined for part in cut[name]}
        others |= {part for name in joined[1:] for part in cut[name]}
        if joined and (len(joined) > 1 or others) and set(cut[joined[0]]) & others:
            return (
                f"labels such as {quoted(joined[:1])} look like several labels of one image: each "
                "combination is a class of its own"
            )
    return ""
