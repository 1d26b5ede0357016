"""Whether device, network and images go together, before anything is written."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from convscope.errors import UserError, one_line
from convscope.recipe import Custom, Recipe

if TYPE_CHECKING:
    from convscope.training.tensors import Tensors

SMALL = 0.75  # of the side: images of the first epochs where recipe.small_share asks for them


def check_device(name: str) -> str:
    """The device's full name; UserError where this machine hasn't it. `auto` is the GPU where there is one."""
    gpus = [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    have = ["cpu", *gpus, *(["mps"] if torch.backends.mps.is_available() else [])]
    if name == "auto":
        return have[1] if len(have) > 1 else "cpu"
    full = "cuda:0" if name == "cuda" else name
    if full not in have:
        raise UserError(f"device {one_line(name)!r}: this machine has {', '.join(have)}")
    return full


def check_fits(net: nn.Module, tensors: Tensors, recipe: Recipe) -> None:
    """UserError where batch, network and images don't go together; called before anything is written."""
    if recipe.batch > tensors.count("train"):
        raise UserError(
            f"batch = {recipe.batch}: larger than the {tensors.count('train'):,} training images"
        )
    for shape in (
        (tensors.in_shape, small_shape(tensors.in_shape))
        if recipe.small_share
        else (tensors.in_shape,)
    ):
        check_answer(net, shape, tensors.num_classes, recipe)


def check_answer(
    net: nn.Module, in_shape: tuple[int, int, int], num_classes: int, recipe: Recipe
) -> None:
    """UserError where the network does not answer images of this shape with so many logits."""
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
            f"model {name}: answers two images with {shape}, not with 2×{num_classes} logits"
        )


def small_shape(in_shape: tuple[int, int, int]) -> tuple[int, int, int]:
    """The shape of the first epochs' images where recipe.small_share asks for smaller ones."""
    channels, height, width = in_shape
    return channels, max(1, math.floor(SMALL * height)), max(1, math.floor(SMALL * width))


def is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return any(
        sign in str(error)
        for sign in (
            "can't allocate memory",
            "not enough memory",
            "out of memory",
            "could not create a memory object",
        )
    )
