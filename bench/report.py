"""How long a study's report takes to write again: all six chapters, about 500 runs.

The study is trained first, on a slice of CIFAR-10 (so that its runs take seconds), with as many
seeds as give about 500 runs (six give 302). Only `convscope report`, the whole process, is timed.

Command: python bench/report.py [--seeds 12] [--turns 3]       about ten minutes with six seeds
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from figures import machine_line, markdown, spread
from startup import CONVSCOPE, seconds

from convscope import data
from convscope.data import Split

TRAIN, TEST = 1000, 500  # images


def pixels(split: Split, count: int) -> tuple[np.ndarray, np.ndarray]:
    return split.images[:count].permute(0, 2, 3, 1).contiguous().numpy(), split.labels[
        :count
    ].numpy()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=12)
    parser.add_argument("--turns", type=int, default=3)
    asked = parser.parse_args()
    whole = data.load("cifar10")
    with tempfile.TemporaryDirectory() as out:
        images, study = Path(out) / "slice.npz", Path(out) / "study"
        (x_train, y_train), (x_test, y_test) = pixels(whole.train, TRAIN), pixels(whole.test, TEST)
        np.savez(images, x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test)
        command = [
            CONVSCOPE,
            "study",
            str(images),
            "--seeds",
            str(asked.seeds),
            "--out",
            str(study),
        ]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        runs = len(json.loads((study / "results.json").read_text(encoding="utf-8"))["runs"])
        times = [seconds("report", str(study)) for _ in range(asked.turns)]
    row = [f"convscope report, six chapters, {runs:,} runs", spread(times)]
    print(
        f"{machine_line()}\n\n"
        f"{markdown(('command', 'seconds of the whole process: median'), [row])}"
    )


if __name__ == "__main__":
    main()
