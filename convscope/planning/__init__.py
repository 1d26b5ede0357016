"""What chapters share to plan: context, requests, budgets, epochs, arms, pilots, the search."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convscope import lazily

if TYPE_CHECKING:
    from convscope.planning.arms import arm_recipe as arm_recipe
    from convscope.planning.arms import final_arms as final_arms
    from convscope.planning.budgets import CHAPTER_OVERHEAD as CHAPTER_OVERHEAD
    from convscope.planning.budgets import OVERHEAD as OVERHEAD
    from convscope.planning.budgets import WELL_IMAGES as WELL_IMAGES
    from convscope.planning.budgets import asked_well as asked_well
    from convscope.planning.budgets import asks_well as asks_well
    from convscope.planning.budgets import by_worth as by_worth
    from convscope.planning.budgets import check_budget as check_budget
    from convscope.planning.budgets import duration as duration
    from convscope.planning.budgets import in_order as in_order
    from convscope.planning.budgets import last_levels as last_levels
    from convscope.planning.budgets import least_well as least_well
    from convscope.planning.budgets import levels as levels
    from convscope.planning.budgets import parse_budget as parse_budget
    from convscope.planning.context import BudgetFit as BudgetFit
    from convscope.planning.context import Context as Context
    from convscope.planning.device_limits import DeviceLimits as DeviceLimits
    from convscope.planning.device_limits import fits_device as fits_device
    from convscope.planning.device_limits import limits_of as limits_of
    from convscope.planning.device_limits import needs as needs
    from convscope.planning.device_limits import widest as widest
    from convscope.planning.device_limits import within_limits as within_limits
    from convscope.planning.epochs import base_recipe as base_recipe
    from convscope.planning.epochs import epochs_of as epochs_of
    from convscope.planning.epochs import epochs_to_turn as epochs_to_turn
    from convscope.planning.epochs import leaves_room as leaves_room
    from convscope.planning.epochs import nested_subsets as nested_subsets
    from convscope.planning.epochs import shallower as shallower
    from convscope.planning.epochs import smallest_of_capacity as smallest_of_capacity
    from convscope.planning.grids import SETTINGS as SETTINGS
    from convscope.planning.grids import asked_of as asked_of
    from convscope.planning.grids import checked_grids as checked_grids
    from convscope.planning.grids import preset_of as preset_of
    from convscope.planning.pilots import MANY_IMAGES as MANY_IMAGES
    from convscope.planning.pilots import pilot_of as pilot_of
    from convscope.planning.pilots import pilots_of as pilots_of
    from convscope.planning.pilots import rates_from as rates_from
    from convscope.planning.pilots import rates_table as rates_table
    from convscope.planning.pilots import transferred as transferred
    from convscope.planning.pilots import tuned_rates as tuned_rates
    from convscope.planning.reference import OPTIMIZERS as OPTIMIZERS
    from convscope.planning.reference import RATES as RATES
    from convscope.planning.reference import preset_model as preset_model
    from convscope.planning.reference import reference_model as reference_model
    from convscope.planning.reference import reference_recipe as reference_recipe
    from convscope.planning.requests import SHORT_ROLES as SHORT_ROLES
    from convscope.planning.requests import Answer as Answer
    from convscope.planning.requests import Chapter as Chapter
    from convscope.planning.requests import Give as Give
    from convscope.planning.requests import Request as Request
    from convscope.planning.requests import Role as Role
    from convscope.planning.requests import Step as Step
    from convscope.planning.requests import Wait as Wait
    from convscope.planning.search import IMPORTANCE_TRIALS as IMPORTANCE_TRIALS
    from convscope.planning.search import Proposer as Proposer
    from convscope.planning.search_journal import JOURNAL as JOURNAL
    from convscope.planning.search_request import Search as Search
    from convscope.planning.search_request import check_search as check_search
    from convscope.planning.search_space import describe_configuration as describe_configuration
    from convscope.planning.tried import Tried as Tried

_HOMES = {
    "Answer": "requests",
    "BudgetFit": "context",
    "CHAPTER_OVERHEAD": "budgets",
    "Chapter": "requests",
    "Context": "context",
    "DeviceLimits": "device_limits",
    "Give": "requests",
    "IMPORTANCE_TRIALS": "search",
    "JOURNAL": "search_journal",
    "MANY_IMAGES": "pilots",
    "OPTIMIZERS": "reference",
    "OVERHEAD": "budgets",
    "Proposer": "search",
    "RATES": "reference",
    "Request": "requests",
    "Role": "requests",
    "SETTINGS": "grids",
    "SHORT_ROLES": "requests",
    "Search": "search_request",
    "Step": "requests",
    "Tried": "tried",
    "Wait": "requests",
    "arm_recipe": "arms",
    "WELL_IMAGES": "budgets",
    "asked_of": "grids",
    "asked_well": "budgets",
    "asks_well": "budgets",
    "base_recipe": "epochs",
    "by_worth": "budgets",
    "check_search": "search_request",
    "checked_grids": "grids",
    "describe_configuration": "search_space",
    "check_budget": "budgets",
    "duration": "budgets",
    "epochs_of": "epochs",
    "epochs_to_turn": "epochs",
    "final_arms": "arms",
    "fits_device": "device_limits",
    "in_order": "budgets",
    "leaves_room": "epochs",
    "last_levels": "budgets",
    "least_well": "budgets",
    "levels": "budgets",
    "limits_of": "device_limits",
    "needs": "device_limits",
    "nested_subsets": "epochs",
    "parse_budget": "budgets",
    "pilot_of": "pilots",
    "pilots_of": "pilots",
    "preset_model": "reference",
    "preset_of": "grids",
    "rates_from": "pilots",
    "rates_table": "pilots",
    "reference_model": "reference",
    "reference_recipe": "reference",
    "shallower": "epochs",
    "smallest_of_capacity": "epochs",
    "transferred": "pilots",
    "tuned_rates": "pilots",
    "widest": "device_limits",
    "within_limits": "device_limits",
}
if not TYPE_CHECKING:  # else any name would pass for one of the face's
    __getattr__ = lazily(__name__, _HOMES)
