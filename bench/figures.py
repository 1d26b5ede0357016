"""What the benches share: the machine's line, medians with their spread, a Markdown table."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Sequence


def machine_line() -> str:
    """Machine, versions, and how busy the machine is when the bench begins.

    Other work on it makes every figure worse.
    """
    import PIL
    import torch

    from convscope.machine import this_machine

    load = f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"
    return (
        f"{this_machine()}, Pillow {PIL.__version__}, "
        f"{torch.get_num_threads()} threads by default; load average at the start {load}"
    )


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


def spread(values: Sequence[float], digits: int = 2) -> str:
    """Median (least to most, n)."""
    return (
        f"{median(values):.{digits}f} "
        f"({min(values):.{digits}f} to {max(values):.{digits}f}, n = {len(values)})"
    )


def ratios(above: Sequence[float], below: Sequence[float]) -> list[float]:
    """Ratios turn by turn.

    Both of a turn run within seconds of each other: other work on the machine touches them alike.
    """
    return [a / b for a, b in zip(above, below, strict=True)]


def busy_seconds() -> float | None:
    """Processor seconds that the whole machine has spent since it started.

    Those taken by its host count too. None where the system isn't Linux.
    """
    try:
        with open("/proc/stat", encoding="ascii") as file:
            user, nice, system, _idle, _iowait, irq, soft, steal = map(
                int, file.readline().split()[1:9]
            )
    except (OSError, ValueError):
        return None
    return (user + nice + system + irq + soft + steal) / os.sysconf("SC_CLK_TCK")


class Others:
    """What other processes take of the machine while a child process runs.

    It is a share of all cores, from start to stop.
    """

    def __init__(self) -> None:
        self.busy, self.own, self.started = busy_seconds(), self._own(), time.perf_counter()

    @staticmethod
    def _own() -> float:
        used = os.times()
        return used.user + used.system + used.children_user + used.children_system

    def share(self) -> float | None:
        busy = busy_seconds()
        if busy is None or self.busy is None:
            return None
        spent = busy - self.busy - (self._own() - self.own)
        return max(0.0, spent / (time.perf_counter() - self.started) / (os.cpu_count() or 1))


def wait_for_quiet(most: float = 20.0) -> None:
    """Wait until other processes take less than a tenth of the machine for a second.

    most: the seconds to wait at most.
    """
    until = time.perf_counter() + most
    while time.perf_counter() < until:
        others = Others()
        time.sleep(1)
        if (others.share() or 0.0) < 0.1:
            return


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
