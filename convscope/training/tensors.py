"""A data set on the device, ready for networks: normalised, laid out, a subset, noisy."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from convscope.data import Dataset, Split
from convscope.recipe import Recipe
from convscope.training.checks import check_device, check_precision
from convscope.training.image_format import ImageFormat, image_format_of


@dataclass(frozen=True)
class Tensors:
    """A data set on the device, ready for networks.

    rows: for each split that was asked for, N×(H·W·C) values (contiguous layout: N×(C·H·W)),
        normalised in the recipe's precision, or uint8 where they are normalised batch by batch.
    waiting: images of the splits that nobody has asked for, uint8 N×C×H×W.
    normalised_ahead: whether rows are normalised once; where all splits would take more than
        RESIDENT_BYTES, each batch is normalised when it is used.
    labels: int64 N for each split.
    mean, scale: C×1×1 in float32; (image − mean) · scale has mean 0 and standard deviation 1 over
        the training split.
    in_shape: channels, height, width.
    format: what images were before, and what the classes are called.
    """

    rows: dict[str, Tensor]
    waiting: dict[str, Tensor]
    normalised_ahead: bool
    labels: dict[str, Tensor]
    mean: Tensor
    scale: Tensor
    in_shape: tuple[int, int, int]
    num_classes: int
    dtype: torch.dtype
    channels_last: bool
    format: ImageFormat

    def count(self, split: str) -> int:
        return len(self.labels[split])

    def inputs(self, split: str, index: Tensor | slice) -> Tensor:
        """Network inputs N×C×H×W of a split's images, by their indices or a slice."""
        stored = self.stored(split)
        rows = stored[index] if isinstance(index, slice) else stored.index_select(0, index)
        images = self.unfold(rows)
        return images if images.dtype == self.dtype else self.normalise(images)

    def stored(self, split: str) -> Tensor:
        """The split's rows, laid out when first asked for."""
        if split in self.waiting:
            images = self.waiting[split]
            order = (0, 2, 3, 1) if self.channels_last else (0, 1, 2, 3)
            dtype = self.dtype if self.normalised_ahead else torch.uint8
            rows = torch.empty(
                (len(images), math.prod(self.in_shape)), dtype=dtype, device=self.mean.device
            )
            for start in range(0, len(images), 1000):
                part = images[start : start + 1000]
                if self.normalised_ahead:
                    part = self.normalise(part)
                rows[start : start + 1000] = part.permute(order).flatten(1)
            self.rows[split] = rows
            del self.waiting[split]
        return self.rows[split]

    def bytes(self) -> int:
        """What the images take when all are laid out."""
        laid_out = sum(rows.numel() * rows.element_size() for rows in self.rows.values())
        return laid_out + sum(
            images.numel() * (self.dtype.itemsize if self.normalised_ahead else 1)
            for images in self.waiting.values()
        )

    def unfold(self, rows: Tensor) -> Tensor:
        channels, height, width = self.in_shape
        if self.channels_last:
            return rows.view(-1, height, width, channels).permute(0, 3, 1, 2)
        return rows.view(-1, channels, height, width)

    def normalise(self, images: Tensor) -> Tensor:
        """uint8 images N×C×H×W as network inputs."""
        x = images.to(self.mean.device).float().sub_(self.mean).mul_(self.scale).to(self.dtype)
        return x.contiguous(
            memory_format=torch.channels_last if self.channels_last else torch.contiguous_format
        )


DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float64": torch.float64}

EXACT = 256  # squares of so many bytes have a sum that float32 holds exactly

RESIDENT_BYTES = 600_000_000  # of normalised images, in each process


def to_device(data: Dataset, recipe: Recipe) -> Tensors:
    """A data set for the recipe's device, to which each split is moved once.

    `limit` and `label_noise` are applied; the pixels' statistics are those of the training images.
    """
    check_device(recipe.device)
    check_precision(recipe.device, recipe.precision)
    train = trained_on(data, recipe)
    form = image_format_of(data, recipe.resize, *pixel_statistics(train.images))
    mean, scale = form.columns()
    splits = {"train": train, "val": data.val, "test": data.test}
    dtype = DTYPES[recipe.precision]
    pixels = sum(split.images.numel() for split in splits.values())
    return Tensors(
        rows={},
        waiting={name: split.images for name, split in splits.items()},
        normalised_ahead=pixels * dtype.itemsize <= RESIDENT_BYTES,
        labels={name: split.labels.to(recipe.device) for name, split in splits.items()},
        mean=mean.to(recipe.device),
        scale=scale.to(recipe.device),
        in_shape=data.in_shape,
        num_classes=data.num_classes,
        dtype=dtype,
        channels_last=recipe.layout == "channels_last",
        format=form,
    )


def trained_on(data: Dataset, recipe: Recipe) -> Split:
    """The training images that `limit` leaves, with the labels that `label_noise` makes."""
    train = data.train
    if recipe.label_noise and recipe.noise_seed is not None:  # alike in every subset
        wrong = wrong_labels(train.labels, data.num_classes, recipe.label_noise, recipe.noise_seed)
        true, train = train.labels, Split(train.images, wrong)
    else:
        true = train.labels
    if recipe.limit is not None and recipe.limit < len(train):
        if recipe.subset_seed is None:
            keep = stratified_subset(true, recipe.limit, recipe.split_seed)
        else:
            keep = nested_subset(true, recipe.limit, recipe.subset_seed)
        train = Split(train.images[keep], train.labels[keep])
    if recipe.label_noise and recipe.noise_seed is None:
        train = Split(train.images, noisy(train.labels, data.num_classes, recipe))
    return train


def tensors_key(recipe: Recipe) -> tuple[object, ...]:
    """What `to_device` depends on: runs with equal keys share their tensors."""
    noise: tuple[object, ...] = ()
    if recipe.label_noise:
        by_seed = recipe.seed if recipe.noise_seed is None else None
        noise = (recipe.label_noise, recipe.noise_seed, by_seed)
    data = (
        recipe.data,
        recipe.data_hash,
        (recipe.size, recipe.resize, recipe.classes),
        (recipe.columns, recipe.group_by),
        recipe.val,
        recipe.split_seed,
        recipe.limit,
        None if recipe.limit is None else recipe.subset_seed,
        noise,
    )
    return (*data, recipe.device, recipe.precision, recipe.layout)


def pixel_statistics(images: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel on the scale 0 … 255, from exact sums.

    images: uint8 N×C×H×W.
    """
    channels = images.shape[1]
    total, squares = torch.zeros(2, channels, dtype=torch.float64)
    for part in images.split(250):
        pixels = part.flatten(2)
        values = (
            F.pad(pixels, (0, -pixels.shape[2] % EXACT)).float().unflatten(2, (-1, EXACT))
        )  # zeros add nothing
        total += values.sum(3).sum((0, 2), dtype=torch.float64)
        squares += values.square_().sum(3).sum((0, 2), dtype=torch.float64)
    count = images.numel() // channels
    mean = total / count
    return mean, (squares / count - mean.square()).clamp(min=0).sqrt()


def stratified_subset(labels: Tensor, count: int, seed: int) -> Tensor:
    """Indices of `count` images in ascending order, each class with its share, drawn by `seed`.

    Shares are rounded by largest remainders.
    """
    generator = torch.Generator().manual_seed(seed)
    num_classes = int(labels.max()) + 1
    totals = torch.bincount(labels, minlength=num_classes).double()
    exact = totals * count / len(labels)
    take = exact.floor()
    for c in torch.argsort(exact - take, descending=True, stable=True)[: count - int(take.sum())]:
        take[c] += 1
    chosen = []
    for c in range(num_classes):
        members = torch.nonzero(labels == c).flatten()
        chosen.append(members[torch.randperm(len(members), generator=generator)[: int(take[c])]])
    return torch.cat(chosen).sort().values


def nested_subset(labels: Tensor, count: int, seed: int) -> Tensor:
    """Indices of `count` images in ascending order, each class with its share, drawn by `seed`.

    The first images of one sequence, so that a smaller count takes a part of what a larger one
    takes. In it the j-th image of a class of n, in a drawn order, stands at (j + 1/2) / n, which is
    the divisor method of Webster and Sainte-Laguë. Rounding by largest remainders, as
    `stratified_subset` does, may take an image away from a class when the count grows.
    """
    generator = torch.Generator().manual_seed(seed)
    members, places = [], []
    for c in range(int(labels.max()) + 1):
        own = torch.nonzero(labels == c).flatten()
        members.append(own[torch.randperm(len(own), generator=generator)])
        places.append((torch.arange(len(own), dtype=torch.float64) + 0.5) / max(1, len(own)))
    order = torch.argsort(torch.cat(places), stable=True)
    return torch.cat(members)[order[:count]].sort().values


def wrong_labels(labels: Tensor, num_classes: int, share: float, seed: int) -> Tensor:
    """About a share of the labels replaced by one of the wrong classes, all equally likely."""
    generator = torch.Generator().manual_seed(derived_seed(seed, "wrong labels"))
    hit = torch.rand(len(labels), generator=generator) < share
    step = torch.randint(1, max(2, num_classes), (len(labels),), generator=generator)
    return torch.where(hit, (labels + step) % num_classes, labels)


def noisy(labels: Tensor, num_classes: int, recipe: Recipe) -> Tensor:
    """A share of the labels replaced by classes drawn uniformly, once, by the recipe's seed.

    One in K of these draws is the label that was there.
    """
    generator = torch.Generator().manual_seed(derived_seed(recipe.seed, "label noise"))
    hit = torch.rand(len(labels), generator=generator) < recipe.label_noise
    drawn = torch.randint(0, num_classes, (len(labels),), generator=generator)
    return torch.where(hit, drawn, labels)


def derived_seed(*parts: object) -> int:
    digest = hashlib.sha256(repr(parts).encode()).digest()
    return int.from_bytes(digest[:7], "big")
