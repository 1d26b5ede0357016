"""A run's logits of images: of its own validation and test images, kept beside its weights."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from convscope.data import Dataset
from convscope.deployment.image_network import check_shape, pixels_of
from convscope.errors import UserError, one_line
from convscope.files import sha256_of
from convscope.recipe import Recipe
from convscope.training import (
    DTYPES,
    ImageFormat,
    Run,
    Tensors,
    check_device,
    data_of,
    format_of,
    network,
    own_settings,
    place,
    predict,
    read_tensors,
    resident,
    write_tensors,
)

FILE = "answers.safetensors"  # in a run's folder; made when first asked for, from what is there
BEST = "best.safetensors"
SPLITS = ("val", "test")


@dataclass(frozen=True)
class Answers:
    """Logits N×K in float32 and labels N of a split."""

    logits: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)


def answers_of(run: Run, data: Dataset | None = None) -> dict[str, Answers]:
    """A run's logits and labels of its validation and test images, by its best weights.

    They are computed as in training and kept in the run's folder; there, they are read where
    weights have not changed since.

    run: a finished run.
    data: what run.recipe.data names, where it is loaded already.

    Raises UserError where they have to be computed and the images are not there.
    """
    weights = run.files.get(BEST) or sha256_of(run.path / BEST)
    with contextlib.suppress(UserError, KeyError):
        found, metadata = read_tensors(run.path / FILE)
        if metadata.get("weights") == weights:
            pairs = {name: (found[f"{name}.logits"], found[f"{name}.labels"]) for name in SPLITS}
            return {name: Answers(*pair) for name, pair in pairs.items()}
    data = checked(run, data)
    answers = computed(run, data)
    flat = {
        f"{name}.{kind}": getattr(one, kind).contiguous()
        for name, one in answers.items()
        for kind in ("logits", "labels")
    }
    with contextlib.suppress(OSError):  # a folder that cannot be written: they are computed again
        write_tensors(run.path / FILE, flat, {"weights": weights})
    return answers


def checked(run: Run, data: Dataset | None) -> Dataset:
    """The run's data; UserError where those that are given are others."""
    if data is None:
        return data_of(run)
    if run.recipe.data_hash not in ("", data.hash):
        raise UserError(
            f"data {one_line(data.name)!r}: not the images that run {run.id} was trained on: "
            f"{run.recipe.data_hash[:12]} then, {data.hash[:12]} now"
        )
    return data


def computed(run: Run, data: Dataset) -> dict[str, Answers]:
    recipe = on_this_machine(run.recipe)
    with own_settings(recipe.device, recipe.threads):
        net, tensors = placed(run, recipe, data), resident(recipe, data)
        return {
            name: Answers(
                predict(net, tensors, name, recipe).float().cpu()
                if tensors.count(name)
                else torch.empty(0, tensors.num_classes),
                tensors.labels[name].cpu(),
            )
            for name in SPLITS
        }


def on_this_machine(recipe: Recipe) -> Recipe:
    """The recipe on its device, or on the CPU where this machine has no such device."""
    try:
        return replace(recipe, device=check_device(recipe.device))
    except UserError:
        return replace(recipe, device="cpu")


def placed(run: Run, recipe: Recipe, data: Dataset | None = None) -> nn.Module:
    """The run's network where the recipe computes."""
    return place(network(run, data=data), recipe)


def logits_of_images(run: Run, images: Tensor) -> Tensor:
    """Logits N×K of images as they are, computed as the run's test images were.

    run: a finished run.
    images: N×C×H×W, uint8 or floating point from 0 to 1.

    Raises UserError for images of another shape or with other values.
    """
    form, recipe = format_of(run), on_this_machine(run.recipe)
    check_shape(tuple(images.shape), form.in_shape)
    with own_settings(recipe.device, recipe.threads):
        tensors = tensors_of(images, form, recipe)
        return predict(placed(run, recipe), tensors, "test", recipe).float().cpu()


def tensors_of(images: Tensor, form: ImageFormat, recipe: Recipe) -> Tensors:
    """Images as a test split, which training's own evaluation takes."""
    is_bytes = images.dtype == torch.uint8
    mean, scale = (column.to(recipe.device) for column in form.columns())
    return Tensors(
        rows={},
        waiting={"test": images if is_bytes else pixels_of(images).float()},
        normalised_ahead=not is_bytes,
        labels={"test": torch.zeros(len(images), dtype=torch.int64)},
        mean=mean,
        scale=scale,
        in_shape=form.in_shape,
        num_classes=form.num_classes,
        dtype=DTYPES[recipe.precision],
        channels_last=recipe.layout == "channels_last",
        format=form,
    )


def joined(logits: Sequence[Tensor]) -> Tensor:
    """The logits of an ensemble: logarithms of its members' mean probabilities."""
    if len(logits) == 1:
        return logits[0]
    parts = torch.stack([one.double().log_softmax(1) for one in logits])
    return (parts.logsumexp(0) - torch.tensor(len(logits)).double().log()).float()
