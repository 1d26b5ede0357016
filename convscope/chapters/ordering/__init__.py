"""Does the order of the flattened activations matter?"""

from __future__ import annotations

from convscope.chapters.ordering.analysis import chapter, exactness, finding, verdict_of
from convscope.chapters.ordering.charts import exact_tables, orders_chart, orders_table
from convscope.chapters.ordering.plan import (
    BATCH,
    EACH,
    EXACT,
    FIXED,
    MARGIN,
    NAMES,
    NEEDS,
    PIXELS,
    PRESETS,
    QUESTION,
    STEPS,
    TITLE,
    Preset,
    arm_of,
    forecast,
    recipes_of,
    seeds_of,
    tuned_arms,
    with_rates,
)
from convscope.chapters.ordering.words import paragraphs_of, sentence_of

__all__ = [
    "BATCH",
    "EACH",
    "EXACT",
    "FIXED",
    "MARGIN",
    "NAMES",
    "NEEDS",
    "PIXELS",
    "PRESETS",
    "QUESTION",
    "STEPS",
    "TITLE",
    "Preset",
    "arm_of",
    "chapter",
    "exact_tables",
    "exactness",
    "finding",
    "forecast",
    "orders_chart",
    "orders_table",
    "paragraphs_of",
    "recipes_of",
    "seeds_of",
    "sentence_of",
    "tuned_arms",
    "verdict_of",
    "with_rates",
]
