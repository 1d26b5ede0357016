"""The network leaves the study: predictions, exported files, what fits a device."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convscope import lazily

if TYPE_CHECKING:
    from convscope.deployment.calibration import Calibration as Calibration
    from convscope.deployment.device_family import Needs as Needs
    from convscope.deployment.device_family import needs_of as needs_of
    from convscope.deployment.device_memory import DeviceFit as DeviceFit
    from convscope.deployment.device_memory import device_fit as device_fit
    from convscope.deployment.device_quantised import Simulated as Simulated
    from convscope.deployment.device_sizes import parse_count as parse_count
    from convscope.deployment.device_sizes import parse_size as parse_size
    from convscope.deployment.device_sizes import size_text as size_text
    from convscope.deployment.exporting import Export as Export
    from convscope.deployment.exporting import export as export
    from convscope.deployment.image_network import ImageNetwork as ImageNetwork
    from convscope.deployment.image_network import network as network
    from convscope.deployment.predicting import Predictions as Predictions
    from convscope.deployment.predicting import predict as predict
    from convscope.deployment.run_card import load_run as load_run
    from convscope.deployment.run_card import runs as runs

_HOMES: dict[str, str] = {
    "Calibration": "calibration",
    "DeviceFit": "device_memory",
    "Export": "exporting",
    "ImageNetwork": "image_network",
    "Needs": "device_family",
    "Predictions": "predicting",
    "Simulated": "device_quantised",
    "device_fit": "device_memory",
    "export": "exporting",
    "load_run": "run_card",
    "needs_of": "device_family",
    "network": "image_network",
    "parse_count": "device_sizes",
    "parse_size": "device_sizes",
    "predict": "predicting",
    "runs": "run_card",
    "size_text": "device_sizes",
}
if not TYPE_CHECKING:  # else any name would pass for one of the face's
    __getattr__ = lazily(__name__, _HOMES)
