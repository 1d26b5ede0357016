"""A study's verdicts without the images that are suspected: how many words change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from convscope.data import Dataset
from convscope.errors import UserError, one_line
from convscope.models import trusting
from convscope.studies.folder import StudyFolder
from convscope.studies.rendering import context_of, read_again, whole
from convscope.studies.watcher import Watcher
from convscope.training import (
    LeftOut,
    data_without,
    others_resident,
    without_images,
)


@dataclass(frozen=True)
class Without:
    """A study's verdicts, and what they are without some images.

    reason: why these images are left out.
    images: split -> how many of its images are left out.
    verdicts: chapter -> its verdict with all images, and without these.
    """

    reason: str
    images: dict[str, int]
    verdicts: dict[str, tuple[str, str]]

    @property
    def changed(self) -> list[str]:
        """The chapters whose verdict is another word."""
        return [name for name, (before, after) in self.verdicts.items() if before != after]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        pairs = {name: {"all": a, "without": b} for name, (a, b) in self.verdicts.items()}
        return {"reason": self.reason, "images": self.images, "verdicts": pairs}


def verdicts_without(
    root: Path, left_out: Mapping[str, LeftOut], trust: bool = False
) -> list[Without]:
    """The verdicts of a study from the runs on disk, with all images and without some.

    Nothing is trained or written. Each run keeps the weights of the epoch that was best on all
    validation images, and what followed from weights alone is not computed again.

    root: the study's folder.
    left_out: for each reason the images that are left out.
    trust: import the factories of networks that the study names.

    Raises as `render`, and UserError where nothing would be left of a split.
    """
    folder = StudyFolder.open(root)
    about, plan = whole(folder)
    context = replace(context_of(folder, about, plan), folder=None)

    def verdicts(rows: LeftOut) -> dict[str, str]:
        data = data_without(context.data, rows)
        own = replace(context, data=data, measured=dict(context.measured), given={})
        with without_images(rows), others_resident():
            _, findings = read_again(folder, own, Watcher())
        return {name: finding.verdict for name, finding in findings.items()}

    with trusting(trust):
        before = verdicts({})
        found = []
        for reason, rows in left_out.items():
            check_left(root, context.data, rows, reason)
            after = verdicts(rows)
            counts = {split: len(some) for split, some in rows.items()}
            pairs = {name: (word, after[name]) for name, word in before.items()}
            found.append(Without(reason, counts, pairs))
    return found


def check_left(root: Path, data: Dataset, rows: LeftOut, reason: str) -> None:
    """UserError where no image of a split, or one alone, would be left."""
    for split, some in rows.items():
        count = len(getattr(data, split))
        if some and count - len(some) < 2:
            raise UserError(
                f"study {one_line(root)}: {len(some):,} of {count:,} {split} images are "
                f"{reason}; no verdict is left without them"
            )
