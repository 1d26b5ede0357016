"""Named recipes: one small file for each named result, its header stating the claim."""

from __future__ import annotations

import importlib

from convscope.recipe import Recipe

NAMED = ("strong", "tiny")


def named(name: str, images: int) -> Recipe:
    """The recipe of that name for so many training images."""
    return importlib.import_module(f"convscope.recipes.{name}").recipe(images)
