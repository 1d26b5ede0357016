"""Do networks answer alike at 8 bits, simulated in torch and quantised in onnxruntime?

The simulation (`convscope.deployment.Simulated`) is what a study with --ram and bench/tiny.py
quote; onnxruntime runs the exported model.int8.onnx. Both take their ranges from training images
and are judged on the whole test set. Accuracies are paired by image: each against float32, and one
against the other, with 95 % intervals.

Command: python bench/eight_bits.py RUN [RUN ...]
RUN: a finished run's folder, or a study's, which stands for its winner.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from figures import machine_line, markdown
from numpy.typing import NDArray

import convscope as cs
from convscope.data import load
from convscope.deployment import Simulated
from convscope.deployment.exporting import INT8
from convscope.deployment.onnx_running import OnnxNetwork
from convscope.statistics import paired_difference
from convscope.training import Run, place, predict, resident

CALIBRATION, PART = 512, 128  # training images, and how many of them at a time
Right = NDArray[np.bool_]


def simulated(run: Run) -> tuple[Right, Right]:
    """Which test images are classified right, in float32 and at 8 bits, by torch."""
    recipe = replace(run.recipe, device="cpu", precision="float32", kernels="library")
    tensors, net = resident(recipe), cs.network(run).network
    labels = tensors.labels["test"]
    with torch.no_grad():
        parts = range(0, min(CALIBRATION, len(tensors.labels["train"])), PART)
        few = Simulated(net, (tensors.inputs("train", slice(i, i + PART)) for i in parts))
        answers = [
            predict(place(one, recipe), tensors, "test", recipe).argmax(1) == labels
            for one in (net, few)
        ]
    return answers[0].numpy(), answers[1].numpy()


def exported(run: Run) -> Right:
    """Which test images onnxruntime classifies right at 8 bits."""
    recipe = run.recipe
    data = load(recipe.data, val=recipe.val, split_seed=recipe.split_seed)
    with tempfile.TemporaryDirectory() as folder:
        cs.export(run, folder, data=data)
        network = OnnxNetwork(Path(folder, INT8).read_bytes())
        return (network.over(data.test.images).argmax(1) == data.test.labels).numpy()


def points(ours: Right, theirs: Right) -> str:
    """The difference in points of accuracy, with its interval."""
    found = paired_difference([ours.astype(float)], [theirs.astype(float)])
    return f"{100 * found.mean:+.2f} ({100 * found.low:+.2f} to {100 * found.high:+.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="+", metavar="RUN")
    rows = []
    for name in parser.parse_args().runs:
        run = cs.load_run(name)
        plain, few = simulated(run)
        onnx = exported(run)
        rows.append(
            [
                f"{run.id} ({run.size['parameters']:,} parameters)",
                f"{100 * plain.mean():.2f} %",
                points(few, plain),
                points(onnx, plain),
                points(few, onnx),
                f"{(few == onnx).mean():.2%}",
            ]
        )
    print(machine_line())
    heads = (
        *("run", "float32", "simulated − float32", "onnxruntime − float32"),
        *("simulated − onnxruntime", "right or wrong together"),
    )
    print(markdown(heads, rows))


if __name__ == "__main__":
    main()
