"""The tiny recipe on CIFAR-10 over seeds: accuracy, accuracy with eight bits, memory, minutes.

Every run is the command that a user types, in a process of its own. The accuracy with eight bits is
simulated (`convscope.deployment.Simulated`), calibrated on training images. The budget is that of
ST's ResNet-8: 62.5 KiB for feature maps, 76.9 KiB for weights.

Command: python bench/tiny.py [--seeds 3] [--first 0] [--keep FOLDER] [flags of `convscope train`]
writes bench/results/tiny.json; runs that are kept are found again
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from figures import Others, machine_line, markdown, wait_for_quiet
from strong import mean_and_spread

import convscope as cs
from convscope.deployment import Simulated, size_text
from convscope.training import Run, place, predict, read_finished, resident

HERE = Path(__file__).parent
RAM, FLASH = round(62.5 * 1024), round(76.9 * 1024)
GOALS = {"accuracy": 0.870, "int8": 0.856}
CALIBRATION, PART = 512, 128  # training images, and how many of them at a time


def trained(seed: int, flags: list[str], keep: Path | None) -> dict[str, Any]:
    wait_for_quiet()
    with nullcontext(keep / str(seed)) if keep else tempfile.TemporaryDirectory() as out:
        command = [
            str(Path(sys.executable).with_name("convscope")),
            *("train", "cifar10", "--recipe", "tiny", "--seed", str(seed), "--out", str(out)),
            *flags,
        ]
        others, started = Others(), time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        seconds = time.perf_counter() - started
        (folder,) = (path for path in Path(out).iterdir() if (path / "result.json").exists())
        run = read_finished(folder)
        assert run is not None
        return {
            "seed": seed,
            "seconds": seconds,
            "train_seconds": sum(row["train_seconds"] for row in run.rows),
            "epochs": run.recipe.epochs,
            "accuracy": run.rows[-1]["test_accuracy"],
            **with_eight_bits(run),
            "others": others.share(),
        }


def with_eight_bits(run: Run) -> dict[str, float]:
    """Test accuracy with weights and feature maps rounded, and without, by the same operations."""
    recipe = replace(run.recipe, device="cpu", precision="float32", kernels="library")
    # the network inside takes images as they lie in memory: normalised
    tensors, net = resident(recipe), cs.network(run, "last").network
    with torch.no_grad():
        parts = range(0, min(CALIBRATION, len(tensors.labels["train"])), PART)
        images = (tensors.inputs("train", slice(i, i + PART)) for i in parts)
        few = place(Simulated(net, images), recipe)
        shares = {}
        for name, network in (("float", place(net, recipe)), ("int8", few)):
            right = predict(network, tensors, "test", recipe).argmax(1) == tensors.labels["test"]
            shares[name] = float(right.double().mean())
    return shares


def needs() -> cs.DeviceFit:
    """What the network needs; it must fit the budget."""
    from convscope.recipes import tiny

    fit = cs.device_fit(tiny.NETWORK, (3, 32, 32))
    assert fit.peak_bytes <= RAM and fit.weight_bytes <= FLASH
    return fit


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="where the runs stay, a folder a seed")
    asked, flags = parser.parse_known_args()
    fit, runs = needs(), []
    for seed in range(asked.first, asked.first + asked.seeds):
        runs.append(trained(seed, flags, asked.keep))
        print(json.dumps(runs[-1]), file=sys.stderr, flush=True)
    print(machine_line())
    rows = [
        [
            str(r["seed"]),
            str(r["epochs"]),
            f"{r['train_seconds'] / 60:.1f}",
            f"{r['seconds'] / 60:.1f}",
            f"{100 * r['accuracy']:.2f} %",
            f"{100 * r['int8']:.2f} %",
        ]
        for r in runs
    ]
    heads = ("seed", "epochs", "training, minutes", "whole command, minutes", "float", "8 bits")
    print(markdown(heads, rows))
    print(f"feature maps {size_text(fit.peak_bytes)}, weights {size_text(fit.weight_bytes)}")
    for name, goal in GOALS.items():
        values = [r[name] for r in runs]
        word = "reaches" if sum(values) / len(values) >= goal else "does not reach"
        print(f"{name}: {mean_and_spread(values)}, {word} {goal:.1%}")
    (HERE / "results").mkdir(exist_ok=True)
    (HERE / "results" / "tiny.json").write_text(json.dumps({"flags": flags, "runs": runs}))


if __name__ == "__main__":
    main()
