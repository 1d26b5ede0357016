"""Time to 94 % on CIFAR-10: the strong recipe over seeds, on all of this machine's cores.

With and without several views of each test image. Every run is the command that a user types, in a
process of its own. Seconds are those of training (all epochs, without evaluation) and of the whole
process.

Command: python bench/strong.py [--seeds 3] [flags of `convscope train`]
writes bench/results/strong.json
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from figures import Others, machine_line, markdown, wait_for_quiet

HERE = Path(__file__).parent
GOAL = 0.94
HEAD = (
    "seed",
    "training, minutes",
    "whole command, minutes",
    "test accuracy",
    "one view of each image",
    "test loss, one view",
)


def trained(seed: int, flags: list[str]) -> dict[str, Any]:
    wait_for_quiet()
    with tempfile.TemporaryDirectory() as out:
        command = [
            str(Path(sys.executable).with_name("convscope")),
            "train",
            "cifar10",
            "--recipe",
            "strong",
            "--seed",
            str(seed),
            "--out",
            out,
            "--json",
            *flags,
        ]
        others, started = Others(), time.perf_counter()
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        seconds = time.perf_counter() - started
    rows = json.loads(done.stdout)["rows"]
    return {
        "seed": seed,
        "train_seconds": sum(row["train_seconds"] for row in rows),
        "seconds": seconds,
        "views": rows[-1]["test_views_accuracy"],
        "accuracy": rows[-1]["test_accuracy"],
        "loss": rows[-1]["test_loss"],
        "others": others.share(),
    }


def mean_and_spread(values: list[float]) -> str:
    deviation = statistics.stdev(values) if len(values) > 1 else math.nan
    return (
        f"{100 * statistics.mean(values):.2f} % "
        f"(standard deviation {100 * deviation:.2f}, n = {len(values)})"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=3)
    asked, flags = parser.parse_known_args()
    runs = []
    for seed in range(asked.seeds):
        runs.append(trained(seed, flags))
        print(json.dumps(runs[-1]), file=sys.stderr, flush=True)
    print(machine_line())
    rows = [
        [
            str(r["seed"]),
            f"{r['train_seconds'] / 60:.1f}",
            f"{r['seconds'] / 60:.1f}",
            f"{100 * r['views']:.2f} %",
            f"{100 * r['accuracy']:.2f} %",
            f"{r['loss']:.3f}",
        ]
        for r in runs
    ]
    print(markdown(HEAD, rows))
    mean = statistics.mean(r["views"] for r in runs)
    minutes = statistics.median(r["train_seconds"] for r in runs) / 60
    print(
        f"flips and shifts: {mean_and_spread([r['views'] for r in runs])}; "
        f"one view: {mean_and_spread([r['accuracy'] for r in runs])}; "
        f"{minutes:.1f} minutes of training (median); "
        f"{'reaches' if mean >= GOAL else 'does not reach'} {GOAL:.0%}"
    )
    (HERE / "results").mkdir(exist_ok=True)
    (HERE / "results" / "strong.json").write_text(
        json.dumps({"flags": flags, "runs": runs}, indent=1)
    )


if __name__ == "__main__":
    main()
