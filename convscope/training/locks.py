"""The right to work in a folder, for one process at a time.

The system's lock dies with its owner. Where a file system has none (some network mounts), a file
that names host and process stands in: it is made by one process alone, and one that a process of
this host left behind is taken over.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from convscope.errors import one_line

NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP}
IN_USE = {errno.EACCES, errno.EAGAIN, errno.EWOULDBLOCK}

_told: set[int] = set()  # file systems that were named already


class Busy(Exception):
    """Another process holds the lock; the text, where there is one, says which."""


@contextlib.contextmanager
def held(path: Path) -> Iterator[None]:
    """Hold a lock while the block runs.

    path: the lock's file, which stays; its folder is there.

    Raises Busy where another process holds it, and OSError where the file cannot be made.
    """
    try:
        give_back = taken(path)
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        tell_of(path)
        give_back = owned(path.with_name(f"{path.name}.owner"))
    try:
        yield
    finally:
        give_back()


def taken(path: Path) -> Callable[[], object]:
    """Take the system's lock; returns what gives it back."""
    if os.name != "posix":
        return taken_by_filelock(path)
    import fcntl

    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        if error.errno in IN_USE:
            raise Busy from None
        raise

    def give_back() -> None:
        # a child that was forked meanwhile has the descriptor, too: closing it would not do
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)

    return give_back


def taken_by_filelock(path: Path) -> Callable[[], object]:
    """The same by filelock, which knows the locks of Windows."""
    from filelock import FileLock, Timeout

    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise Busy from None
    return lock.release


def owned(path: Path) -> Callable[[], object]:
    """Make the file that stands in for a lock; returns what removes it."""
    mine = f"{socket.gethostname()} {os.getpid()} {began(os.getpid())}\n"
    for _ in range(2):
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        except FileExistsError:
            remove_left_over(path)
            continue
        with os.fdopen(descriptor, "w") as file:
            file.write(mine)
        return lambda: path.unlink(missing_ok=True)
    raise Busy("another process was first")


def remove_left_over(path: Path) -> None:
    """Remove the file of a process of this host that has ended. Raises Busy for any other."""
    try:
        owner = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return
    host, pid, start, *_ = [*owner.split(), "", "", ""]
    if host != socket.gethostname() or not pid.isdecimal() or began(int(pid)) == start != "":
        who = f"process {one_line(pid, 20)} on {one_line(host, 60)}" if host else "a process"
        raise Busy(f"{who} holds {one_line(path)}; remove it where that process has ended")
    # of two processes that come here one alone renames what it has read
    aside = path.with_name(f"{path.name}.{os.getpid()}.{time.time_ns()}")
    with contextlib.suppress(FileNotFoundError):
        path.rename(aside)
        if aside.read_text(encoding="utf-8", errors="replace") != owner:
            aside.rename(path)
            raise Busy("another process was first")
        aside.unlink()


def began(pid: int) -> str:
    """When a process of this machine began, in the system's ticks; "" where there is none.

    Systems without /proc tell no time: there it is "-" for every process that runs.
    """
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[19].decode()
    except (OSError, IndexError):
        pass
    if Path("/proc/self/stat").exists() or not is_running(pid):
        return ""
    return "-"


def is_running(pid: int) -> bool:
    """Whether a process of this machine runs; True where the system does not tell."""
    if os.name != "posix":
        return True  # os.kill ends processes there
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # another user's
        return True
    return True


def has_locks(folder: Path) -> bool:
    """Whether the file system of a folder that can be written has locks, tried on a new file."""
    import tempfile

    with tempfile.TemporaryDirectory(prefix=".convscope-", dir=folder) as place:
        try:
            taken(Path(place) / "lock")()
        except OSError as error:
            return error.errno not in NO_LOCKS
    return True


def tell_of(path: Path) -> None:
    """Say once for each file system that it has no locks."""
    device = path.parent.stat().st_dev
    if device not in _told:
        _told.add(device)
        logging.getLogger("convscope").warning(
            "%s: this file system has no locks; a file %s.owner stands in for them",
            one_line(path.parent),
            path.name,
        )
