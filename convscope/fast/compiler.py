"""Compiled kernels (native/*.c): built once where this machine has a C compiler, kept in the user's cache."""

from __future__ import annotations

import contextlib
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


class NotAvailable(Exception):
    """Why there are no compiled kernels, in a few words."""


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
    return next(
        (line for line in lines if line.startswith(("flags", "Features"))), platform.machine()
    )


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
