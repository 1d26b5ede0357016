"""What one value of each layer of a cascade sees on a test image, in theory and in effect."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from convscope.chapters.receptive_field.fields import SAMPLES, FeatureField
from convscope.data import Dataset
from convscope.errors import UserError
from convscope.planning import Context
from convscope.probes import effective_field, receptive_field
from convscope.recipe import Model
from convscope.report import Gallery, pictures
from convscope.statistics import Configuration
from convscope.training import Run, network, note_unreadable, resident
from convscope.words import texts_beside

LAYERS = texts_beside(__file__, "layers.jinja")

SIDE = 224  # pixels of a picture

KINDS = ("Conv2d", "MaxPool", "AvgPool")  # layers that widen the field, by how their class begins


def layer_gallery(
    context: Context, arms: Sequence[Configuration], fields: dict[Model, FeatureField]
) -> list[Gallery]:
    """A picture for each layer of the cascade of the largest field whose weights are known."""
    known = [arm for arm in arms if fields[arm.model].after is not None]
    if not known:
        return []
    arm = max(known, key=lambda one: (fields[one.model].theoretical or 0, one.test_accuracy.mean))
    found = context.computed("layer fields", arm.run, lambda: of_run(arm.run, context.data))
    if not found:
        return []
    image = context.data.test.images[0]
    items = tuple(
        (
            pictures.field(image, torch.tensor(one["image"]), SIDE, tuple(one["box"])),
            LAYERS.picture(place, len(found), one),
        )
        for place, one in enumerate(found, 1)
    )
    return [
        Gallery(
            "layers",
            LAYERS.title(arm.label),
            items,
            LAYERS.alt(len(found)),
            LAYERS.caption(min(SAMPLES, len(context.data.test))),
            SIDE,
            "layer",
        )
    ]


def of_run(run: Run, data: Dataset) -> list[dict[str, Any]] | None:
    """Of the trained network; None where its weights cannot be read."""
    try:
        inputs = resident(run.recipe, data).inputs("test", slice(0, SAMPLES)).cpu()
        return layer_fields(network(run, data=data), inputs, data.in_shape)
    except UserError as error:
        note_unreadable("the effective fields of the layers", run, error)
        return None


def layer_fields(
    net: nn.Module, inputs: Tensor, in_shape: tuple[int, int, int]
) -> list[dict[str, Any]]:
    """For each layer of the blocks that widens the field, as plain values.

    theoretical: the side of the field of its middle output, in pixels; box: of that field the first
        and the last row, the first and the last column, which may lie outside the image.
    side: of the square that holds 95 % of the gradient; image: its size by pixel, the largest is 1.
    """
    out = []
    for row in receptive_field(net, in_shape):
        if not (row.name.startswith("blocks.") and row.kind.startswith(KINDS)):
            continue
        found = effective_field(net, in_shape, layer=row.name, inputs=inputs)
        box: list[int] = []
        for axis, size, stride, start in zip(
            row.outputs[1:], row.sizes, row.strides, row.starts, strict=True
        ):
            first = start + int((axis // 2) * (stride or 0))
            box += [first, first + size - 1]
        out.append(
            {
                "name": row.name,
                "kind": "convolution" if row.kind == "Conv2d" else "pooling",
                "block": int(row.name.split(".")[1]) + 1,
                "theoretical": max(row.sizes),
                "box": box,
                "side": float(f"{found.square:.4g}"),
                "image": [[float(f"{v:.3g}") for v in line] for line in found.image.tolist()],
            }
        )
    return out
