"""The process's allocator: freed memory is kept for the next batch, not given back to the system.

A training step frees and allocates the same megabytes again and again. glibc gives large blocks
back at once, so the system has to clear every page of them anew. Keeping them makes whole training
steps of small networks 1.3 to 1.5 times as fast (bench/overhead.py shows it).

It can't be undone within a process, so only processes of our own do it: workers and the command
line, never `convscope.train` in the caller's.
"""

from __future__ import annotations

import ctypes
import functools
import sys

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3  # malloc.h

KEEP = 1 << 30

LARGEST_MMAP_THRESHOLD = 32 << 20  # glibc refuses more on 64-bit systems


@functools.cache
def keep_freed_memory() -> bool:
    """Tell glibc to keep freed memory in this process.

    Returns False where the C library is another one and nothing was done.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    settings = (
        (M_MMAP_THRESHOLD, LARGEST_MMAP_THRESHOLD),
        (M_TRIM_THRESHOLD, KEEP),
        (M_TOP_PAD, 64 << 20),
    )
    return all(
        mallopt(ctypes.c_int(option), ctypes.c_int(value)) == 1 for option, value in settings
    )
