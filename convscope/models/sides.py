"""Whether images are large enough for a network; known without building it, and without torch."""

from __future__ import annotations

from collections.abc import Iterator

from convscope.errors import UserError
from convscope.recipe import ConvNet


def check_sides(spec: ConvNet, in_shape: tuple[int, int, int]) -> None:
    """UserError where images C×H×W are too small for the network's stem or for its poolings."""
    if spec.stem == "whiten" and min(in_shape[1:]) < 2:
        raise UserError(
            "stem = whiten: takes patches of 2×2 pixels; the images have "
            f"{in_shape[1]}×{in_shape[2]}"
        )
    sides = list(sides_after_blocks(spec, in_shape))
    if len(sides) < len(spec.pools):
        stem = int(spec.stem == "whiten")
        height, width = sides[-1] if sides else (side - stem for side in in_shape[1:])
        raise UserError(
            f"depth = {spec.depth}: block {len(sides) + 1} would pool a {height}×{width} feature "
            f"map by {spec.pools[len(sides)]}, below 1×1; depth at most {len(sides)} for "
            f"{in_shape[1]}×{in_shape[2]} images, or pool = none"
        )


def sides_after_blocks(spec: ConvNet, in_shape: tuple[int, int, int]) -> Iterator[tuple[int, int]]:
    """Height and width behind each block, as long as a pixel is left."""
    height, width = (side - (spec.stem == "whiten") for side in in_shape[1:])
    for pool in spec.pools:
        height, width = height // pool, width // pool
        if height < 1 or width < 1:
            return
        yield height, width
