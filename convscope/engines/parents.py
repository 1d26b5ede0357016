"""A worker ends when its parent does, whatever it is busy with; its own children end with it."""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
import signal
import sys
from multiprocessing import connection

PR_SET_PDEATHSIG = 1  # linux/prctl.h
F_SETSIG = 10  # linux/fcntl.h; Python has no name for it before 3.13


def end_with_parent() -> None:
    """Wait until the parent process ends, then end this one: for a thread of its own.

    On Linux the system kills this process then, also while a loop of C lets no thread of Python
    run.
    """
    parent = multiprocessing.parent_process()
    assert parent is not None
    die_when_closed(parent.sentinel)
    connection.wait([parent.sentinel])
    os._exit(1)


def die_when_closed(descriptor: int) -> None:
    """Ask Linux to kill this process when the other end of a pipe is closed (fcntl(2), F_SETSIG).

    Unlike a parent's death signal, it does not depend on the thread that started this process,
    nor on the process of which it is a copy.
    """
    if not sys.platform.startswith("linux"):
        return
    with contextlib.suppress(OSError):
        import fcntl

        fcntl.fcntl(descriptor, F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(descriptor, fcntl.F_SETOWN, os.getpid())
        flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
        fcntl.fcntl(descriptor, fcntl.F_SETFL, flags | os.O_ASYNC)


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
