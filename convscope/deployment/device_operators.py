"""torch's calls as operators of a device: their names, their multiplications, what they become."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

KINDS = {
    "convolution": "conv",
    "_convolution": "conv",
    "addmm": "linear",
    "linear": "linear",
    "mm": "matmul",
    "bmm": "matmul",
    "baddbmm": "matmul",
    "addbmm": "matmul",
    "mv": "matmul",
    "addmv": "matmul",
    "dot": "matmul",
    "max_pool2d_with_indices": "max pool",
    "max_pool2d": "max pool",
    "avg_pool2d": "average pool",
    "_adaptive_avg_pool2d": "mean",
    "amax": "max",
    "native_batch_norm": "batch norm",
    "cudnn_batch_norm": "batch norm",
    "_native_batch_norm_legit_no_training": "batch norm",
    "native_group_norm": "group norm",
    "native_layer_norm": "layer norm",
    "_softmax": "softmax",
    "_safe_softmax": "softmax",
    "_log_softmax": "log softmax",
    "constant_pad_nd": "pad",
    "cat": "concat",
    "select": "slice",
    "index_select": "gather",
    "index": "gather",
}

# each place of their output is computed from the same place, once the statistics are known
NORMALISATIONS = {"batch norm", "group norm", "layer norm", "softmax", "log softmax"}

POOLINGS = {"max pool", "average pool"}

MATRIX_PRODUCTS = {"matmul"}

COPIES = {"gather", "embedding", "concat", "pad", "slice"}  # these multiply nothing

FOLDING = {"mul", "div", "add", "sub"}  # with a constant for each channel


def base_name(func: Any) -> str:
    return func.overloadpacket.__name__


def kind_of(func: Any, args: Sequence[Any], sizes: list[int], given: list[Tensor]) -> str:
    """What a call computes, in the field's words.

    sizes: values of its outputs.
    given: its tensors.
    """
    name = base_name(func)
    kind = KINDS.get(name)
    if kind == "conv":
        groups = args[8] if len(args) > 8 else 1
        if args[6]:
            return "transposed conv"
        channels = args[0].shape[1]
        return "conv" if groups == 1 else "depthwise conv" if groups == channels else "grouped conv"
    if kind is None and name == "clone" and sizes == [given[0].numel()]:
        return "copy"
    return kind or name.strip("_").replace("_", " ")


def macs_of(func: Any, args: Sequence[Any], results: list[Tensor]) -> int | None:
    """Multiply-adds of convolutions and matrix products; None of other calls."""
    count = PRODUCTS.get(base_name(func))
    return None if count is None else count(args, results[0])


def convolution_macs(args: Sequence[Any], out: Tensor) -> int:
    images, weight, transposed = args[0], args[1], args[6]
    # a transposed convolution multiplies each input with all weights of its channel
    return (images if transposed else out).numel() * math.prod(weight.shape[1:])


PRODUCTS: dict[str, Callable[[Sequence[Any], Tensor], int]] = {
    "convolution": convolution_macs,
    "_convolution": convolution_macs,
    "addmm": lambda args, out: out.numel() * args[1].shape[-1],
    "linear": lambda args, out: out.numel() * args[0].shape[-1],
    "mm": lambda args, out: out.numel() * args[0].shape[-1],
    "bmm": lambda args, out: out.numel() * args[0].shape[-1],
    "baddbmm": lambda args, out: out.numel() * args[1].shape[-1],
    "addbmm": lambda args, out: out.numel() * args[1].shape[-1] * args[1].shape[0],
    "mv": lambda args, out: out.numel() * args[0].shape[-1],
    "addmv": lambda args, out: out.numel() * args[1].shape[-1],
    "dot": lambda args, out: args[0].numel(),
}


def outputs_that_count(func: Any, results: list[Tensor]) -> list[Tensor]:
    """Without the statistics that torch's normalisations return for a backward pass."""
    if KINDS.get(base_name(func)) in NORMALISATIONS:
        return results[:1]
    return results


def axis_folds(func: Any, kind: str, given: list[Tensor], out: Tensor) -> bool:
    """Whether a call scales or shifts each channel, as the weights before it could do.

    Channels are the second axis of a map, the last one of a vector.
    """
    if kind == "batch norm":
        return True
    if base_name(func).rstrip("_") not in FOLDING or torch.Tag.pointwise not in func.tags:
        return False
    others = [t for t in given if t.numel() != out.numel()]
    if len(given) - len(others) != 1:
        return False
    axis = 1 if out.ndim == 4 else out.ndim - 1
    for other in others:
        shape = (1,) * (out.ndim - other.ndim) + tuple(other.shape)
        if any(side > 1 and i != axis for i, side in enumerate(shape)):
            return False
    return True
