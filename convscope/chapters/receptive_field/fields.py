"""Receptive fields of the trained networks, theoretical and effective."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from convscope.chapters.receptive_field.plan import SAMPLES
from convscope.data import Dataset
from convscope.errors import UserError
from convscope.models import build
from convscope.planning import Arm, Context
from convscope.probes import EffectiveField, effective_field, receptive_field
from convscope.recipe import ConvNet
from convscope.training import network, resident

# the finding


@dataclass(frozen=True)
class Field:
    """Of the features that the head sees: theoretical size (None: the whole input), effective side and its picture."""

    theoretical: int | None
    effective: EffectiveField | None

    @property
    def side(self) -> float | None:
        return None if self.effective is None else self.effective.side


def field_of(context: Context, arm: Arm) -> Field:
    """The field of the last convolutional block of an arm's best seed, with its trained weights."""
    assert isinstance(arm.model, ConvNet)
    in_shape = context.data.in_shape
    rows = receptive_field(build(arm.model, in_shape, context.data.num_classes), in_shape)
    row = [row for row in rows if row.name.startswith("blocks")][-1]
    known = context.computed("effective field", arm.run, lambda: effective(arm, context.data))
    field = (
        None
        if known is None
        else EffectiveField(**{**known, "image": torch.tensor(known["image"], dtype=torch.float64)})
    )
    return Field(None if row.whole else max(row.sizes), field)


def effective(arm: Arm, data: Dataset) -> dict[str, Any] | None:
    """An effective field as plain values; None where the weights can't be read, or all gates are closed."""
    try:
        inputs = resident(arm.run.recipe, data).inputs("test", slice(0, SAMPLES)).cpu()
        field = effective_field(
            network(arm.run, data=data), data.in_shape, layer="blocks", inputs=inputs
        )
    except UserError:
        return None
    image = [[float(f"{value:.4g}") for value in line] for line in field.image.tolist()]
    return {
        "layer": field.layer,
        "image": image,
        "area": field.area,
        "side": field.side,
        "samples": field.samples,
    }
