"""The OpenMP library whose threads torch computes with; the kernels take the same ones."""

from __future__ import annotations

import ctypes
import re
from pathlib import Path

import torch


def torchs_openmp() -> ctypes.CDLL | None:
    """The GNU OpenMP library, of those that this process has loaded, that torch's threads follow.

    None where there is none, as with LLVM's or Intel's: then the kernels use one thread.
    """
    try:
        maps = Path("/proc/self/maps").read_text(encoding="utf-8")
    except OSError:
        return None
    for path in sorted(set(re.findall(r"/\S*libgomp\S*", maps))):
        try:
            library = ctypes.CDLL(path)
            if follows_torch(library):
                return library
        except (OSError, AttributeError):  # deleted since it was loaded; without these functions
            continue
    return None


def follows_torch(library: ctypes.CDLL) -> bool:
    """Whether this library's number of threads is the one that torch was told."""
    threads = torch.get_num_threads()
    try:
        for tried in (threads + 1, threads + 2):
            torch.set_num_threads(tried)
            if library.omp_get_max_threads() != tried:
                return False
        return True
    finally:
        torch.set_num_threads(threads)
