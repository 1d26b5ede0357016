"""Compiled kernels (native/*.c), where this machine has a C compiler: they are compiled once and kept in the user's cache.

Nothing depends on them: where there is no compiler, or its answer is wrong, the library's own operations are used, and a recipe says which
(`Recipe.kernels`): "compiled" for what surrounds the convolutions, "winograd" for convolutions of many channels too. Networks ask `active` and `winograd`
whether a batch may go to them.
"""

from __future__ import annotations

import contextlib
import contextvars
import ctypes
import functools
import re
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from convscope.fast.compiler import DEFINED, NotAvailable, built

MOST_CHANNELS = 4096  # as in common.h

POINTER, SIZE, INT = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int

SIGNATURES = {
    "max_pool": "PP SSSS II",
    "max_pool_back": "PPPP SSSS II",
    "mean_pool": "PP SSSS II",
    "mean_pool_back": "PPP SSSS II",
    "global_pool": "PP SSS II",
    "global_pool_back": "PPP SSS II",
    "flatten": "PP SSS I",
    "moments": "PPP SS I",
    "scale_shift": "PPPPP SS II",
    "normalise_back": "PPPPPPPPPPPP SS II",
    "winograd_filters": "PP SS II",
    "winograd": "PPPP SSSSS I",
    "winograd_weights": "PPPP SSSSS I",
    "first_block": "PPPPP SSSSS I",
    "first_block_back": "PPPPP SSSSS I",
}

_kind: contextvars.ContextVar[str] = contextvars.ContextVar("kernels", default="library")


@contextlib.contextmanager
def using(kind: str) -> Iterator[None]:
    """Inside, networks of the family may send their batches to the kernels of a recipe; probes and users' own calls never do."""
    token = _kind.set(kind)
    try:
        yield
    finally:
        _kind.reset(token)


def active(x: Tensor) -> bool:
    """Whether this feature map (N×C×H×W) goes to the kernels: on the CPU, bfloat16 or float32, channels_last, few enough channels."""
    return (
        _kind.get() != "library"
        and x.device.type == "cpu"
        and x.dtype in DEFINED
        and x.shape[1] <= MOST_CHANNELS
        and x.is_contiguous(memory_format=torch.channels_last)
    )


def winograd(x: Tensor) -> bool:
    """Whether 3×3 convolutions of this feature map may go to Winograd's algorithm."""
    return _kind.get() == "winograd" and active(x) and has_winograd(x.dtype)


@functools.cache
def has_winograd(dtype: torch.dtype) -> bool:
    """Whether this processor multiplies pairs of bfloat16 (AVX-512 BF16), for which the algorithm is written. Raises NotAvailable."""
    return bool(library(dtype).winograd_ready())


@functools.cache
def library(dtype: torch.dtype) -> ctypes.CDLL:
    """The kernels for this dtype. Raises NotAvailable."""
    try:
        loaded = ctypes.CDLL(str(built(dtype)))
    except OSError as error:
        raise NotAvailable(f"loading failed: {error}") from None
    kinds = {"P": POINTER, "S": SIZE, "I": INT}
    for name, signature in SIGNATURES.items():
        function = getattr(loaded, name)
        function.argtypes, function.restype = [kinds[c] for c in signature.replace(" ", "")], None
    if (omp := openmp()) is not None:
        loaded.use_threads_of.argtypes, loaded.use_threads_of.restype = [POINTER] * 3, None
        wanted = (omp.GOMP_parallel, omp.omp_get_thread_num, omp.omp_get_num_threads)
        loaded.use_threads_of(*(ctypes.cast(function, POINTER) for function in wanted))
    return loaded


def openmp() -> ctypes.CDLL | None:
    """The OpenMP library that torch has loaded, whose threads the kernels share; None where it is another one, and the kernels use one thread."""
    try:
        maps = Path("/proc/self/maps").read_text(encoding="utf-8")
        return next((ctypes.CDLL(path) for path in re.findall(r"/\S*libgomp\S*", maps)), None)
    except OSError:
        return None


def why_not(precision: torch.dtype, kind: str = "compiled") -> str:
    """Empty where the kernels can be used on this machine, else the reason."""
    try:
        if kind == "winograd" and not has_winograd(precision):
            return (
                "Winograd's algorithm is there for bfloat16 on processors with AVX-512 BF16 alone"
            )
        if kind != "library":
            library(precision)
    except NotAvailable as error:
        return str(error)
    except KeyError:
        return f"none for {precision}"
    return ""


def at_hand(kind: str, precision: torch.dtype) -> str:
    """The kernels of a finished run where this machine has them, else the library, which gives the same up to rounding: for whoever looks at a trained network."""
    return "library" if why_not(precision, kind) else kind
