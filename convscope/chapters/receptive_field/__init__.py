"""What does the cascade of convolution and pooling buy over one wide layer?"""

from __future__ import annotations

from convscope.chapters.receptive_field.analysis import chapter, finding
from convscope.chapters.receptive_field.charts import (
    arms_table,
    comparisons_table,
    effects_chart,
    field_charts,
    field_gallery,
)
from convscope.chapters.receptive_field.comparisons import (
    Comparison,
    chosen_head,
    comparisons_of,
    near,
    single,
    strongest,
    verdict_of,
)
from convscope.chapters.receptive_field.fields import FeatureField, effective, field_of
from convscope.chapters.receptive_field.plan import (
    COURSE,
    HEADS,
    NEAR,
    NEEDS,
    PRESETS,
    QUESTION,
    SAMPLES,
    TITLE,
    Preset,
    forecast,
    matched,
    models_of,
    recipes_of,
)
from convscope.chapters.receptive_field.words import (
    brief_of,
    name_of,
    paragraphs_of,
    places,
    sentence_of,
)

__all__ = [
    "COURSE",
    "HEADS",
    "NEAR",
    "NEEDS",
    "PRESETS",
    "QUESTION",
    "SAMPLES",
    "TITLE",
    "Comparison",
    "FeatureField",
    "Preset",
    "arms_table",
    "brief_of",
    "chapter",
    "chosen_head",
    "comparisons_of",
    "comparisons_table",
    "effective",
    "effects_chart",
    "field_charts",
    "field_gallery",
    "field_of",
    "finding",
    "forecast",
    "matched",
    "models_of",
    "name_of",
    "near",
    "paragraphs_of",
    "places",
    "recipes_of",
    "sentence_of",
    "single",
    "strongest",
    "verdict_of",
]
