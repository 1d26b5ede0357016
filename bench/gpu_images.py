"""What the steps of bench/gpu.py share: three networks, images, the form of a finding."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import torch

import convscope as cs
from convscope.data import Dataset, Split, cache_folder

Finding = dict[str, Any]

SMALL = cs.ConvNet(width=16, depth=3)
NINE = cs.ConvNet(width=32, depth=3, block_depth=3, skip=True)
STRONG = cs.Custom("convscope.recipes.strong:network")
# the same layers with fewer channels, for `--quick`
NARROW_NINE = replace(NINE, width=4)
NARROW_STRONG = replace(STRONG, arguments={"widths": [8, 16]})


def found(good: bool, result: str, **more: Any) -> Finding:
    return {"status": "good" if good else "bad", "result": result, **more}


def noise(train: int, test: int, side: int = 32) -> Dataset:
    """Random pixels with ten classes, which cannot be learnt, only memorised."""
    generator = torch.Generator().manual_seed(side)

    def split(count: int) -> Split:
        images = torch.randint(
            0, 256, (count, side, side, 3), generator=generator, dtype=torch.uint8
        )
        return Split(images.permute(0, 3, 1, 2), torch.arange(count) % 10)

    digest = hashlib.sha256(f"noise {train} {test} {side}".encode()).hexdigest()
    classes = tuple(f"class {i}" for i in range(10))
    parts = split(train), split(0), split(test)
    return Dataset("noise", *parts, classes, digest, "random numbers", "none needed", ())


def data_here(quick: bool) -> Dataset:
    """CIFAR-10 or shapes, whichever is in the cache, or noise of CIFAR-10's shape."""
    if quick:
        return noise(32, 10)
    for name in ("cifar10", "shapes"):
        if any((cache_folder() / "datasets").glob(f"{name}.v*")):
            return cs.load(name, val=0.0)
    return noise(50_000, 10_000)
