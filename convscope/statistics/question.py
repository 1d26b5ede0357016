"""What two configurations can be compared by."""

from __future__ import annotations

from typing import Literal

from convscope.errors import UserError, did_you_mean, one_line

Measure = Literal["accuracy", "loss"]
Split = Literal["test", "val"]

MARGINS: dict[Measure, float] = {"accuracy": 0.005, "loss": 0.02}

# what must be the same for two runs to have been evaluated on the same images
IMAGES: dict[Split, tuple[str, ...]] = {
    "test": ("data_hash", "size"),
    "val": ("data_hash", "size", "val", "split_seed"),
}


def check_question(margin: float | None, measure: str, split: str, looks: int) -> None:
    """UserError where the arguments of `compare` make no question."""
    if margin is not None and not 0 < margin < float("inf"):
        raise UserError(f"margin = {margin}: a difference above 0 is expected")
    if measure not in MARGINS:
        raise UserError(f"measure {one_line(measure)!r}{did_you_mean(measure, MARGINS)}")
    if split not in IMAGES:
        raise UserError(f"split {one_line(split)!r}{did_you_mean(split, IMAGES)}")
    check_looks(looks)


def check_looks(looks: int) -> None:
    """UserError where there are not so many looks."""
    if not 1 <= looks <= 100:
        raise UserError(f"looks = {looks}: must be from 1 to 100")
