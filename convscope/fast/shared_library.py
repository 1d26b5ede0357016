"""The compiled kernels as functions of this process: loaded once per dtype, checked, explained.

Nothing depends on them. Where there is no compiler, or the library cannot be used, torch's own
operations compute instead, and `why_not` says why. A recipe's `kernels` says which are meant:
"compiled" for what surrounds the convolutions, "winograd" for convolutions of many channels too.
"""

from __future__ import annotations

import ctypes
import functools

import torch

from convscope.fast.compiler import DEFINED, built
from convscope.fast.kernel_folder import Build, hold
from convscope.fast.openmp import torchs_openmp
from convscope.fast.reasons import NotAvailable

MOST_CHANNELS = 4096  # as in common.h

OUT_OF_MEMORY = 1  # a function's status, as in common.h

# Arguments: P a pointer, S a size, I an int. Every function returns a status.
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

TYPES = {"P": ctypes.c_void_p, "S": ctypes.c_int64, "I": ctypes.c_int}


@functools.cache
def kernels_for(dtype: torch.dtype) -> ctypes.CDLL:
    """The kernels for feature maps of this dtype. Raises NotAvailable."""
    return load(dtype)[0]


@functools.cache
def load(dtype: torch.dtype) -> tuple[ctypes.CDLL, Build, int]:
    """The loaded kernels, what they were built by, and the lock that keeps their file."""
    path, build = built(dtype)
    try:
        lock = hold(path)
        loaded = ctypes.CDLL(str(path))
        for name, signature in SIGNATURES.items():
            function = getattr(loaded, name)
            function.argtypes = [TYPES[letter] for letter in signature.replace(" ", "")]
            function.restype = raise_for
        loaded.winograd_ready.restype = ctypes.c_int
        share_threads(loaded)
    except (OSError, AttributeError) as error:  # unloadable; a function is missing
        raise NotAvailable(f"loading failed: {error}") from None
    return loaded, build, lock


def raise_for(status: int) -> None:
    """A function's status as an exception."""
    if status == OUT_OF_MEMORY:
        raise torch.OutOfMemoryError("out of memory: a compiled kernel's workspace")
    assert status == 0, f"status {status}"


def share_threads(loaded: ctypes.CDLL) -> None:
    """Give the kernels torch's threads, so that no others compete with them for the cores."""
    omp = torchs_openmp()
    if omp is None:
        return
    loaded.use_threads_of.argtypes, loaded.use_threads_of.restype = [ctypes.c_void_p] * 3, None
    wanted = (omp.GOMP_parallel, omp.omp_get_thread_num, omp.omp_get_num_threads)
    loaded.use_threads_of(*(ctypes.cast(function, ctypes.c_void_p) for function in wanted))


@functools.cache
def are_threaded() -> bool:
    """Whether the kernels use as many threads as torch; else they use one."""
    return torchs_openmp() is not None


@functools.cache
def are_available(dtype: torch.dtype) -> bool:
    """Whether there are kernels for this dtype."""
    try:
        return dtype in DEFINED and bool(kernels_for(dtype))
    except NotAvailable:
        return False


@functools.cache
def has_winograd(dtype: torch.dtype) -> bool:
    """Whether Winograd's algorithm is there for this dtype: for float32 on every processor, for
    bfloat16 where one multiplies pairs of it (AVX-512 BF16). Raises NotAvailable."""
    return bool(kernels_for(dtype).winograd_ready())


def why_not(dtype: torch.dtype, kind: str = "compiled") -> str:
    """Empty where kernels of this kind can be used on this machine, else the reason."""
    if kind == "library":
        return ""
    if dtype not in DEFINED:
        return f"none for {dtype}"
    try:
        if kind == "winograd" and not has_winograd(dtype):
            return "Winograd's algorithm needs float32, or a processor with AVX-512 BF16"
        kernels_for(dtype)
    except NotAvailable as error:
        return str(error)
    return ""


def description_of(dtype: torch.dtype) -> dict[str, object]:
    """What the loaded kernels of this dtype were built by. Raises NotAvailable."""
    build = load(dtype)[1]
    return {
        "compiler": build.compiler,
        "version": build.version,
        "flags": list(build.flags),
        "sha256": build.sha256,
        "threads": "torch's" if are_threaded() else "one",
    }
