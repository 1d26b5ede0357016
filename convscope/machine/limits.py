"""What affinity, a container or a control group leaves of the machine: cores and memory."""

from __future__ import annotations

import math
import os
import sys
from pathlib import Path

from convscope.data import groups_of, memory_limit
from convscope.engines import allowed_cores


def cores() -> int:
    """The cores that this process may use: of its affinity, and of a container's quota."""
    limit = quota()
    return usable_cores() if limit is None else max(1, min(usable_cores(), math.ceil(limit)))


def usable_cores() -> int:
    """The cores of the affinity; PYTHON_CPU_COUNT, of Python 3.13, may say fewer."""
    there = len(allowed_cores()) or os.cpu_count() or 1
    flag = getattr(sys.flags, "cpu_count", 0)  # python -X cpu_count=N, which goes before
    told = str(flag) if flag > 0 else os.environ.get("PYTHON_CPU_COUNT", "")
    return min(there, int(told)) if told.isdecimal() and int(told) > 0 else there


def quota(root: Path = Path("/")) -> float | None:
    """Cores' worth of time that the control groups allow; None without a limit.

    root: where the system's files are, which tests place elsewhere.
    """
    found = []
    for group in groups_of("cpu", root):
        if group.version == 2:
            most, _, period = group.text("cpu.max").partition(" ")
        else:
            most = group.text("cpu.cfs_quota_us")
            period = group.text("cpu.cfs_period_us")
        if most.isdecimal() and period.isdecimal() and int(most) and int(period):
            found.append(int(most) / int(period))
    return min(found, default=None)


def memory_bytes() -> int:
    """Bytes of memory that this process may use at most; 0 where the system does not tell."""
    there = physical_memory()
    limit = memory_limit()
    return there if limit is None else min(there or limit, limit)


def physical_memory() -> int:
    """Bytes of this machine's memory; 0 where the system does not tell."""
    if os.name == "nt":
        return memory_of_windows()
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 0


def memory_of_windows() -> int:
    """Bytes of memory, as GlobalMemoryStatusEx tells; 0 where it cannot be asked."""
    import ctypes

    class Status(ctypes.Structure):
        _fields_ = (
            ("length", ctypes.c_ulong),
            ("load", ctypes.c_ulong),
            ("total", ctypes.c_ulonglong),
            ("rest", ctypes.c_ulonglong * 6),
        )

    status = Status(length=ctypes.sizeof(Status))
    windows = getattr(ctypes, "windll", None)
    if windows is None or not windows.kernel32.GlobalMemoryStatusEx(ctypes.byref(status)):
        return 0
    return int(status.total)
