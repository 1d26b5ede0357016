"""How big a network do these images need: filters, layers, parameters; what under- and overfits?"""

from __future__ import annotations

from convscope.chapters.capacity.analysis import chapter, finding
from convscope.chapters.capacity.answers import FILTERS, IMAGES
from convscope.chapters.capacity.plan import (
    NEEDS,
    PRESETS,
    QUESTION,
    TITLE,
    Preset,
    first,
    forecast,
    widths,
)

__all__ = ["ASKS", "NEEDS", "PRESETS", "QUESTION", "TITLE", "Preset", "chapter", "forecast"]
__all__ += ["finding", "first", "widths"]

ASKS = (FILTERS, IMAGES)
