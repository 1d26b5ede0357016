"""How many filters, layers and parameters do these images need; where do networks underfit, where overfit?"""

from __future__ import annotations

from convscope.chapters.capacity.analysis import chapter, finding
from convscope.chapters.capacity.charts import charts_of, networks_table
from convscope.chapters.capacity.plan import (
    NEEDS,
    PRESETS,
    QUESTION,
    TITLE,
    Preset,
    first,
    forecast,
    references_of,
    second,
    sweep_of,
    sweeps_of,
    tuned_of,
    widths,
)
from convscope.chapters.capacity.words import (
    clause_of_sweep,
    counted,
    kind_of,
    paragraphs_of,
    percent,
    pilots_told,
    sentence_of,
    sweeps_among,
    words_of_sweep,
)

__all__ = [
    "NEEDS",
    "PRESETS",
    "QUESTION",
    "TITLE",
    "Preset",
    "chapter",
    "charts_of",
    "clause_of_sweep",
    "counted",
    "finding",
    "first",
    "forecast",
    "kind_of",
    "networks_table",
    "paragraphs_of",
    "percent",
    "pilots_told",
    "references_of",
    "second",
    "sentence_of",
    "sweep_of",
    "sweeps_among",
    "sweeps_of",
    "tuned_of",
    "widths",
    "words_of_sweep",
]
