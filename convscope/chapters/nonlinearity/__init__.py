"""Which parts of the network are nonlinear (measured, in place), and what does each buy?"""

from __future__ import annotations

from convscope.chapters.nonlinearity.analysis import chapter, finding, measured_parts, split
from convscope.chapters.nonlinearity.answers import LARGER, MATTERS
from convscope.chapters.nonlinearity.factorial import Factorial, role_of
from convscope.chapters.nonlinearity.plan import (
    ACTIVATION,
    KINDS,
    NEEDS,
    NORMALISATION,
    POOLING,
    PRESETS,
    QUESTION,
    TITLE,
    Preset,
    arms_of,
    base_of,
    forecast,
    kinds_of,
    recipes_of,
    removed_from,
    without,
)
from convscope.chapters.nonlinearity.words import paragraphs_of

__all__ = ["ASKS", "NEEDS", "PRESETS", "QUESTION", "TITLE", "Preset", "chapter", "forecast"]
__all__ += [
    "ACTIVATION",
    "KINDS",
    "NORMALISATION",
    "POOLING",
    "Factorial",
    "arms_of",
    "base_of",
    "finding",
    "kinds_of",
    "measured_parts",
    "paragraphs_of",
    "recipes_of",
    "removed_from",
    "role_of",
    "split",
    "without",
]

ASKS = (MATTERS, LARGER)
