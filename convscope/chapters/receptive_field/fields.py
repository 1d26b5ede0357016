"""Receptive fields of the networks: theoretical, and effective before and after training."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from convscope.chapters.receptive_field.arms import is_single, sees_means
from convscope.data import Dataset
from convscope.errors import UserError
from convscope.models import build
from convscope.planning import Context
from convscope.probes import NoGradient, effective_field, receptive_field
from convscope.recipe import ConvNet, short_label_of
from convscope.statistics import Configuration, quantile
from convscope.training import Run, network, note_missing, note_unreadable, resident

SAMPLES = 64  # test images over which effective fields are averaged

GROUPS = 4  # of these images; a side of each shows how much it depends on the images

Change = Literal["wider", "narrower", "cannot tell"]

Sides = list[list[float]]  # by seed and group of images


@dataclass(frozen=True)
class FeatureField:
    """The receptive field of the features that the head sees, in pixels a side.

    theoretical: None is the whole input.
    untrained, trained: sides of the square that holds 95 % of the gradient, by seed and group of
        images, with the weights before and after training; empty where they are not known.
    before, after: the gradients of the best seed, as images; None where they are not known.
    """

    theoretical: int | None
    untrained: Sides
    trained: Sides
    before: Tensor | None
    after: Tensor | None

    @property
    def side(self) -> float | None:
        """With trained weights, the mean over seeds and images."""
        return mean_of(self.trained)

    @property
    def side_before(self) -> float | None:
        return mean_of(self.untrained)

    @property
    def difference(self) -> tuple[float, float, float] | None:
        """Trained minus untrained: mean and 95 % interval over seeds and images; None of one seed.

        Seeds and images are crossed: SE² = (s² of seeds) / seeds + (s² of groups) / groups, with
        the degrees of freedom of the seeds.
        """
        seeds = len(self.trained)
        if seeds < 2 or len(self.untrained) != seeds:
            return None
        gaps = torch.tensor(self.trained, dtype=torch.float64) - torch.tensor(
            self.untrained, dtype=torch.float64
        )
        variance = gaps.mean(1).var() / seeds
        if gaps.shape[1] > 1:
            variance = variance + gaps.mean(0).var() / gaps.shape[1]
        reach = quantile(0.95, seeds - 1) * math.sqrt(float(variance))
        mean = float(gaps.mean())
        return mean, mean - reach, mean + reach

    @property
    def change(self) -> Change:
        """What training does to the effective field."""
        found = self.difference
        if found is None or found[1] <= 0 <= found[2]:
            return "cannot tell"
        return "wider" if found[0] > 0 else "narrower"


def mean_of(sides: Sides) -> float | None:
    values = [value for seed in sides for value in seed]
    return math.fsum(values) / len(values) if values else None


def theoretical_of(context: Context, model: ConvNet) -> int | None:
    """The side of the theoretical field of the features that the head sees; None: the whole input.

    Means that a single layer's classifier sees are counted as part of the head.
    """
    in_shape = context.data.in_shape
    built = build(model, in_shape, context.data.num_classes)
    last = "blocks.0.convs" if sees_means(model) else "blocks"
    *_, row = (row for row in receptive_field(built, in_shape) if row.name.startswith(last))
    return None if row.whole else max(row.sizes)


def field_of(context: Context, arm: Configuration) -> FeatureField:
    """The fields of the last block's output.

    The effective ones are those of cascades alone: a single layer's differ little from the
    theoretical ones.
    """
    model = arm.convnet
    theoretical = theoretical_of(context, model)
    known: dict[str, dict[str, Any]] = {}
    if not is_single(model):
        for run in arm.runs:
            values = context.computed(
                "effective fields", run, lambda run=run: effective(run, context.data)
            )
            if values is not None:
                known[run.id] = values
    shown = known.get(arm.run.id)
    return FeatureField(
        theoretical,
        [values["untrained"] for values in known.values()],
        [values["trained"] for values in known.values()],
        None if shown is None else torch.tensor(shown["before"], dtype=torch.float64),
        None if shown is None else torch.tensor(shown["after"], dtype=torch.float64),
    )


def effective(run: Run, data: Dataset) -> dict[str, Any] | None:
    """A run's effective fields as plain values: sides by group of images, and images.

    None where the weights cannot be read, or no gradient reaches the pixels.
    """
    try:
        inputs = resident(run.recipe, data).inputs("test", slice(0, SAMPLES)).cpu()
        after = network(run, data=data)
        before = untrained(run, after, data)
        trained, image = measured(after, inputs, data)
        fresh, image_before = measured(before, inputs, data)
    except NoGradient:
        note_missing(
            f"which pixels {short_label_of(run.recipe.model)} (run {run.id}) looks at is not "
            "measured, because no gradient reaches them"
        )
        return None
    except UserError as error:
        note_unreadable("the effective field", run, error)
        return None
    return {"trained": trained, "untrained": fresh, "after": image, "before": image_before}


def untrained(run: Run, trained: nn.Module, data: Dataset) -> nn.Module:
    """The network as it began; a stem that training does not change is the trained one's."""
    net = build(run.recipe.model, data.in_shape, data.num_classes, run.recipe.seed)
    stem = {k: v for k, v in trained.state_dict().items() if k.startswith("stem.")}
    net.load_state_dict(stem, strict=False)
    return net.eval()


def measured(
    net: nn.Module, inputs: Tensor, data: Dataset
) -> tuple[list[float], list[list[float]]]:
    """The side for each group of images, and the mean gradient, rounded to four digits."""
    fields = [
        effective_field(net, data.in_shape, layer="blocks", inputs=part)
        for part in inputs.tensor_split(min(GROUPS, len(inputs)))
    ]
    image = torch.stack([field.image for field in fields]).mean(0)
    rows = [[float(f"{value:.4g}") for value in row] for row in (image / image.max()).tolist()]
    return [float(f"{field.square:.6g}") for field in fields], rows


def range_of(sides: Sides) -> tuple[float, float]:
    """The smallest and the largest over seeds and images."""
    values: Sequence[float] = [value for seed in sides for value in seed]
    return min(values), max(values)
