"""Hold out a share of each class: a validation set, or a test set where the data have none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from convscope.data.content import Content
from convscope.data.groups import hold_out_groups, in_order, no_group_left, told
from convscope.errors import UserError, one_line

TEST_SHARE, TEST_SEED = Fraction(1, 5), 0  # of data without a test set of their own


def hold_out(
    labels: NDArray[np.int64], share: Fraction, seed: int, num_classes: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Row numbers kept and held out, each ascending.

    The counts of the classes are rounded by the largest remainder; each class keeps a row.

    labels: a class from 0 for each row.
    share: of each class, from 0 to 1.
    seed: draws the rows.
    num_classes: number of classes.
    """
    rows = [np.flatnonzero(labels == label) for label in range(num_classes)]
    counts = counts_held([len(r) for r in rows], share)
    if not any(counts):
        return np.arange(len(labels)), np.arange(0)
    import torch  # here: what is known of data before they are read needs none of it

    generator = torch.Generator().manual_seed(seed)
    drawn = [
        r[torch.randperm(len(r), generator=generator).numpy()[:count]]
        for r, count in zip(rows, counts, strict=True)
    ]
    held = np.zeros(len(labels), np.bool_)
    held[np.concatenate(drawn)] = True
    return np.flatnonzero(~held), np.flatnonzero(held)


def counts_held(sizes: Sequence[int], share: Fraction) -> list[int]:
    """How many rows of each class are held out: largest remainder, one of each class stays.

    sizes: rows of each class.
    share: of each class, from 0 to 1.
    """
    quotas = [share * size for size in sizes]
    counts = [int(quota) for quota in quotas]
    by_remainder = sorted(
        range(len(sizes)), key=lambda label: (counts[label] - quotas[label], label)
    )
    for label in by_remainder[: round(share * sum(sizes)) - sum(counts)]:
        counts[label] += 1
    return [max(0, min(count, size - 1)) for count, size in zip(counts, sizes, strict=True)]


def with_test(content: Content, shown: str) -> Content:
    """The content with a test set, held out of its training images where it has none.

    content: with training images.
    shown: what messages call it.

    Raises UserError where there are too few.
    """
    if "test" in content.splits:
        return content
    images, labels = content.splits["train"]
    share = f"{float(TEST_SHARE):.0%}"
    if content.groups is not None:
        return _with_test_groups(content, content.groups, shown)
    check_test(labels, content.classes, shown)
    kept, held = hold_out(labels, TEST_SHARE, TEST_SEED, len(content.classes))
    if not len(held):
        raise UserError(
            f"{shown}: {len(labels)} images are too few to hold out {share} as a test set; "
            "add images or a test set"
        )
    splits = content.splits | {
        "train": (images[kept], labels[kept]),
        "test": (images[held], labels[held]),
    }
    note = (
        f"no test set was given: {share} of each class ({len(held):,} images) "
        "is held out as one, by a fixed seed"
    )
    return replace(content, splits=splits, notes=(*content.notes, note))


def check_test(labels: NDArray[np.int64], classes: Sequence[str], shown: str) -> None:
    """UserError, before torch is there to draw, where too few images stay beside a test set.

    labels: of the training images, of which the test set is held out.
    classes: names of the classes.
    shown: what messages call the data.
    """
    sizes = np.bincount(labels, minlength=len(classes)).tolist()
    counts = counts_held(sizes, TEST_SHARE)
    if any(counts):  # else there is no test set, which is said elsewhere
        check_counts(shown, [n - out for n, out in zip(sizes, counts, strict=True)], classes)


def _with_test_groups(content: Content, groups: NDArray[np.int64], shown: str) -> Content:
    """The content with whole groups of its training images as a test set."""
    images, labels = content.splits["train"]
    kept, held = hold_out_groups(labels, groups, TEST_SHARE, TEST_SEED, len(content.classes))
    if not len(held):
        raise no_group_left(shown, "a test set", len(np.unique(groups)))
    splits = content.splits | {
        "train": (images[kept], labels[kept]),
        "test": (images[held], labels[held]),
    }
    note = f"no test set was given: {told(labels, groups, held, content.classes, 'one')}"
    notes = (*content.notes, f"{note}, by a fixed seed")
    return replace(content, splits=splits, notes=notes, groups=in_order(groups[kept]))


def check_counts(shown: str, counts: Sequence[int], classes: Sequence[str]) -> None:
    """UserError where a class has fewer than two training images."""
    for name, count in zip(classes, counts, strict=True):
        if count < 2:
            number = f"{count} training image{'' if count == 1 else 's'}"
            raise UserError(
                f"{shown}: class {one_line(name)!r} has {number} after holding out test "
                "and validation images; add images, at least 2 must remain"
            )
