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


def die_with_parent(parent: int) -> None:
    """Ask Linux to kill this process when the thread of `parent` that started it ends."""
    if _libc is None:
        return
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it ended before this process could ask
        os._exit(1)


def children_end_too() -> None:
    """Have children that are forked from now on end with this process, and theirs with them."""
    if not hasattr(os, "register_at_fork"):
        return
    parent = os.getpid()

    def remember() -> None:
        nonlocal parent
        parent = os.getpid()

    # fork does not pass the wish on: each child says it again
    os.register_at_fork(before=remember, after_in_child=lambda: die_with_parent(parent))


def c_library() -> ctypes.CDLL | None:
    """The C library, where it has prctl."""
    try:
        library = ctypes.CDLL(None)
    except (OSError, TypeError):  # TypeError: Windows
        return None
    return library if hasattr(library, "prctl") else None


_libc = c_library()
