"""Whether device, network and images go together, before anything is written."""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convscope.errors import UserError, one_line
from convscope.models import RAISED, copied, fault, first_call, seeded
from convscope.models import is_out_of_memory as is_out_of_memory
from convscope.recipe import Custom, Model, Recipe
from convscope.training.caller import own_settings
from convscope.training.extra_state import network_state
from convscope.training.fitting import check_batch
from convscope.training.metrics import metrics_of

if TYPE_CHECKING:
    from convscope.training.tensors import Tensors

SMALL = 0.75  # of the side: images of the first epochs where recipe.small_share asks for them


def check_device(name: str) -> str:
    """The device's full name: cuda is cuda:0, auto is the GPU where there is one that trains.

    Raises UserError where this machine has no such device.
    """
    gpus = [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    mps = ["mps"] if torch.backends.mps.is_available() else []
    if name == "auto":
        return [*gpus, *(device for device in mps if trains(device)), "cpu"][0]
    full = "cuda:0" if name == "cuda" else name
    if full not in (have := ["cpu", *gpus, *mps]):
        raise UserError(f"device {one_line(name)!r}: this machine has {', '.join(have)}")
    return full


@functools.cache
def trains(device: str) -> bool:
    """Whether a tiny network trains on this device: forward, backward, a step, metrics.

    Apple's MPS lacks operations and float64, which ones depends on the versions of torch and macOS.
    """
    with own_settings(device):
        try:
            net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten())
            net.to(device)
            labels = torch.arange(2, device=device)
            optimizer = torch.optim.Adam(net.parameters(), fused=True)
            F.cross_entropy(net(torch.rand(2, 1, 4, 4, device=device)), labels).backward()
            optimizer.step()
            with torch.no_grad():
                metrics = metrics_of(net(torch.rand(2, 1, 4, 4, device=device)), labels)
        except (RuntimeError, TypeError, AssertionError):
            return False
    return math.isfinite(metrics.loss)


def check_precision(device: str, precision: str) -> None:
    if device == "mps" and precision == "float64":
        raise UserError("precision = float64: mps has none; take float32 or another device")


def check_network(net: nn.Module, tensors: Tensors, recipe: Recipe) -> None:
    """UserError where batch, network and images don't go together, before anything is written."""
    count = tensors.count("train")
    check_batch(recipe, count)
    for shape in shapes_of(tensors, recipe):
        check_logits(net, shape, tensors.num_classes, recipe)
    users = not is_ours(recipe.model)
    if users:
        check_trainable(net, recipe)
        network_state(net)  # what cannot be recorded is refused now, not after an epoch
    least = fewest_images(net, tensors, recipe)
    if users:
        smallest = min(2, count // batches_of(count, recipe.batch, least))
        for shape in shapes_of(tensors, recipe):
            try_training(net, smallest, shape, tensors.num_classes, recipe)


def check_trainable(net: nn.Module, recipe: Recipe) -> None:
    """UserError where a network has no parameter that is trained."""
    if not any(p.requires_grad for p in net.parameters()):
        has = "all its parameters are fixed" if any(True for _ in net.parameters()) else "has none"
        raise UserError(
            f"model {name_of(recipe)}: no parameter to train ({has}); give it nn.Parameter with "
            "requires_grad"
        )


def shapes_of(tensors: Tensors, recipe: Recipe) -> list[tuple[int, int, int]]:
    """The shapes of the images that a run trains on."""
    small = [small_shape(tensors.in_shape)] if recipe.small_share else []
    return [tensors.in_shape, *small]


def batches_of(count: int, batch: int, least: int = 1) -> int:
    """The number of nearly equal batches: of at most `batch` images, where these are `least`."""
    return max(1, min(math.ceil(count / batch), count // least))


def fewest_images(net: nn.Module, tensors: Tensors, recipe: Recipe) -> int:
    """The fewest images that a batch may have: 2 for a network that fails on 1, else 1.

    Batch normalisation has nothing to normalise over where a batch holds one value of a channel.
    That is tried on a copy of the network, where a batch of one image would occur.

    Raises UserError where batches or their parts have one image anyway.
    """
    count, part = tensors.count("train"), recipe.micro_batch
    batches = batches_of(count, recipe.batch)
    sizes = {count // batches, -(-count // batches)}
    in_parts = part is not None and any(size // math.ceil(size / part) == 1 for size in sizes)
    if (min(sizes) > 1 and not in_parts) or (is_ours(recipe.model) and not normalises_batches(net)):
        return 1
    shapes = shapes_of(tensors, recipe)
    if all(answers_one(net, shape, tensors.num_classes) for shape in shapes):
        return 1
    if recipe.batch == 1 or count == 1 or in_parts:
        shown = f"micro_batch = {part}" if in_parts else f"batch = {recipe.batch}"
        raise UserError(
            f"{shown}: the network {name_of(recipe)} cannot be trained on a batch of one image, as "
            "with batch normalisation; take larger batches"
        )
    return 2


def answers_one(net: nn.Module, in_shape: tuple[int, int, int], num_classes: int) -> bool:
    """Whether a network gives its logits of a single image in training mode."""
    try:
        out = trained_once(net, 1, in_shape)
        if out is not None:
            check_answer(out, 1, num_classes, "")
    except RAISED as error:
        if is_out_of_memory(error):
            raise
        return False
    return True


def normalises_batches(net: nn.Module) -> bool:
    return any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in net.modules())


def try_training(
    net: nn.Module, images: int, in_shape: tuple[int, int, int], num_classes: int, recipe: Recipe
) -> None:
    """UserError where a network that answers in evaluation mode does not in training mode."""
    name = name_of(recipe)
    try:
        with seeded(recipe.seed):
            out = trained_once(net, images, in_shape)
    except RAISED as error:
        if is_out_of_memory(error):
            raise
        raise UserError(f"model {name}: in training mode: {fault(error)}") from error
    if out is not None:
        check_answer(out, images, num_classes, f"model {name}: in training mode")


def trained_once(net: nn.Module, images: int, in_shape: tuple[int, int, int]) -> object:
    """What a copy of the network returns in training mode; None where it cannot be copied."""
    try:
        own = copied(net)
    except Exception:
        return None
    weights = (p for p in own.parameters() if p.is_floating_point())
    x = torch.zeros(images, *in_shape)
    like = next(weights, x)
    own.train()
    with torch.no_grad():
        return own(x.to(like.device, like.dtype))


def check_logits(
    net: nn.Module, in_shape: tuple[int, int, int], num_classes: int, recipe: Recipe
) -> None:
    """UserError where the network does not return K logits for images C×H×W of this shape."""
    name = name_of(recipe)
    with seeded(recipe.seed):  # a module may make its weights in its first call
        check_answer(first_call(net, in_shape, name), 2, num_classes, f"model {name}")
        if not is_ours(recipe.model):  # .squeeze() takes the batch away where it is of one
            out = first_call(net, in_shape, name, images=1)
            check_answer(out, 1, num_classes, f"model {name}")


def check_answer(out: object, images: int, num_classes: int, name: str) -> None:
    """UserError where a network's answer is not a row of K logits for each image."""
    given = "one image" if images == 1 else "two images"
    expected = f"{images}×{num_classes} logits"
    if not isinstance(out, Tensor):
        kind = "nothing" if out is None else type(out).__name__
        raise UserError(
            f"{name}: returns {kind} for {given}, expected {expected}; return the logits alone"
        )
    if out.shape != (images, num_classes):
        shape = "×".join(map(str, out.shape)) or "one number"
        raise UserError(f"{name}: returns {shape} for {given}, expected {expected}")
    if out.is_complex():
        raise UserError(f"{name}: returns complex logits, expected real ones; take .real or .abs()")
    if not out.is_floating_point():
        raise UserError(
            f"{name}: returns {str(out.dtype).removeprefix('torch.')} for {given}, expected "
            "floating-point logits, as the last layer gives them"
        )


def is_ours(model: Model) -> bool:
    """Whether a network is one of convscope's, whose code is not the user's."""
    return not isinstance(model, Custom) or model.factory.startswith("convscope.")


def name_of(recipe: Recipe) -> str:
    """What messages call the recipe's network."""
    return recipe.model.factory if isinstance(recipe.model, Custom) else type(recipe.model).__name__


def small_shape(in_shape: tuple[int, int, int]) -> tuple[int, int, int]:
    """The shape of the first epochs' images where recipe.small_share asks for smaller ones."""
    channels, height, width = in_shape
    return channels, max(1, math.floor(SMALL * height)), max(1, math.floor(SMALL * width))
