"""What this machine is: processor, cores, memory, versions."""

from __future__ import annotations

import platform
from dataclasses import asdict, dataclass

from convscope.machine.choice import Choice
from convscope.machine.limits import cores, memory_bytes


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
    import torch

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


def as_dict(value: Machine | Choice) -> dict[str, object]:
    return asdict(value)
