"""How a study computes on this machine: what `auto` was resolved to."""

from __future__ import annotations

from dataclasses import dataclass

from convscope.recipe import Kernels, Layout, Precision
from convscope.words import count

SPOKEN = {
    "library": "",
    "compiled": ", compiled kernels",
    "winograd": ", compiled kernels, Winograd's convolutions",
}


@dataclass(frozen=True)
class Choice:
    """How a study computes, as resolved by measurement.

    device, precision, layout, kernels: as in a recipe.
    threads: of each process.
    workers: the number of processes.
    measured: the images per second that decided, by what was measured.
    """

    device: str
    precision: Precision
    layout: Layout
    threads: int
    workers: int
    measured: dict[str, float]
    kernels: Kernels = "library"

    def __str__(self) -> str:
        processes = count(self.workers, "process", "processes")
        shape = f"{processes} × {count(self.threads, 'thread')}"
        return f"{self.device}, {self.precision}, {self.layout}{SPOKEN[self.kernels]}, {shape}"
