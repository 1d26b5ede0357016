"""What this machine is: processor, cores, memory, versions."""

from __future__ import annotations

import os
import platform
from dataclasses import asdict, dataclass

import torch

from convscope.machine.choice import Choice


@dataclass(frozen=True)
class Machine:
    """The machine that a study ran on."""

    processor: str
    cores: int
    memory_gb: float
    gpu: str
    system: str
    python: str
    torch: str

    def __str__(self) -> str:
        gpu = f", {self.gpu}" if self.gpu else ""
        return (
            f"{self.processor}, {self.cores} cores, {self.memory_gb:.0f} GB{gpu}, {self.system}, "
            f"Python {self.python}, torch {self.torch}"
        )


def this_machine() -> Machine:
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else ""
    return Machine(
        processor(),
        cores(),
        memory_bytes() / 2**30,
        gpu,
        f"{platform.system()} {platform.machine()}",
        platform.python_version(),
        torch.__version__,
    )


def processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = [
                line.partition(":")[2].strip() for line in file if line.startswith("model name")
            ]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()


def cores() -> int:
    """Cores that this process may use (its affinity, where the system tells)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory_bytes() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 0


def as_dict(value: Machine | Choice) -> dict[str, object]:
    return asdict(value)
