"""Whether device, network and images go together, before anything is written."""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convscope.errors import UserError, one_line
from convscope.recipe import Custom, Recipe
from convscope.training.caller import own_settings
from convscope.training.fitting import check_batch
from convscope.training.metrics import metrics_of

if TYPE_CHECKING:
    from convscope.training.tensors import Tensors

SMALL = 0.75  # of the side: images of the first epochs where recipe.small_share asks for them


OUT_OF_MEMORY = (
    "can't allocate memory",
    "not enough memory",
    "out of memory",
    "could not create a memory object",  # oneDNN
    "_STATUS_ALLOC_FAILED",  # cuBLAS, cuDNN, cuSOLVER, cuSPARSE
)


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
    check_batch(recipe, tensors.count("train"))
    for shape in (
        (tensors.in_shape, small_shape(tensors.in_shape))
        if recipe.small_share
        else (tensors.in_shape,)
    ):
        check_logits(net, shape, tensors.num_classes, recipe)


def check_logits(
    net: nn.Module, in_shape: tuple[int, int, int], num_classes: int, recipe: Recipe
) -> None:
    """UserError where the network does not return K logits for images C×H×W of this shape."""
    name = recipe.model.factory if isinstance(recipe.model, Custom) else type(recipe.model).__name__
    training = {module: module.training for module in net.modules()}
    try:
        with torch.no_grad():
            out = net.eval()(torch.zeros(2, *in_shape))
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        if is_out_of_memory(error):
            raise
        raise UserError(
            f"model {name}: does not take {'×'.join(map(str, in_shape))} images: {one_line(error)}"
        ) from None
    finally:
        for module, mode in training.items():
            module.training = mode
    if not isinstance(out, Tensor) or out.shape != (2, num_classes):
        shape = "×".join(map(str, out.shape)) if isinstance(out, Tensor) else type(out).__name__
        raise UserError(
            f"model {name}: returns {shape} for two images, expected 2×{num_classes} logits"
        )


def small_shape(in_shape: tuple[int, int, int]) -> tuple[int, int, int]:
    """The shape of the first epochs' images where recipe.small_share asks for smaller ones."""
    channels, height, width = in_shape
    return channels, max(1, math.floor(SMALL * height)), max(1, math.floor(SMALL * width))


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on the CPU or on a device."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return any(sign in str(error) for sign in OUT_OF_MEMORY)
