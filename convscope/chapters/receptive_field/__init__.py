"""Does one convolution with a large receptive field do better than a cascade, and why?"""

from __future__ import annotations

from convscope.chapters.receptive_field.analysis import chapter
from convscope.chapters.receptive_field.answers import SINGLE
from convscope.chapters.receptive_field.arms import (
    NEAR,
    Arms,
    Step,
    arms_of,
    matched,
    matched_heads,
)
from convscope.chapters.receptive_field.comparisons import Comparison, question_of, word_of
from convscope.chapters.receptive_field.fields import FeatureField
from convscope.chapters.receptive_field.plan import (
    MARGIN,
    NEEDS,
    PRESETS,
    QUESTION,
    TITLE,
    Preset,
    forecast,
    network_of_question_1,
    planned_arms,
)
from convscope.chapters.receptive_field.words import name_of

__all__ = ["ASKS", "NEEDS", "PRESETS", "QUESTION", "TITLE", "Preset", "chapter", "forecast"]
__all__ += [
    "MARGIN",
    "NEAR",
    "Arms",
    "Comparison",
    "FeatureField",
    "Step",
    "arms_of",
    "matched",
    "matched_heads",
    "name_of",
    "network_of_question_1",
    "planned_arms",
    "question_of",
    "word_of",
]

ASKS = (SINGLE,)
