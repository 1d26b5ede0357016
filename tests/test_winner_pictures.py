"""The winner's pictures show what was learned, and every stage of the cascade."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from convscope.chapters.best.winner import filters, together
from convscope.models import build
from convscope.recipe import ConvNet


@pytest.mark.parametrize("dilation", [1, 2])
def test_two_convolutions_are_shown_as_one(dilation: int) -> None:
    first, second = torch.nn.Conv2d(3, 24, 2), torch.nn.Conv2d(24, 5, 3, dilation=dilation)
    kernels = together(first, second)
    size = 2 * dilation + 2
    assert kernels.shape == (5, 3, size, size)
    images = torch.randn(2, 3, 11, 9)
    one = F.conv2d(images, kernels)
    # biases left out
    two = F.conv2d(F.conv2d(images, first.weight), second.weight, dilation=dilation)
    assert torch.allclose(one, two, atol=1e-5)


@pytest.mark.parametrize(("stem", "pixels"), [("whiten", "4×4"), ("none", "3×3")])
def test_filters_are_those_of_the_first_learned_layer(stem: str, pixels: str) -> None:
    net = build(ConvNet(4, 2, stem=stem), (3, 16, 16), 10, 0)  # pyright: ignore[reportArgumentType]
    shown = filters(net)
    assert shown is not None and len(shown.items) == 4
    assert f"Kernels of {pixels} pixels, in colour" in shown.caption
    fixed = stem == "whiten"
    assert ("not learned" in shown.caption) == ("learned" in shown.title) == fixed
    assert ("fixed whitening" in shown.alt) == fixed
