"""How long `convscope predict` takes for 10,000 images, and `convscope export`, process and all.

    python bench/predicting.py RUN [--images 10000] [--export]

RUN: a finished run on images of 32×32. The images are PNG files in a folder, made from noise.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

COMMAND = [sys.executable, "-c", "import convscope.cli; convscope.cli.main()"]


def write_images(folder: Path, count: int, side: int) -> None:
    """PNG files of smooth noise, which takes about the bytes that photographs take."""
    draw = np.random.default_rng(0)
    for i in range(count):
        coarse = draw.integers(0, 256, (side // 4, side // 4, 3), dtype=np.uint8)
        fine = np.asarray(Image.fromarray(coarse).resize((side, side))).astype(np.int16)
        pixels = np.clip(fine + draw.integers(-9, 10, fine.shape), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{i:06d}.png")


def seconds_of(*arguments: str) -> tuple[float, float, int]:
    """Seconds on the clock and of the processors, and the exit code."""
    before, started = os.times(), time.perf_counter()
    done = subprocess.run([*COMMAND, *arguments], stdout=subprocess.DEVNULL)
    wall, after = time.perf_counter() - started, os.times()
    used = after.children_user + after.children_system
    return wall, used - before.children_user - before.children_system, done.returncode


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run")
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--side", type=int, default=32)
    parser.add_argument("--export", action="store_true", help="time the export, too")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place, "images")
        folder.mkdir()
        write_images(folder, given.images, given.side)
        commands = [("predict", given.run, str(folder), "--csv")] * 2
        if given.export:
            commands.append(("export", given.run, "--to", str(Path(place, "exported"))))
        for command in commands:
            load = os.getloadavg()[0]
            wall, used, code = seconds_of(*command)
            print(
                f"{command[0]}: {wall:.1f} s, {used:.1f} s of processors, exit code {code}, "
                f"load before {load:.1f} on {os.cpu_count()} cores",
                flush=True,
            )


if __name__ == "__main__":
    main()
