"""A sweep of 12 networks, from the start of the process to the results on disk.

Widths 4, 8, 16, 32 × three seeds, 3 epochs, batch 64. By convscope's engine, by the usual
DataLoader script in a pool of two processes, and by Ray Tune around that script (bench/.venv). All
train the same networks on the 50,000 CIFAR-10 images and evaluate the whole training and test set
after each epoch. Everything counts: imports, convscope's measurement of the machine, the start of a
local Ray cluster. Mean test losses must agree within TOLERANCE. Beside it: the memory that a worker
of convscope holds at most, above a process that has imported torch.

Command: python bench/sweep.py [--turns 3]       writes bench/results/sweep.json
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

from epoch import FRAMEWORKS, HERE, pixels
from figures import Others, machine_line, markdown, ratios, spread, wait_for_quiet

PEERS = {
    "sweep_ours": "convscope's engine",
    "sweep_plain": "usual script in two processes",
    "sweep_ray": "Ray Tune around the usual script",
}
TOLERANCE = 0.05  # nats of the mean over the 12 networks
HEAD = ("what", "seconds", "× convscope", "mean test loss")

Found = dict[str, list[dict[str, Any]]]


def run(name: str, images: int) -> dict[str, Any]:
    """Its printed figures with the seconds of the whole process."""
    python = str(FRAMEWORKS) if name == "sweep_ray" else sys.executable
    wait_for_quiet()
    with tempfile.TemporaryDirectory() as out:
        command = [
            python,
            str(HERE / "peers" / f"{name}.py"),
            "--data",
            str(pixels()),
            "--out",
            out,
            "--images",
            str(images),
        ]
        others, started = Others(), time.perf_counter()
        done = subprocess.run(
            command, check=True, stdout=subprocess.PIPE, text=True, env=dict(os.environ)
        )
        seconds = time.perf_counter() - started
    figures = json.loads(done.stdout.strip().splitlines()[-1])
    return {
        **figures,
        "inner_seconds": figures["seconds"],
        "seconds": seconds,
        "others": others.share(),
    }


def measure(turns: int, images: int) -> Found:
    names = [name for name in PEERS if name != "sweep_ray" or FRAMEWORKS.exists()]
    found: Found = {name: [] for name in names}
    for turn in range(turns):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            one = run(name, images)
            found[name].append(one)
            print(
                f"turn {turn + 1}, {name}: {one['seconds']:.1f} s, "
                f"others took {one['others'] or 0:.0%}",
                file=sys.stderr,
                flush=True,
            )
    return found


def loss(one: dict[str, Any]) -> float:
    return statistics.mean(one["test_losses"].values())


def rows_of(found: Found) -> list[list[str]]:
    ours = [one["seconds"] for one in found["sweep_ours"]]
    rows = []
    for name, all_turns in found.items():
        seconds = [one["seconds"] for one in all_turns]
        ratio = "1" if name == "sweep_ours" else spread(ratios(seconds, ours))
        title = f"{PEERS[name]} ({all_turns[0]['settings']})"
        rows.append(
            [title, spread(seconds, 1), ratio, f"{statistics.mean(map(loss, all_turns)):.3f}"]
        )
    return rows


def verdict(found: Found) -> tuple[bool, str]:
    means = {name: statistics.mean(map(loss, all_turns)) for name, all_turns in found.items()}
    apart = {
        name: mean - means["sweep_ours"] for name, mean in means.items() if name != "sweep_ours"
    }
    memory = max(one["worker_bytes"] - one["torch_bytes"] for one in found["sweep_ours"]) / 1e9
    text = ", ".join(f"{name} − convscope {value:+.3f}" for name, value in apart.items())
    good = all(abs(value) < TOLERANCE for value in apart.values())
    return (
        good,
        f"mean test loss: {text} (tolerance {TOLERANCE}); "
        f"a worker holds at most {memory:.2f} GB above torch's own",
    )


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--images", type=int, default=50_000)
    given = parser.parse_args()
    machine = machine_line()
    print(machine)
    found = measure(given.turns, given.images)
    print(markdown(HEAD, rows_of(found)))
    good, text = verdict(found)
    print(f"\n{text}{'' if good else '  TOO FAR APART'}")
    path = HERE / "results" / "sweep.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(
        json.dumps({"machine": machine, "images": given.images, "found": found}, indent=1),
        encoding="utf-8",
    )
    print(f"written: {path}")
    return int(not good)


if __name__ == "__main__":
    sys.exit(main())
