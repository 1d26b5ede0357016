"""Does the order of the flattened activations matter?"""

from __future__ import annotations

from convscope.chapters.ordering.analysis import chapter, verdict_of
from convscope.chapters.ordering.answers import EXPERIMENT, PROOF
from convscope.chapters.ordering.plan import (
    EXACT,
    NAMES,
    NEEDS,
    PRESETS,
    QUESTION,
    TITLE,
    Preset,
    arm_of,
    forecast,
    recipes_of,
    seeds_of,
)

__all__ = ["ASKS", "NEEDS", "PRESETS", "QUESTION", "TITLE", "Preset", "chapter", "forecast"]
__all__ += ["EXACT", "NAMES", "arm_of", "recipes_of", "seeds_of", "verdict_of"]

ASKS = (PROOF, EXPERIMENT)
