"""Hold out a share of each class: a validation set, or a test set where the data have none."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from convscope.data.content import Content
from convscope.data.groups import hold_out_groups, in_order, no_group_left, told
from convscope.errors import UserError

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
    import torch  # here: what is known of data before they are read needs none of it

    rows = [np.flatnonzero(labels == label) for label in range(num_classes)]
    quotas = [share * len(r) for r in rows]
    counts = [int(quota) for quota in quotas]
    by_remainder = sorted(
        range(num_classes), key=lambda label: (counts[label] - quotas[label], label)
    )
    for label in by_remainder[: round(share * len(labels)) - sum(counts)]:
        counts[label] += 1
    generator = torch.Generator().manual_seed(seed)
    drawn = [
        r[torch.randperm(len(r), generator=generator).numpy()[: min(n, len(r) - 1)]]
        for r, n in zip(rows, counts, strict=True)
    ]
    held = np.zeros(len(labels), np.bool_)
    held[np.concatenate(drawn)] = True
    return np.flatnonzero(~held), np.flatnonzero(held)


def with_test(content: Content) -> Content:
    """The content with a test set, held out of its training images where it has none.

    Raises UserError where there are too few.
    """
    if "test" in content.splits:
        return content
    images, labels = content.splits["train"]
    share = f"{float(TEST_SHARE):.0%}"
    if content.groups is not None:
        return _with_test_groups(content, content.groups)
    kept, held = hold_out(labels, TEST_SHARE, TEST_SEED, len(content.classes))
    if not len(held):
        raise UserError(
            f"{len(labels)} images are too few to hold out {share} as a test set; "
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


def _with_test_groups(content: Content, groups: NDArray[np.int64]) -> Content:
    """The content with whole groups of its training images as a test set."""
    images, labels = content.splits["train"]
    kept, held = hold_out_groups(labels, groups, TEST_SHARE, TEST_SEED, len(content.classes))
    if not len(held):
        raise no_group_left("the data", "a test set", len(np.unique(groups)))
    splits = content.splits | {
        "train": (images[kept], labels[kept]),
        "test": (images[held], labels[held]),
    }
    note = f"no test set was given: {told(labels, groups, held, content.classes, 'one')}"
    notes = (*content.notes, f"{note}, by a fixed seed")
    return replace(content, splits=splits, notes=notes, groups=in_order(groups[kept]))
