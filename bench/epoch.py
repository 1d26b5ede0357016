"""One epoch and both full evaluations: the usual DataLoader script, an expert's hand-written loop, convscope.

All train 3 × [3×3 convolution with 16/32/64 filters, ReLU, 2×2 max pooling] and a fully connected layer on the 50,000 CIFAR-10
images with Adam at a constant 1e-3, first weights of the same family (He normal, zero biases), and evaluate the whole training and
test set after it. Each runs in a process of its own, in turn, a seed a turn. Counted are the epoch and its evaluations; start of the
interpreter, loading of the data, the choice of DataLoader workers and convscope's choice of precision and threads are not, but the whole
process's seconds are shown beside them, and so is the whole call of cs.train, since convscope normalises the pixels once for all epochs
where the others do it in every epoch.
The mean test losses must agree within TOLERANCE, or the exit code is 1.

Command: python bench/epoch.py [--batch 64 256] [--turns 3] [--images 50000]       writes bench/results/epoch.json
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from figures import Others, machine_line, markdown, median, ratios, spread, wait_for_quiet

HERE = Path(__file__).parent
PEERS = {"plain": "usual DataLoader script", "expert": "expert's resident loop", "ours": "`convscope.train`"}
TOLERANCE = 0.15  # nats of mean test loss after one epoch: a few times what a change of seed does

Found = dict[str, list[dict[str, Any]]]


def measure(batch: int, images: int, turns: int) -> Found:
    """Each peer's printed figures with `process_seconds`, a dict a turn."""
    found: Found = {name: [] for name in PEERS}
    environment = {name: value for name, value in os.environ.items() if name not in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    for turn in range(turns):
        names = list(PEERS)
        for name in names[turn % 3 :] + names[: turn % 3]:  # each comes first, second and third
            command = [
                sys.executable,
                str(HERE / "peers" / f"{name}.py"),
                "--batch",
                str(batch),
                "--images",
                str(images),
                "--seed",
                str(turn),
            ]
            if name == "plain" and found[name]:
                command += ["--workers", str(found[name][0]["workers"])]
            wait_for_quiet()
            others, started = Others(), time.perf_counter()
            out = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment).stdout
            one = {**json.loads(out), "process_seconds": time.perf_counter() - started, "others": others.share()}
            found[name].append(one)
            print(
                f"batch {batch}, turn {turn + 1}, {name}: {one['seconds']:.2f} s, test loss {one['test_loss']:.3f}, {one['settings']}; "
                f"others took {one['others'] or 0:.0%} of the machine",
                file=sys.stderr,
                flush=True,
            )
    return found


def column(found: Found, name: str, key: str) -> list[float]:
    return [one[key] for one in found[name]]


def rows_of(batch: int, found: Found) -> list[list[str]]:
    """Rows of (what, batch, seconds, × convscope, of that training, whole process, test loss) for a table."""
    ours = column(found, "ours", "seconds")
    rows = []
    for name, title in PEERS.items():
        seconds = column(found, name, "seconds")
        settings = sorted({one["settings"] for one in found[name]})
        rows.append(
            [
                f"{title} ({' / '.join(settings)})",
                str(batch),
                spread(seconds),
                "1" if name == "ours" else spread(ratios(seconds, ours)),
                f"{median(column(found, name, 'train_seconds')):.2f}",
                f"{median(column(found, name, 'process_seconds')):.1f}",
                f"{statistics.mean(column(found, name, 'test_loss')):.3f}",
            ]
        )
    return rows


HEAD = ("what", "batch", "epoch + evaluations, s", "× convscope", "training alone, s", "whole process, s", "test loss, mean")


def call_row(batch: int, found: Found) -> list[str]:
    """The whole call of cs.train, which also normalises the data once for all epochs and puts checkpoint and records on disk."""
    call = column(found, "ours", "call_seconds")
    what = "the whole call of `convscope.train` on loaded data: the above, pixel statistics, normalising, records on disk"
    return [what, str(batch), spread(call), spread(ratios(call, column(found, "ours", "seconds"))), "", "", ""]


def verdict(found: Found) -> tuple[bool, str]:
    ours = statistics.mean(column(found, "ours", "test_loss"))
    apart = {name: statistics.mean(column(found, name, "test_loss")) - ours for name in PEERS if name != "ours"}
    text = ", ".join(f"{name} − convscope {value:+.3f}" for name, value in apart.items())
    call = column(found, "ours", "call_seconds")
    to_call = ", ".join(f"{name} {median(ratios(column(found, name, 'seconds'), call)):.2f}" for name in apart)
    others = [one["others"] or 0.0 for runs in found.values() for one in runs]
    return (
        all(abs(value) < TOLERANCE for value in apart.values()),
        f"mean test loss: {text} (tolerance {TOLERANCE}); against the whole call: {to_call}; "
        f"other processes took {median(others):.0%} of the machine (median of all, most {max(others):.0%})",
    )


def write(machine: str, images: int, results: dict[int, Found]) -> Path:
    path = HERE / "results" / "epoch.json"
    path.parent.mkdir(exist_ok=True)
    tree = {"machine": machine, "images": images, "command": " ".join(sys.argv), "batches": results}
    path.write_text(json.dumps(tree, indent=1), encoding="utf-8")
    return path


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--batch", type=int, nargs="+", default=[64])
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--images", type=int, default=50_000)
    given = parser.parse_args()
    machine = machine_line()
    print(machine)
    results = {batch: measure(batch, given.images, given.turns) for batch in given.batch}
    print(f"{given.images:,} training images, 10,000 test images; seconds: median (least to most, turns)\n")
    rows = [row for batch, found in results.items() for row in [*rows_of(batch, found), call_row(batch, found)]]
    print(markdown(HEAD, rows))
    all_good = True
    for batch, found in results.items():
        good, text = verdict(found)
        all_good &= good
        print(f"\nbatch {batch}: {text}{'' if good else '  TOO FAR APART'}")
    print(f"written: {write(machine, given.images, results)}")
    return int(not all_good)


if __name__ == "__main__":
    sys.exit(main())
