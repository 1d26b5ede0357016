"""`shapes`: ten kinds of figure on clutter, generated, the same bytes on every machine.

What a pixel or a 3×3 patch shows says little about the class: colours, polarity, contrast, place,
size and slant of the figure are random, and the clutter (patches, strokes before and behind the
figure, noise) has edges of its own. The class is the arrangement of edges over 10 to 24 pixels, so
that a network needs depth: bench/shapes.py measures how much.

Whole numbers alone, no numpy.random: random numbers are SplitMix64 (Steele, Lea and Flood 2014) of
a counter, figures are inequalities between int64 coordinates on a 2×2 supersampled grid.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

CLASSES = (
    *("disc", "ring", "square", "triangle", "cross"),
    *("saltire", "rows", "columns", "corner", "dots"),
)

SIDE = 32

NUM_TRAIN, NUM_TEST = 10_000, 2_000

REVISION = 1  # raise it whenever the same seed would give other bytes

UNIT = 16  # coordinates are in 1/16 pixel

CHUNK = 250  # images drawn at once: about 8 MB per array of coordinates

Ints = NDArray[np.int64]

Mask = NDArray[np.bool_]

NUM_BEHIND, NUM_FRONT = 3, 2  # strokes of clutter

NOISE = 26  # noise is uniform in ±NOISE of 255

PATCH = 22  # patches of the background differ by up to ±PATCH

# least and most difference between figure and ground in a channel
CONTRAST = (56, 140)

SLANT = 5  # shear of the figure: up to SLANT/16 in each direction

RADIUS = (6 * UNIT, 11 * UNIT)  # half the figure's size


def generate(num: int, seed: int = 0, split: int = 0) -> tuple[NDArray[np.uint8], Ints]:
    """Images balanced over the ten classes in random order, and their labels.

    A longer set starts with the images of a shorter one only where both are multiples of 10.

    num: number of images.
    seed: draws everything.
    split: separates streams of one seed: 0 is training, 1 is test.

    Returns uint8 N×32×32×3 and int64 N.
    """
    images = np.empty((num, SIDE, SIDE, 3), np.uint8)
    labels = np.empty(num, np.int64)
    for start in range(0, num, CHUNK):
        index = np.arange(start, min(start + CHUNK, num), dtype=np.int64)
        draw = _Draws(seed, split, index)
        labels[index] = _classes(seed, split, index)
        images[index] = _paint(draw, labels[index])
    return images, labels


def _mix(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """SplitMix64's finaliser: a bijection of 64 bits, arithmetic modulo 2⁶⁴."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _hash(*parts: int | Ints) -> NDArray[np.uint64]:
    """64 random bits for each tuple of whole numbers (broadcast), SplitMix64's step between."""
    state = np.zeros(1, np.uint64)
    for part in parts:
        word = (
            np.asarray(part, dtype=np.uint64) if isinstance(part, int) else part.astype(np.uint64)
        )
        state = _mix((state ^ word) + np.uint64(0x9E3779B97F4A7C15))
    return state


def _below(bits: NDArray[np.uint64], bound: int) -> Ints:
    """Uniform in 0 … bound − 1, from the upper 32 bits (bias below bound / 2³²)."""
    return (((bits >> np.uint64(32)) * np.uint64(bound)) >> np.uint64(32)).astype(np.int64)


class _Draws:
    """A stream of random numbers for each image, whatever images are drawn beside it."""

    def __init__(self, seed: int, split: int, index: Ints) -> None:
        self.seed, self.split, self.index, self.calls = seed, split, index, 0

    def between(self, low: int, high: int, shape: tuple[int, ...] = ()) -> Ints:
        """Uniform in low … high, both included: N×shape."""
        self.calls += 1
        cells = np.arange(int(np.prod(shape, dtype=np.int64)), dtype=np.int64)
        bits = _hash(self.seed, self.split, self.calls, self.index[:, None], cells[None, :])
        return _below(bits, high - low + 1).reshape(len(self.index), *shape) + low


def _classes(seed: int, split: int, index: Ints) -> Ints:
    """Each run of ten images holds each class once, in random order."""
    group = index // len(CLASSES)
    keys = _hash(seed, split, 0, group[:, None], np.arange(len(CLASSES), dtype=np.int64)[None, :])
    order = np.argsort(keys, axis=1, kind="stable")
    return order[np.arange(len(index)), index % len(CLASSES)].astype(np.int64)


def _disc(u: Ints, v: Ints, r: Ints) -> Mask:
    return u * u + v * v <= r * r


def _ring(u: Ints, v: Ints, r: Ints) -> Mask:
    square = u * u + v * v
    return (square <= r * r) & (square * 256 >= (9 * r) ** 2)


def _square(u: Ints, v: Ints, r: Ints) -> Mask:
    return np.maximum(np.abs(u), np.abs(v)) * 16 <= r * 14


def _triangle(u: Ints, v: Ints, r: Ints) -> Mask:
    return (v * 16 <= r * 13) & (2 * np.abs(u) <= v + r)


def _cross(u: Ints, v: Ints, r: Ints) -> Mask:
    near, far = np.minimum(np.abs(u), np.abs(v)), np.maximum(np.abs(u), np.abs(v))
    return (far <= r) & (near * 16 <= r * 5)


def _saltire(u: Ints, v: Ints, r: Ints) -> Mask:
    return _cross((u + v) * 11 // 16, (u - v) * 11 // 16, r)


def _rows(u: Ints, v: Ints, r: Ints) -> Mask:
    """Three bars, two gaps between them."""
    return (np.abs(u) <= r) & (np.abs(v) <= r) & (((v + r) * 5 // (2 * r + 1)) % 2 == 0)


def _columns(u: Ints, v: Ints, r: Ints) -> Mask:
    return _rows(v, u, r)


def _corner(u: Ints, v: Ints, r: Ints) -> Mask:
    return (np.abs(u) <= r) & (np.abs(v) <= r) & ((u * 16 <= -r * 7) | (v * 16 >= r * 7))


def _dots(u: Ints, v: Ints, r: Ints) -> Mask:
    """Two discs side by side."""
    aside = np.abs(u) * 16 - r * 9
    return aside * aside + v * v * 256 <= (7 * r) ** 2


FIGURES: dict[str, Callable[[Ints, Ints, Ints], Mask]] = {
    "disc": _disc,
    "ring": _ring,
    "square": _square,
    "triangle": _triangle,
    "cross": _cross,
    "saltire": _saltire,
    "rows": _rows,
    "columns": _columns,
    "corner": _corner,
    "dots": _dots,
}


def _grid(length: int) -> tuple[Ints, Ints]:
    """Coordinates x, y of the subpixels' centres, in 1/16 pixel: each 1×64×64."""
    centres = np.arange(length * 2, dtype=np.int64) * (UNIT // 2) + UNIT // 4
    return centres[None, None, :], centres[None, :, None]


def _blend(canvas: Ints, mask: Mask, colour: Ints) -> Ints:
    """Paint `colour` (N×3) where mask (N×64×64) covers 0 to 4 of a pixel's four parts."""
    parts = mask.view(np.uint8)
    covered = (
        parts[:, ::2, ::2] + parts[:, 1::2, ::2] + parts[:, ::2, 1::2] + parts[:, 1::2, 1::2]
    ).astype(np.int64)[..., None]
    return (canvas * (4 - covered) + colour[:, None, None, :] * covered) // 4


def _stroke(draw: _Draws) -> Mask:
    """A straight stroke of random place, direction, length and thickness: N×64×64."""
    x, y = _grid(SIDE)
    x0, y0 = (draw.between(0, SIDE * UNIT - 1, (1, 1)) for _ in range(2))
    # odd, so never zero
    dx, dy = (draw.between(-16, 15, (1, 1)) * 2 + 1 for _ in range(2))
    length, thick = draw.between(5 * UNIT, 14 * UNIT), draw.between(10, 26)
    # each a sum of a row and a column
    along, across = (x - x0) * dx + (y - y0) * dy, (x - x0) * dy - (y - y0) * dx
    norm = (dx * dx + dy * dy)[:, 0, 0]
    return (np.abs(along) <= _half_root(length, norm)) & (np.abs(across) <= _half_root(thick, norm))


def _half_root(length: Ints, norm: Ints) -> Ints:
    """The largest whole number whose square is at most length²·norm/4: N×1×1."""
    roots = [math.isqrt(int(square) // 4) for square in length * length * norm]
    return np.array(roots, np.int64)[:, None, None]


def _figure(draw: _Draws, labels: Ints) -> Mask:
    """The figure of each image's class, at a random place, size and slant: N×64×64."""
    x, y = _grid(SIDE)
    r = draw.between(*RADIUS, (1, 1))
    room = SIDE * UNIT // 2 - r  # the centre keeps the figure on the canvas, but for its slant
    cx, cy = (SIDE * UNIT // 2 + draw.between(-1024, 1024, (1, 1)) * room // 1024 for _ in range(2))
    a, b = (draw.between(-SLANT, SLANT, (1, 1)) for _ in range(2))
    u, v = (x - cx) + (y - cy) * a // 16, (y - cy) + (x - cx) * b // 16
    mask = np.zeros(u.shape, np.bool_)
    for label, name in enumerate(CLASSES):
        chosen = labels == label
        mask[chosen] = FIGURES[name](u[chosen], v[chosen], r[chosen])
    return mask


def _paint(draw: _Draws, labels: Ints) -> NDArray[np.uint8]:
    """Ground, patches, strokes, the figure, strokes, noise: uint8 N×32×32×3."""
    ground = draw.between(70, 185, (3,))
    shift = draw.between(*CONTRAST, (3,))  # N×3: from the ground to the figure, per channel
    sign = draw.between(0, 1, (3,)) * 2 - 1
    figure = ground + shift * sign
    patches = draw.between(-PATCH, PATCH, (8, 8, 3)).repeat(4, axis=1).repeat(4, axis=2)
    canvas = ground[:, None, None, :] + patches
    for _ in range(NUM_BEHIND):
        canvas = _blend(canvas, _stroke(draw), draw.between(0, 255, (3,)))
    canvas = _blend(canvas, _figure(draw, labels), figure)
    for _ in range(NUM_FRONT):
        canvas = _blend(canvas, _stroke(draw), draw.between(0, 255, (3,)))
    noise = draw.between(-NOISE, NOISE, (SIDE, SIDE, 3))
    assert canvas.shape == (len(labels), SIDE, SIDE, 3)
    return np.clip(canvas + noise, 0, 255).astype(np.uint8)
