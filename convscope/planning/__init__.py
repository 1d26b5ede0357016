"""What chapters share when they plan: context, budgets, epochs, pilots, the reference recipe, search."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convscope import lazily

if TYPE_CHECKING:
    from convscope.planning.budgets import CHAPTER_OVERHEAD as CHAPTER_OVERHEAD
    from convscope.planning.budgets import OVERHEAD as OVERHEAD
    from convscope.planning.budgets import duration as duration
    from convscope.planning.budgets import levels as levels
    from convscope.planning.budgets import parse_budget as parse_budget
    from convscope.planning.context import Chapter as Chapter
    from convscope.planning.context import Context as Context
    from convscope.planning.context import Fit as Fit
    from convscope.planning.context import Search as Search
    from convscope.planning.epochs import base_of as base_of
    from convscope.planning.epochs import epochs_of as epochs_of
    from convscope.planning.epochs import fits as fits
    from convscope.planning.epochs import shallower as shallower
    from convscope.planning.epochs import smallest_of_capacity as smallest_of_capacity
    from convscope.planning.pilots import ends as ends
    from convscope.planning.pilots import pilots_of as pilots_of
    from convscope.planning.pilots import rates_table as rates_table
    from convscope.planning.pilots import transferred as transferred
    from convscope.planning.pilots import tuned as tuned
    from convscope.planning.pilots import whole as whole
    from convscope.planning.reference import OPTIMIZERS as OPTIMIZERS
    from convscope.planning.reference import RATES as RATES
    from convscope.planning.reference import strong_model as strong_model
    from convscope.planning.reference import strong_of as strong_of
    from convscope.planning.search import IMPORTANCE_TRIALS as IMPORTANCE_TRIALS
    from convscope.planning.search import JOURNAL as JOURNAL
    from convscope.planning.search import Proposer as Proposer
    from convscope.planning.search import Tried as Tried
    from convscope.planning.search import check as check
    from convscope.planning.search_space import describe as describe

_HOMES = {
    "CHAPTER_OVERHEAD": "budgets",
    "Chapter": "context",
    "Context": "context",
    "Fit": "context",
    "IMPORTANCE_TRIALS": "search",
    "JOURNAL": "search",
    "OPTIMIZERS": "reference",
    "OVERHEAD": "budgets",
    "Proposer": "search",
    "RATES": "reference",
    "Search": "context",
    "Tried": "search",
    "base_of": "epochs",
    "check": "search",
    "describe": "search_space",
    "duration": "budgets",
    "ends": "pilots",
    "epochs_of": "epochs",
    "fits": "epochs",
    "levels": "budgets",
    "parse_budget": "budgets",
    "pilots_of": "pilots",
    "rates_table": "pilots",
    "shallower": "epochs",
    "smallest_of_capacity": "epochs",
    "strong_model": "reference",
    "strong_of": "reference",
    "transferred": "pilots",
    "tuned": "pilots",
    "whole": "pilots",
}
if not TYPE_CHECKING:  # else any name would pass for one of the face's
    __getattr__ = lazily(__name__, _HOMES)
