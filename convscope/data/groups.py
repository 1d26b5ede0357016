"""Groups of images that belong together (patient, video, camera) and never cross splits.

A group is held out whole. Which groups are held out is a search: from a random order, a group is
taken as long as that brings the counts of the classes nearer to their share, then groups are added,
given back and exchanged until nothing comes nearer. The distance is the sum over classes of
(held out - share · images)² / images; a class without a held-out image counts as one wholly wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from convscope.data.listing import Listing, quoted
from convscope.errors import UserError, one_line

PARENT, PREFIX = "parent", "prefix"

KEPT = 2  # images of each class that stay, at least

EXCHANGES = 30_000  # pairs that are tried, at most

ROUNDS = 10  # of adding and giving back, at most

Ints = NDArray[np.int64]


def number_of(stem: str) -> tuple[str, str]:
    """A file name without its ending as what comes before its last number, and that number."""
    before = stem.rstrip("0123456789")
    number = stem[len(before) :]
    return (before.rstrip("-_. ~#()[]") if number else stem), number


def groups_by_place(listing: Listing, by: str) -> tuple[str, ...]:
    """The group of each file from its place: "parent", its folder, or "prefix".

    Below a class folder, `parent` is the path from there to the file, so that a group may have
    images of several classes. `prefix` adds the file's name up to its last number.
    """
    found = []
    root = listing.root.as_posix().rstrip("/") + "/"
    for file in listing.files:
        name = listing.classes[file.label]
        below = _below_class(file.path.as_posix().removeprefix(root), name)
        folder, _, last = below.rpartition("/")
        if by == PREFIX:
            found.append(f"{folder}/{number_of(PurePosixPath(last).stem)[0]}")
        else:
            found.append(folder or name)
    return tuple(found)


def _below_class(path: str, name: str) -> str:
    """A relative path without the folder of its class and of its split, where it has these."""
    for start in (path, path.partition("/")[2]):
        if start.startswith(f"{name}/"):
            return start[len(name) + 1 :]
    return path


def check_groups(listing: Listing, groups: Sequence[str], shown: str) -> None:
    """UserError where a group has images in two of the data's own splits."""
    splits: dict[str, str] = {}
    for file, group in zip(listing.files, groups, strict=True):
        if splits.setdefault(group, file.split) != file.split:
            raise UserError(
                f"{shown}: group {one_line(group, 60)!r} is in {splits[group]} and {file.split}; "
                "keep each group in one split, or leave the splits out so that they are drawn"
            )


def numbered(groups: Sequence[str]) -> Ints:
    """Groups as numbers, in the order in which they come first."""
    numbers = {name: number for number, name in enumerate(dict.fromkeys(groups))}
    return np.array([numbers[name] for name in groups], np.int64)


def in_order(groups: Ints) -> Ints:
    """Group numbers renumbered from 0, in the order in which they come first."""
    _, first, inverse = np.unique(groups, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse].astype(np.int64)


def hold_out_groups(
    labels: Ints, groups: Ints, share: Fraction, seed: int, num_classes: int
) -> tuple[Ints, Ints]:
    """Row numbers kept and held out, each ascending; no group is in both.

    At least one group is held out and KEPT images of each class stay; where no group leaves that
    many, none is held out.

    labels: a class from 0 for each row.
    groups: a group for each row.
    share: of each class, as nearly as the groups allow.
    seed: draws the order in which groups are tried.
    num_classes: number of classes.
    """
    _, groups = np.unique(groups, return_inverse=True)
    cells, counts = np.unique(groups.astype(np.int64) * num_classes + labels, return_counts=True)
    members: list[list[tuple[int, int]]] = [[] for _ in range(int(groups.max(initial=-1)) + 1)]
    for cell, count in zip(cells.tolist(), counts.tolist(), strict=True):
        members[cell // num_classes].append((cell % num_classes, count))
    totals = np.bincount(labels, minlength=num_classes).tolist()
    search = _Search(members, totals, float(share))
    if not any(map(search.leaves_enough, range(len(members)))):
        return np.arange(len(labels)), np.arange(0)
    import torch  # here: bad images are refused without it

    generator = torch.Generator().manual_seed(seed)
    search.run(torch.randperm(len(members), generator=generator).tolist())
    held = np.isin(groups, np.array(sorted(search.held), np.int64))
    return np.flatnonzero(~held), np.flatnonzero(held)


class _Search:
    """The groups that are held out, and how far the classes' counts are from their share."""

    def __init__(
        self, members: list[list[tuple[int, int]]], totals: list[int], share: float
    ) -> None:
        self.members, self.totals, self.share = members, totals, share
        self.counts = [0] * len(totals)
        self.held: set[int] = set()

    def run(self, order: list[int]) -> None:
        """Take groups in this order, then change them until no change helps."""
        able = [group for group in order if self.leaves_enough(group)]
        if not able or not self.share:
            return
        for _ in range(ROUNDS):
            if not sum(self.moved_if_nearer(group) for group in able):
                break
        if not self.held:
            self.move(min(able, key=self.change))
        self.exchange(able)

    def exchange(self, able: list[int]) -> None:
        """Give one group back and take another, where both together help."""
        tries = 0
        for inside in [group for group in able if group in self.held]:
            before = self.change(inside)
            self.move(inside)
            for outside in able:
                tries += 1
                if tries > EXCHANGES:
                    self.move(inside)
                    return
                if outside in self.held or outside == inside:
                    continue
                if before + self.change(outside) < -1e-9 and self.leaves_enough(outside):
                    self.move(outside)
                    break
            else:
                self.move(inside)

    def moved_if_nearer(self, group: int) -> bool:
        """Move a group where that helps; whether it did. The last one stays held out."""
        nearer = self.change(group) < -1e-9
        if group in self.held:
            nearer = nearer and len(self.held) > 1
        else:
            nearer = nearer and self.leaves_enough(group)
        if nearer:
            self.move(group)
        return nearer

    def leaves_enough(self, group: int) -> bool:
        return all(
            self.totals[label] - self.counts[label] - count >= KEPT
            for label, count in self.members[group]
        )

    def change(self, group: int) -> float:
        """By how much the distance grows when the group moves, in or out."""
        sign = -1 if group in self.held else 1
        return sum(
            self.distance(label, self.counts[label] + sign * count)
            - self.distance(label, self.counts[label])
            for label, count in self.members[group]
        )

    def distance(self, label: int, held: int) -> float:
        total = self.totals[label]
        return (self.share * total - held) ** 2 / total + (0 if held else total)

    def move(self, group: int) -> None:
        sign = -1 if group in self.held else 1
        for label, count in self.members[group]:
            self.counts[label] += sign * count
        self.held ^= {group}


def no_group_left(shown: str, what: str, groups: int) -> UserError:
    """What is said where no group can be held out."""
    return UserError(
        f"{shown}: no group can be held out as {what} ({groups:,} groups): each class needs "
        f"{KEPT} images in the others; add groups, or give them by --group-by COLUMN, or for "
        "folders by --group-by parent with CLASS/GROUP/image.png"
    )


def told(labels: Ints, groups: Ints, held: Ints, classes: Sequence[str], what: str) -> str:
    """A note on the groups that were held out: how many, how many images, classes that lack."""
    out = len(np.unique(groups[held]))
    lacking = [classes[i] for i in range(len(classes)) if i not in set(labels[held].tolist())]
    note = (
        f"{out:,} of {len(np.unique(groups)):,} groups ({len(held):,} images, "
        f"{len(held) / len(labels):.1%}) are held out whole as {what}"
    )
    return f"{note}; without an image of {quoted(lacking)}" if lacking else note
