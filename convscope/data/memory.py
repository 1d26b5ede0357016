"""How much memory is free, so that data that do not fit are refused before they are read."""

from __future__ import annotations

from pathlib import Path

from convscope.data.control_groups import memory_left
from convscope.errors import UserError


def refuse_what_does_not_fit(needed: int, what: str, remedy: str) -> None:
    """UserError where `needed` bytes are more than this machine has free.

    needed: bytes.
    what: what would take them, up to the verb: "/pets: 20 images of 20×20×3 take".
    remedy: what the user can do.
    """
    free = free_memory()
    if free is not None and needed > free:
        sizes = f"{needed / 1e9:,.1f} GB, and {free / 1e9:,.1f} GB of memory are free"
        raise UserError(f"{what} {sizes}; {remedy}")


def free_memory() -> int | None:
    """Bytes that can be allocated without swapping; None where the system does not tell.

    The limits of control groups count too.
    """
    free: list[int] = []
    try:
        lines = Path("/proc/meminfo").read_text("ascii").splitlines()
        free += [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
    except (OSError, ValueError):  # not Linux
        pass
    left = memory_left()
    free += [] if left is None else [left]
    return min(free) if free else None
