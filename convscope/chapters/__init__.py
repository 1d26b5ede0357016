"""The chapters of a study, by name, in the order in which they are told."""

from __future__ import annotations

from types import ModuleType

from convscope.chapters import (
    best,
    capacity,
    convolution,
    nonlinearity,
    ordering,
    receptive_field,
)

CHAPTERS: dict[str, ModuleType] = {
    "capacity": capacity,
    "best": best,
    "nonlinearity": nonlinearity,
    "receptive_field": receptive_field,
    "convolution": convolution,
    "ordering": ordering,
}
