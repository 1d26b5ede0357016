"""The generated set: the same bytes everywhere, balanced, and drawn by whole numbers."""

from __future__ import annotations

import hashlib

import numpy as np

from convscope.data import shapes


def _sha256(array: np.ndarray) -> str:
    return hashlib.sha256(
        array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
    ).hexdigest()


def test_pixels_and_labels_are_pinned() -> None:
    images, labels = shapes.generate(500, seed=0)
    assert (images.shape, images.dtype, labels.shape, labels.dtype) == (
        (500, 32, 32, 3),
        np.uint8,
        (500,),
        np.int64,
    )
    assert _sha256(images) == "e82f4be184a74d4bd4cfc1a7fcdbb590f09c6914b42fcacbb5106bd921c24388"
    assert _sha256(labels) == "1f26d017c33fc6f0a4a9394832bb88c207371785beba72068a7948ea438ff158"
    images, _ = shapes.generate(100, seed=7, split=1)
    assert _sha256(images) == "810fb32d216d67d19b64fd49483f91f4bdd9a2032acb4bf3d30c9e89fffa7009"


def test_random_numbers_are_splitmix64() -> None:
    # the reference implementation's first outputs for the state 0 (Vigna,
    # prng.di.unimi.it/splitmix64.c)
    golden = np.uint64(0x9E3779B97F4A7C15)
    states = np.arange(1, 4, dtype=np.uint64) * golden
    assert [hex(int(x)) for x in shapes._mix(states)] == [
        "0xe220a8397b1dcdaf",
        "0x6e789e6aa1b965f4",
        "0x6c45d188009454f",
    ]


def test_seeds_and_splits_differ_and_chunks_do_not_matter() -> None:
    first, labels = shapes.generate(300, seed=0)
    assert not np.array_equal(first, shapes.generate(300, seed=1)[0])
    assert not np.array_equal(first, shapes.generate(300, seed=0, split=1)[0])
    shorter, some = shapes.generate(20, seed=0)
    assert np.array_equal(shorter, first[:20]) and np.array_equal(some, labels[:20])


def test_each_run_of_ten_holds_each_class_once() -> None:
    _, labels = shapes.generate(1_000)
    assert all(sorted(run) == list(range(10)) for run in labels.reshape(-1, 10))
    assert len({tuple(run) for run in labels.reshape(-1, 10)}) > 90  # in random order


def test_bounded_numbers_fill_their_range_evenly() -> None:
    draws = shapes._Draws(3, 0, np.arange(1_000, dtype=np.int64)).between(-2, 2, (50,))
    counts = np.bincount(draws.ravel() + 2, minlength=5)
    assert draws.min() == -2 and draws.max() == 2
    assert abs(counts - 10_000).max() < 400  # 4.5 standard deviations of 89


def test_no_figure_is_missing_or_fills_the_canvas() -> None:
    x, y = shapes._grid(shapes.SIDE)
    middle = shapes.SIDE * shapes.UNIT // 2
    for radius in shapes.RADIUS:
        r = np.full((1, 1, 1), radius, np.int64)
        masks = [figure(x - middle, y - middle, r)[0] for figure in shapes.FIGURES.values()]
        for name, mask in zip(shapes.FIGURES, masks, strict=True):
            assert 0.1 < mask.sum() / (2 * radius / shapes.UNIT * 2) ** 2 < 0.9, (
                name
            )  # share of the bounding square
        assert len({mask.tobytes() for mask in masks}) == 10
        assert np.array_equal(
            masks[shapes.CLASSES.index("columns")], masks[shapes.CLASSES.index("rows")].T
        )


def test_a_colour_says_nothing_about_the_class() -> None:
    images, labels = shapes.generate(2_000)
    means = np.stack([images[labels == label].mean(axis=(0, 1, 2)) for label in range(10)])
    # grey levels of 255, between classes; one image's mean varies by about 33
    assert np.ptp(means, axis=0).max() < 12
