"""convscope: how big a convolutional network images need, and what each of its parts buys.

The public names are loaded when they are first used, so that importing costs milliseconds.
"""

from __future__ import annotations

import importlib
import sys
import types
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from convscope.data import Dataset as Dataset
    from convscope.data import load as load
    from convscope.deployment import DeviceFit as DeviceFit
    from convscope.deployment import Export as Export
    from convscope.deployment import Predictions as Predictions
    from convscope.deployment import device_fit as device_fit
    from convscope.deployment import export as export
    from convscope.deployment import load_run as load_run
    from convscope.deployment import network as network
    from convscope.deployment import predict as predict
    from convscope.deployment import runs as runs
    from convscope.errors import UserError as UserError
    from convscope.machine import tuned as tuned
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
    from convscope.report import Finding as Finding
    from convscope.statistics import Comparison as Comparison
    from convscope.statistics import SweepVerdict as SweepVerdict
    from convscope.statistics import compare as compare
    from convscope.statistics import sweep_verdict as sweep_verdict
    from convscope.studies import Study as Study
    from convscope.studies import SweepResult as SweepResult
    from convscope.studies import study as study
    from convscope.studies import sweep as sweep
    from convscope.training import Run as Run
    from convscope.training import train as train

_HOMES = {
    "Comparison": "statistics",
    "ConvNet": "recipe",
    "Custom": "recipe",
    "Dataset": "data",
    "DeviceFit": "deployment",
    "Export": "deployment",
    "Finding": "report",
    "NotAffineError": "probes",
    "Predictions": "deployment",
    "Recipe": "recipe",
    "Run": "training",
    "SoftmaxRegression": "recipe",
    "Study": "studies",
    "SweepResult": "studies",
    "SweepVerdict": "statistics",
    "UserError": "errors",
    "collapse": "probes",
    "compare": "statistics",
    "device_fit": "deployment",
    "effective_field": "probes",
    "export": "deployment",
    "flatten_order": "probes",
    "load": "data",
    "load_run": "deployment",
    "network": "deployment",
    "predict": "deployment",
    "probe": "probes",
    "receptive_field": "probes",
    "runs": "deployment",
    "size_of": "models",
    "study": "studies",
    "sweep": "studies",
    "sweep_verdict": "statistics",
    "train": "training",
    "tuned": "machine",
}
__all__ = [
    "Comparison",
    "ConvNet",
    "Custom",
    "Dataset",
    "DeviceFit",
    "Export",
    "Finding",
    "NotAffineError",
    "Predictions",
    "Recipe",
    "Run",
    "SoftmaxRegression",
    "Study",
    "SweepResult",
    "SweepVerdict",
    "UserError",
    "collapse",
    "compare",
    "device_fit",
    "effective_field",
    "export",
    "flatten_order",
    "load",
    "load_run",
    "network",
    "predict",
    "probe",
    "receptive_field",
    "runs",
    "size_of",
    "study",
    "sweep",
    "sweep_verdict",
    "train",
    "tuned",
]


def lazily(package: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """A package's `__getattr__`, which loads a public name when it is first used.

    package: its name.
    homes: for each public name the module below the package that has it.
    """

    def get(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(f"{package}.{homes[name]}"), name)

    return get


def installed_version() -> str:
    """The version of the installed package; "not installed" where a source tree runs by itself."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("convscope")
    except PackageNotFoundError:
        return "not installed"


if not TYPE_CHECKING:  # else any name would pass for one of the face's
    __getattr__ = lazily(__name__, _HOMES)
    # the room `machine` under its first name, by which scripts ask for the number of cores
    device = sys.modules[f"{__name__}.device"] = types.ModuleType(f"{__name__}.device")
    device.__getattr__ = lazily(__name__, {"cores": "machine", "this_machine": "machine"})


def __dir__() -> list[str]:
    return __all__
