"""A worker ends when its parent does, whatever it is busy with; its own children end with it."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
from multiprocessing import connection

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def end_with_parent() -> None:
    """Wait until the parent process ends, then end this one: for a thread of its own.

    On Linux the system kills this process then, also while a loop of C lets no thread of Python
    run.
    """
    die_with_parent()
    parent = multiprocessing.parent_process()
    assert parent is not None
    connection.wait([parent.sentinel])
    os._exit(1)


def die_with_parent() -> None:
    """Ask Linux to kill this process when the thread that started it ends."""
    if _libc is not None:
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def children_end_too() -> None:
    """Have children that are forked from now on end with this process."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=die_with_parent)  # fork does not pass it on


def c_library() -> ctypes.CDLL | None:
    """The C library, where it has prctl."""
    try:
        library = ctypes.CDLL(None)
    except (OSError, TypeError):  # TypeError: Windows
        return None
    return library if hasattr(library, "prctl") else None


_libc = c_library()
