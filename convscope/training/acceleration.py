"""The only door to `convscope.fast`, the annex of faster modules and compiled kernels.

Where the annex is not installed, networks compute by torch's own operations, and `why_no_kernels`
says so.
"""

from __future__ import annotations

import functools
import os
import threading
from dataclasses import replace
from types import ModuleType
from typing import Any

from torch import nn

from convscope.errors import UserError, one_line
from convscope.recipe import Recipe
from convscope.training.tensors import DTYPES

SWITCH = "CONVSCOPE_KERNELS"  # "library" in the environment: no compiled kernels anywhere


@functools.cache
def annex() -> ModuleType | None:
    """The package `convscope.fast`; None where it is not installed."""
    try:
        from convscope import fast
    except ImportError:
        return None
    return fast if fast.__file__ else None  # a folder may be left without its files


def why_no_kernels(precision: str, kind: str = "compiled") -> str:
    """Empty where kernels of this kind ("library", "compiled" or "winograd") can be used on this
    machine in this precision, else the reason. Raises UserError where the environment variable
    CONVSCOPE_KERNELS has another value than "library"."""
    if (switch := os.environ.get(SWITCH, "")) not in ("", "library"):
        raise UserError(f"{SWITCH} = {one_line(switch)}: not library, which switches them off")
    if kind == "library":
        return ""
    if switch:
        return f"switched off by {SWITCH} = library"
    if (fast := annex()) is None:
        return "convscope.fast is not installed"
    return fast.why_not(DTYPES[precision], kind)


def accelerate(net: nn.Module, recipe: Recipe, *, or_library: bool = False) -> nn.Module:
    """The network with faster modules, which share its parameters and buffers.

    It computes by the recipe's kernels. Where this machine hasn't got them that is an error, or,
    with `or_library`, it computes by the library, which gives the same up to rounding: for whoever
    looks at a trained network. Raises UserError.
    """
    if recipe.device == "cpu" and (reason := why_no_kernels(recipe.precision, recipe.kernels)):
        if not or_library:
            raise UserError(
                f"kernels = {recipe.kernels}: {one_line(reason)}; kernels = library needs nothing"
            )
        recipe = replace(recipe, kernels="library")
    return net if (fast := annex()) is None else fast.accelerate(net, recipe)


def build_kernels_ahead() -> threading.Thread | None:
    """Compile in the background what this machine will most likely use; None where nothing is."""
    fast = annex()
    return None if fast is None or os.environ.get(SWITCH) else fast.build_ahead()


def kernels_have_one_thread() -> bool:
    """Whether compiled kernels use one thread here, however many torch uses."""
    return (fast := annex()) is not None and not fast.are_threaded()


def kernels_identity() -> str:
    """What kernels this machine would have, without compiling any; empty where it has none."""
    return "" if (fast := annex()) is None else fast.identity()


def kernels_in_use(recipe: Recipe) -> dict[str, Any]:
    """What the kernels of a recipe were built by on this machine; empty for the library's."""
    fast = annex()
    if fast is None or recipe.kernels == "library":
        return {}
    if why_no_kernels(recipe.precision, recipe.kernels):
        return {}
    return fast.description_of(DTYPES[recipe.precision])
