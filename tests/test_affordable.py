"""Which candidate is cheap enough for the chapters that train a network dozens of times."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import made
import torch

from convscope.chapters.best.outcome import given_by
from convscope.data.dataset import Split
from convscope.models.sizes import size_of
from convscope.planning.context import BudgetFit
from convscope.planning.reference import preset_model, reference_recipe
from convscope.recipe.recipe import Recipe

MANY = 45_000


def test_a_budget_takes_its_share_of_the_limit_not_what_rounding_leaves() -> None:
    """Six tenths of four epochs are two: half of the limit, for what hardly learns."""
    images = torch.zeros(1, dtype=torch.uint8).expand(MANY, 3, 32, 32)
    data = replace(made.images((3, 32, 32)), train=Split(images, torch.arange(MANY) % 10))
    whole = made.context("best", data)
    less = replace(whole, fit=BudgetFit(epochs=0.6))
    assert [reference_recipe(one).epochs for one in (whole, less)] == [4, 2]
    most = 0.35 * size_of(preset_model(whole), data.in_shape, 10).flops
    recipe = Recipe(epochs=1)
    asked: list[float] = []

    def affordable(limit: float) -> Any:
        asked.append(limit / MANY)
        return one

    one = SimpleNamespace(recipe=recipe, run=None)
    selection: Any = SimpleNamespace(winner=one, smallest=one, affordable=affordable)
    for context in (whole, less):
        assert given_by(context, selection).affordable == recipe
    assert [round(limit / most, 6) for limit in asked] == [4.0, 2.4]
