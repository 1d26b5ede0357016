"""What the page's playground begins with: the study's images and the network that it chose."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def playground_of(tree: Mapping[str, Any]) -> dict[str, Any]:
    """The data of the playground.

    tree: of results.json. `start` holds the settings of the smallest network that is as good as
    the best one; without that chapter those of the network of lowest validation loss.
    """
    study = tree["study"]
    return {
        "shape": list(study["in_shape"]),
        "classes": len(study["classes"]),
        "start": start(tree),
    }


def start(tree: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a ConvNet; empty, the default one, where the study has trained none."""
    runs = [
        run
        for run in tree["runs"]
        if run["model"]["kind"] == "convnet" and run["best"] and run["best"]["val_loss"] is not None
    ]
    small = tree["chapters"].get("best", {}).get("numbers", {}).get("smallest")
    chosen = next((run for run in runs if run["id"] == small), None)
    if chosen is None:
        chosen = min(runs, key=lambda run: run["best"]["val_loss"], default=None)
    return {key: value for key, value in chosen["model"].items() if key != "kind"} if chosen else {}
