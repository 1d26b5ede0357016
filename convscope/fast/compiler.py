"""Compiles the kernels (native/*.c), once, where this machine has a C compiler."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import torch

from convscope.fast import kernel_folder
from convscope.fast.kernel_folder import Build
from convscope.fast.reasons import NotAvailable

NATIVE = Path(__file__).parent / "native"

HEADERS = ("common.h", "first.h", "tiles.h", "vectors.h", "winograd.h", "winograd_float.h")
SOURCES = (
    "first.c",
    "first_back.c",
    "first_eight.c",
    "normalise.c",
    "pooling.c",
    "threads.c",
    "winograd.c",
    "winograd_float.c",
)

ABI = 3  # of the functions: another number is another build

DEFINED = {torch.bfloat16: (), torch.float32: ("-DFLOAT32",)}

FLAGS = ("-O3", "-fno-math-errno", "-fno-trapping-math", "-shared", "-fPIC", "-fvisibility=hidden")

TUNED = (
    ("-march=native", "-mprefer-vector-width=512"),
    ("-march=native",),
    ("-mcpu=native",),
    (),
)  # the first that the compiler takes

SECONDS = 120  # for one compilation


def compiler() -> str:
    """The C compiler: $CC, or cc, gcc or clang on the path. Raises NotAvailable."""
    for name in (os.environ.get("CC", ""), "cc", "gcc", "clang"):
        if name and (path := shutil.which(name)):
            return path
    raise NotAvailable("no C compiler (cc, gcc or clang) on the path")


@functools.cache
def version_of(program: str) -> str:
    """The first line that a compiler says about itself; empty where it says nothing."""
    done = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=SECONDS)
    return next(iter(done.stdout.splitlines()), "").strip()


@functools.cache
def flags_of_processor() -> str:
    """What distinguishes processors that run the same system.

    Code compiled for one must not run on another that shares its home directory.
    """
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next(
        (line for line in lines if line.startswith(("flags", "Features"))), platform.machine()
    )


def likely_dtype() -> torch.dtype:
    """The precision that a measurement will choose: bfloat16 where the processor multiplies it."""
    return torch.bfloat16 if "bf16" in flags_of_processor() else torch.float32


def build_ahead() -> threading.Thread:
    """Compile in the background what this machine will most likely use.

    The thread ends when that is done or cannot be.
    """

    def attempt() -> None:
        with contextlib.suppress(NotAvailable):
            built(likely_dtype())

    thread = threading.Thread(target=attempt, daemon=True)
    thread.start()
    return thread


def built(dtype: torch.dtype) -> tuple[Path, Build]:
    """The shared library for this dtype, compiled now where there is none. Raises NotAvailable."""
    if sys.platform == "win32":
        raise NotAvailable("not on Windows")
    program = compiler()
    try:
        version = version_of(program)
        folder = kernel_folder.opened()
        key = key_of(program, version, dtype)
        build = kernel_folder.stored(folder, key)
        if build is None:
            build = compiled(folder, key, program, version, dtype)
        return kernel_folder.library_path(folder, build), build
    except (OSError, subprocess.SubprocessError) as error:
        raise NotAvailable(f"compiling failed: {error}") from None


def identity() -> str:
    """What kernels this machine would have, without compiling any; empty where it has none."""
    if sys.platform == "win32":
        return ""
    try:
        program = compiler()
        return key_of(program, version_of(program), torch.float32)
    except (NotAvailable, OSError, subprocess.SubprocessError):
        return ""


def key_of(program: str, version: str, dtype: torch.dtype) -> str:
    """A hash of everything that the library depends on."""
    flags = (*FLAGS, *(" ".join(tuned) for tuned in TUNED), *DEFINED[dtype])
    sources = (  # the files that are listed: a stray one in the folder is none of ours
        (NATIVE / name).read_text(encoding="utf-8") for name in (*HEADERS, *SOURCES)
    )
    about = (str(ABI), program, version, flags_of_processor(), *flags, *sources)
    return hashlib.sha256("\0".join(about).encode()).hexdigest()[:20]


def compiled(folder: Path, key: str, program: str, version: str, dtype: torch.dtype) -> Build:
    """Compile into the folder. Raises NotAvailable with the compiler's words where it fails."""
    said = ""
    with tempfile.TemporaryDirectory(dir=folder) as workspace:
        made = Path(workspace) / "kernels.so"
        for tuned in TUNED:
            flags = (*FLAGS, *tuned, *DEFINED[dtype])
            files = (str(NATIVE / name) for name in SOURCES)
            command = [program, *flags, "-o", str(made), *files]
            done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
            if done.returncode == 0:
                sha256 = hashlib.sha256(made.read_bytes()).hexdigest()
                build = Build(sha256, program, version, flags)
                kernel_folder.store(folder, key, made, build)
                return build
            said = next(iter(done.stderr.strip().splitlines()), f"exit code {done.returncode}")
    raise NotAvailable(f"{Path(program).name} does not compile the kernels: {said}")
