"""What does the cascade of convolution and pooling buy over one wide layer?"""

from __future__ import annotations

from convscope.chapters.receptive_field.analysis import chapter
from convscope.chapters.receptive_field.comparisons import Comparison, verdict_of
from convscope.chapters.receptive_field.plan import (
    NEAR,
    NEEDS,
    PRESETS,
    QUESTION,
    TITLE,
    Preset,
    forecast,
    matched,
    models_of,
)
from convscope.chapters.receptive_field.words import name_of

__all__ = [
    "NEAR",
    "NEEDS",
    "PRESETS",
    "QUESTION",
    "TITLE",
    "Comparison",
    "Preset",
    "chapter",
    "forecast",
    "matched",
    "models_of",
    "name_of",
    "verdict_of",
]
