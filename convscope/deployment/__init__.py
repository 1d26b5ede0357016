"""The network leaves the study: predictions, exported files, what fits a device."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convscope import lazily

if TYPE_CHECKING:
    from convscope.deployment.calibration import Calibration as Calibration
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
    "Export": "exporting",
    "ImageNetwork": "image_network",
    "Predictions": "predicting",
    "export": "exporting",
    "load_run": "run_card",
    "network": "image_network",
    "predict": "predicting",
    "runs": "run_card",
}
if not TYPE_CHECKING:  # else any name would pass for one of the face's
    __getattr__ = lazily(__name__, _HOMES)
