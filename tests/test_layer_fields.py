"""The fields of a cascade layer by layer, and the picture that shows them."""

from __future__ import annotations

import io

import pytest
import torch
from PIL import Image

from convscope.chapters.receptive_field.layers import LAYERS, layer_fields
from convscope.models import build
from convscope.probes import receptive_field
from convscope.recipe import ConvNet
from convscope.report import pictures

SHAPE = (3, 16, 16)


@pytest.mark.parametrize("pool", ["max", "avg", "none"])
def test_the_effective_field_lies_in_the_frame_of_each_layer(pool: str) -> None:
    torch.manual_seed(0)
    net = build(ConvNet(4, 3, pool=pool), SHAPE, 10)  # pyright: ignore[reportArgumentType]
    found = layer_fields(net.eval(), torch.randn(8, *SHAPE), SHAPE)
    rows = {row.name: max(row.sizes) for row in receptive_field(net, SHAPE)}
    assert [one["theoretical"] for one in found] == [rows[one["name"]] for one in found]
    assert [one["kind"] for one in found].count("convolution") == 3
    assert len(found) == (3 if pool == "none" else 6)
    for one in found:
        top, bottom, left, right = one["box"]
        image = torch.tensor(one["image"])
        seen = image[max(0, top) : bottom + 1, max(0, left) : right + 1]
        assert float(image.sum()) == pytest.approx(float(seen.sum())) and float(image.max()) == 1
        assert bottom - top + 1 == one["theoretical"] and 0 < one["side"] <= one["theoretical"] + 1
        told = LAYERS.picture(1, len(found), one)
        assert f"theoretical {one['theoretical']}, effective" in told


def test_a_picture_frames_what_a_layer_sees() -> None:
    image = torch.full((3, 8, 8), 200, dtype=torch.uint8)
    seen = torch.zeros(8, 8)
    seen[3:5, 3:5] = 1
    drawn = Image.open(io.BytesIO(pictures.field(image, seen, 80, (-2, 5, 2, 5)))).convert("RGB")
    assert drawn.size == (80, 80)
    frame, orange, grey = (120, 205, 255), drawn.getpixel((35, 35)), drawn.getpixel((75, 75))
    assert drawn.getpixel((20, 30)) == drawn.getpixel((30, 59)) == frame  # cut above, not below
    assert drawn.getpixel((35, 0)) == frame and isinstance(orange, tuple) and orange[0] > orange[2]
    assert grey == (120, 120, 120)
