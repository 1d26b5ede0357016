"""Receptive fields of the trained networks, theoretical and effective."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from convscope.chapters.receptive_field.plan import SAMPLES
from convscope.data import Dataset
from convscope.errors import UserError
from convscope.models import build
from convscope.planning import Context
from convscope.probes import EffectiveField, effective_field, receptive_field
from convscope.statistics import Configuration
from convscope.training import Run, network, note_unreadable, resident


@dataclass(frozen=True)
class FeatureField:
    """The receptive field of the features that the head sees, in pixels per side."""

    theoretical: int | None  # None: the whole input
    effective: EffectiveField | None  # None: not known

    @property
    def side(self) -> float | None:
        return None if self.effective is None else self.effective.side


def field_of(context: Context, arm: Configuration) -> FeatureField:
    """The field of the last convolutional block, with the trained weights of the best seed."""
    in_shape = context.data.in_shape
    built = build(arm.model, in_shape, context.data.num_classes)
    *_, row = (row for row in receptive_field(built, in_shape) if row.name.startswith("blocks"))
    known = context.computed("effective field", arm.run, lambda: effective(arm.run, context.data))
    effective_one = None
    if known is not None:
        image = torch.tensor(known["image"], dtype=torch.float64)
        effective_one = EffectiveField(**{**known, "image": image})
    return FeatureField(None if row.whole else max(row.sizes), effective_one)


def effective(run: Run, data: Dataset) -> dict[str, Any] | None:
    """A run's effective field as plain values, its image rounded to four digits.

    None where the weights cannot be read, or no gradient reaches the pixels.
    """
    try:
        inputs = resident(run.recipe, data).inputs("test", slice(0, SAMPLES)).cpu()
        field = effective_field(
            network(run, data=data), data.in_shape, layer="blocks", inputs=inputs
        )
    except UserError as error:
        note_unreadable("the effective field", run, error)
        return None
    image = [[float(f"{value:.4g}") for value in line] for line in field.image.tolist()]
    return {
        "layer": field.layer,
        "image": image,
        "area": field.area,
        "side": field.side,
        "samples": field.samples,
    }
