"""convscope: how big a convolutional network do your images need, and what does each of its parts buy?

The public names are loaded when they are first used, so that importing convscope costs milliseconds.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from convscope.data import Dataset as Dataset
    from convscope.data import load as load
    from convscope.findings import Finding as Finding
    from convscope.models import size_of as size_of
    from convscope.probes import NotAffineError as NotAffineError
    from convscope.probes import collapse as collapse
    from convscope.probes import effective_field as effective_field
    from convscope.probes import flatten_order as flatten_order
    from convscope.probes import probe as probe
    from convscope.probes import receptive_field as receptive_field
    from convscope.recipe import ConvNet as ConvNet
    from convscope.recipe import Custom as Custom
    from convscope.recipe import Recipe as Recipe
    from convscope.recipe import SoftmaxRegression as SoftmaxRegression
    from convscope.recipe import UserError as UserError
    from convscope.record import Run as Run
    from convscope.studies import Study as Study
    from convscope.studies import study as study
    from convscope.training import network as network
    from convscope.training import train as train

_HOMES = {
    "ConvNet": "recipe",
    "Custom": "recipe",
    "Dataset": "data",
    "Finding": "findings",
    "NotAffineError": "probes",
    "Recipe": "recipe",
    "Run": "record",
    "SoftmaxRegression": "recipe",
    "Study": "studies",
    "UserError": "recipe",
    "collapse": "probes",
    "effective_field": "probes",
    "flatten_order": "probes",
    "load": "data",
    "network": "training",
    "probe": "probes",
    "receptive_field": "probes",
    "size_of": "models",
    "study": "studies",
    "train": "training",
}
__all__ = [
    "ConvNet",
    "Custom",
    "Dataset",
    "Finding",
    "NotAffineError",
    "Recipe",
    "Run",
    "SoftmaxRegression",
    "Study",
    "UserError",
    "collapse",
    "effective_field",
    "flatten_order",
    "load",
    "network",
    "probe",
    "receptive_field",
    "size_of",
    "study",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'convscope' has no attribute {name!r}")
    return getattr(importlib.import_module(f"convscope.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
