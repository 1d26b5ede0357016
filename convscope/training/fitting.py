"""Whether a recipe fits its images: what is known without a network, and without torch."""

from __future__ import annotations

from convscope.errors import UserError
from convscope.recipe import Recipe


def check_batch(recipe: Recipe, count: int) -> None:
    """UserError where a batch is larger than the number of training images."""
    if recipe.batch > count:
        raise UserError(f"batch = {recipe.batch}: larger than the {count:,} training images")


def check_crop(recipe: Recipe, in_shape: tuple[int, int, int]) -> None:
    """UserError where images C×H×W could be moved out of sight."""
    most = min(in_shape[1:]) - 1
    if recipe.crop > most:
        raise UserError(
            f"crop = {recipe.crop}: images of {in_shape[1]}×{in_shape[2]} can be moved by at most "
            f"{most} pixels"
        )
