"""Flips, crops and cutouts of images whose pixels all differ."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from convscope.training import augmentation as augment


def pictures(
    count: int = 64, height: int = 9, width: int = 12, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Every pixel of an image is another number, never 0, that bfloat16 can hold."""
    return (
        (
            torch.arange(1, height * width + 1).reshape(1, 1, height, width)
            + 128 * torch.arange(2).reshape(1, 2, 1, 1)
        )
        .expand(count, -1, -1, -1)
        .to(dtype)
        .clone()
    )


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
def test_augmentation_repeats_with_its_generator_and_keeps_form(
    dtype: torch.dtype, memory: torch.memory_format
) -> None:
    x = pictures(dtype=dtype).contiguous(memory_format=memory)
    for name, change in (
        ("flip", augment.flip),
        ("crop", lambda x, g: augment.crop(x, 3, g)),
        ("cutout", lambda x, g: augment.cutout(x, 4, g)),
    ):
        before = x.clone()
        one, same, other = (change(x, generator(seed)) for seed in (1, 1, 2))
        assert one.shape == x.shape and one.dtype == dtype, name
        assert torch.equal(one, same) and not torch.equal(one, other) and torch.equal(x, before), (
            name
        )


def test_a_flip_mirrors_about_half_of_the_images() -> None:
    x = pictures(400)
    out = augment.flip(x, generator())
    mirrored = [torch.equal(a, b.flip(-1)) for a, b in zip(out, x, strict=True)]
    kept = [torch.equal(a, b) for a, b in zip(out, x, strict=True)]
    assert all(a != b for a, b in zip(mirrored, kept, strict=True)) and 160 <= sum(mirrored) <= 240


@pytest.mark.parametrize(("pixels", "mode"), [(1, "reflect"), (4, "reflect"), (10, "constant")])
def test_a_crop_is_one_of_the_windows_of_the_padded_image(pixels: int, mode: str) -> None:
    x = pictures(300, 9, 12)
    padded = F.pad(x[:1], (pixels,) * 4, mode=mode)[0]
    windows = {
        padded[:, i : i + 9, j : j + 12].numpy().tobytes(): (i, j)
        for i in range(2 * pixels + 1)
        for j in range(2 * pixels + 1)
    }
    found = Counter(
        windows[image.contiguous().numpy().tobytes()]
        for image in augment.crop(x, pixels, generator())
    )
    for axis in (
        (0, 1) if mode == "reflect" else ()
    ):  # every offset occurs, both axes on their own; windows in the padding look alike
        assert {place[axis] for place in found} == set(range(2 * pixels + 1))
    assert len(found) > 2 * pixels + 1


@pytest.mark.parametrize("side", [1, 4, 5])
def test_cutout_sets_one_square_to_zero(side: int) -> None:
    x = pictures(500, 9, 12)
    out = augment.cutout(x, side, generator())
    centres = set()
    for before, after in zip(x, out, strict=True):
        hit = after == 0
        assert torch.equal(after[~hit], before[~hit]) and torch.equal(hit[0], hit[1])
        rows, columns = (
            hit[0].any(1).nonzero().flatten().tolist(),
            hit[0].any(0).nonzero().flatten().tolist(),
        )
        assert (
            hit[0].sum() == len(rows) * len(columns)
            and 1 <= len(rows) <= side
            and 1 <= len(columns) <= side
        )
        assert rows == list(range(rows[0], rows[-1] + 1)) and columns == list(
            range(columns[0], columns[-1] + 1)
        )
        assert len(rows) == side or rows[0] == 0 or rows[-1] == 8
        assert len(columns) == side or columns[0] == 0 or columns[-1] == 11
        centres.add((rows[0], columns[0]))
    assert {row for row, _ in centres} >= set(range(9 - side)) and {
        column for _, column in centres
    } >= set(range(12 - side))
