"""The chapters of a study, by name, in the order in which they are told."""

from __future__ import annotations

from types import ModuleType

from convscope.chapters import capacity

CHAPTERS: dict[str, ModuleType] = {"capacity": capacity}
