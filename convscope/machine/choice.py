"""How a study computes on this machine: what `auto` was resolved to."""

from __future__ import annotations

from dataclasses import dataclass

SPOKEN = {
    "library": "",
    "compiled": ", compiled kernels",
    "winograd": ", compiled kernels, Winograd's convolutions",
}


@dataclass(frozen=True)
class Choice:
    """What was resolved for a study by measurement; `measured` holds the images per second that decided."""

    device: str
    precision: str
    layout: str
    threads: int
    workers: int
    measured: dict[str, float]
    kernels: str = "library"

    def __str__(self) -> str:
        shape = f"{self.workers} process{'es' if self.workers > 1 else ''} × {self.threads} thread{'s' if self.threads > 1 else ''}"
        return f"{self.device}, {self.precision}, {self.layout}{SPOKEN[self.kernels]}, {shape}"
