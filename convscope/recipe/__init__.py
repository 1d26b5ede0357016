"""What a run is: frozen dataclasses, JSON in and out, a stable id. Standard library only."""

from __future__ import annotations

from convscope.recipe.checks import hints_of
from convscope.recipe.descriptions import described_fields
from convscope.recipe.json_form import to_json
from convscope.recipe.labels import hidden_of, label_of, short_label_of
from convscope.recipe.networks import ConvNet, Custom, Model, SoftmaxRegression
from convscope.recipe.reading import model_from_json, read_recipe, recipe_from_json
from convscope.recipe.recipe import REVISION, Kernels, Layout, Precision, Recipe

__all__ = [
    "REVISION",
    "ConvNet",
    "Custom",
    "Kernels",
    "Layout",
    "Model",
    "Precision",
    "Recipe",
    "SoftmaxRegression",
    "described_fields",
    "hidden_of",
    "hints_of",
    "label_of",
    "model_from_json",
    "read_recipe",
    "recipe_from_json",
    "short_label_of",
    "to_json",
]
