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
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from convscope.data import cache_folder

SOURCES = Path(__file__).parent / "native"
DEFINED = {torch.bfloat16: (), torch.float32: ("-DFLOAT32",)}
FLAGS = ("-O3", "-fno-math-errno", "-fno-trapping-math", "-shared", "-fPIC", "-fvisibility=hidden")
TUNED = (
    ("-march=native", "-mprefer-vector-width=512"),
    ("-march=native",),
    ("-mcpu=native",),
    (),
)  # the first that the compiler takes
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


class NotAvailable(Exception):
    """Why there are no compiled kernels, in a few words."""


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


def compiler() -> str:
    """The C compiler: $CC, or cc, gcc or clang on the path. Raises NotAvailable."""
    for name in (os.environ.get("CC", ""), "cc", "gcc", "clang"):
        if name and (path := shutil.which(name)):
            return path
    raise NotAvailable("no C compiler (cc, gcc or clang) on the path")


def folder() -> Path:
    return cache_folder() / "kernels"


def flags_of_processor() -> str:
    """What distinguishes processors that run the same system: compiled code of one must not run on another that shares its home directory."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.startswith(("flags", "Features"))), platform.machine())


def build_ahead() -> threading.Thread:
    """Compile in the background, while data are fetched and read, what this machine will most likely use; the thread ends when that is done or can't be."""

    def attempt() -> None:
        with contextlib.suppress(NotAvailable, OSError):
            built(torch.bfloat16)

    thread = threading.Thread(target=attempt, daemon=True)
    thread.start()
    return thread


def built(dtype: torch.dtype) -> Path:
    """The shared library for this dtype, compiled now where the cache has none. Raises NotAvailable."""
    if sys.platform == "win32":
        raise NotAvailable("not on Windows")
    program = compiler()
    sources = sorted(SOURCES.iterdir())
    about = [
        *(path.read_text(encoding="utf-8") for path in sources),
        program,
        platform.platform(),
        flags_of_processor(),
        *FLAGS,
        *DEFINED[dtype],
    ]
    target = folder() / f"{hashlib.sha256(chr(0).join(about).encode()).hexdigest()[:20]}.so"
    if target.exists():
        return target
    errors = []
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as workspace:
            made = Path(workspace) / "kernels.so"
            for tuned in TUNED:
                command = [
                    program,
                    *FLAGS,
                    *tuned,
                    *DEFINED[dtype],
                    "-o",
                    str(made),
                    *(str(path) for path in sources if path.suffix == ".c"),
                ]
                done = subprocess.run(command, capture_output=True, text=True, timeout=120)
                if done.returncode == 0:
                    made.replace(target)  # another process may have been first: its file is as good
                    return target
                errors.append(done.stderr.strip().splitlines()[:1])
    except (OSError, subprocess.SubprocessError) as error:
        raise NotAvailable(f"compiling failed: {error}") from None
    raise NotAvailable(f"{Path(program).name} does not compile the kernels: {errors[-1]}")


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
            return "Winograd's algorithm is there for bfloat16 on processors with AVX-512 BF16 alone"
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
