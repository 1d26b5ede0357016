"""Quick from the first second: `convscope --help`, and `convscope runs` on 1,000 finished runs.

Seconds are those of whole processes. The runs lie in one folder, recorded as training records them,
with made-up figures and weights of four numbers. Nothing but the listing is timed.

Command: python bench/startup.py [--runs 1000] [--turns 5]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from figures import machine_line, markdown, spread

from convscope.recipe import ConvNet, Recipe
from convscope.training import RunFolder, State

EPOCHS = 6
CONVSCOPE = str(Path(sys.executable).with_name("convscope"))


def record(root: Path, seed: int) -> None:
    recipe = Recipe(model=ConvNet(16, 3, hidden=(256,)), epochs=EPOCHS, seed=seed)
    folder = RunFolder(root / recipe.id)
    folder.path.mkdir(parents=True)
    folder.begin(recipe)
    folder.resume()
    for epoch in range(1, EPOCHS + 1):
        figures = {
            f"{split}_{what}": 1 / epoch
            for split in ("train", "val", "test")
            for what in ("loss", "accuracy", "loss_sd")
        }
        times = {"epoch": epoch, "lr": recipe.lr, "train_seconds": 1.0, "seconds": 2.0}
        folder.epoch({**times, **figures}, State(epoch, {"net.weight": torch.zeros(4)}))
    folder.finish(recipe, "finished", {"filters": 112, "parameters": 288_554, "flops": 6_132_736})


def seconds(*arguments: str) -> float:
    started = time.perf_counter()
    subprocess.run([CONVSCOPE, *arguments], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--turns", type=int, default=5)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as out:
        for seed in range(asked.runs):
            record(Path(out), seed)
        commands = {
            "convscope --help": ("--help",),
            f"convscope runs, {asked.runs:,} runs": ("runs", out),
        }
        rows = [
            [name, spread([seconds(*arguments) for _ in range(asked.turns)])]
            for name, arguments in commands.items()
        ]
    print(
        f"{machine_line()}\n\n{markdown(('command', 'seconds of the whole process: median'), rows)}"
    )


if __name__ == "__main__":
    main()
