"""Epochs with both full evaluations: convscope, the usual DataLoader script, an expert's loop by
hand and by `torch.compile`, PyTorch Lightning, Keras 3, skorch.

Works: `small` trains 3 × [3×3 convolution with 16/32/64 filters, ReLU, 2×2 max pooling] and a fully
connected layer on the 50,000 CIFAR-10 images; `nine` trains nine convolutions (three of 32, 64 and
128 filters each, a pooling after every third) on 10,000. All use Adam at a constant 1e-3 and first
weights of the same family (He normal, zero biases), and evaluate the whole training and test set.

Each runs in a process of its own, in turn, a seed a turn. Counted are the epoch and its
evaluations. Not counted are the start of the interpreter, the loading of the data, and the choice
of DataLoader workers, of Keras's backend and of convscope's precision, kernels and threads. The
whole process's seconds are shown beside them. So is the whole call of cs.train, since convscope
normalises the pixels once for all epochs where others do it in every epoch. Of `torch.compile`
there is a row without its compilation and one with it. The mean test losses must agree within
TOLERANCE, or the exit code is 1.

The frameworks live in a virtual environment of their own, bench/.venv (`make bench` makes it;
without it they are left out, which is said).

Command: python bench/epoch.py [--work small] [--batch 64 256] [--turns 3] [--peers plain expert]
writes bench/results/WORK.json
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ceiling import ceiling
from figures import Others, machine_line, markdown, median, ratios, spread, wait_for_quiet

HERE = Path(__file__).parent
FRAMEWORKS = HERE / ".venv" / "bin" / "python"
PIXELS = HERE / "results" / "cifar10.npz"
TOLERANCE = 0.15  # nats of mean test loss after one epoch: a few times what a change of seed does
IMAGES = {"small": 50_000, "nine": 10_000}
BATCHES = {"small": [64, 256], "nine": [128]}


@dataclass(frozen=True)
class Peer:
    title: str
    script: str
    apart: bool = False  # in the frameworks' environment
    arguments: tuple[str, ...] = ()


PEERS = {
    "plain": Peer("usual DataLoader script", "plain.py"),
    "expert": Peer("expert's resident loop", "expert.py"),
    "compile": Peer("`torch.compile` around it", "compiled.py"),
    "compile-max": Peer(
        "`torch.compile`, max-autotune", "compiled.py", arguments=("--mode", "max-autotune")
    ),
    "lightning": Peer("PyTorch Lightning", "with_lightning.py", apart=True),
    "keras": Peer("Keras 3", "with_keras.py", apart=True),
    "skorch": Peer("skorch", "with_skorch.py", apart=True),
    "ours": Peer("`convscope.train`", "ours.py"),
}
BACKENDS = ("jax", "torch")  # of Keras; the first turn tries each and keeps the faster

Found = dict[str, list[dict[str, Any]]]


def pixels() -> Path:
    """CIFAR-10 as an .npz for the peers."""
    if not PIXELS.exists():
        from convscope.data import load

        data = load("cifar10", val=0.0)
        PIXELS.parent.mkdir(exist_ok=True)
        arrays = {}
        for name, split in (("train", data.train), ("test", data.test)):
            arrays[f"{name}_images"] = split.images.permute(0, 2, 3, 1).numpy()
            arrays[f"{name}_labels"] = split.labels.numpy()
        np.savez(PIXELS, **arrays)
    return PIXELS


def available(names: list[str]) -> list[str]:
    there = [name for name in names if not PEERS[name].apart or FRAMEWORKS.exists()]
    if missing := sorted(set(names) - set(there)):
        print(
            f"left out, since {FRAMEWORKS.parent.parent} is not there (make bench makes it): "
            f"{', '.join(missing)}",
            file=sys.stderr,
        )
    return there


def run(name: str, arguments: list[str], more: dict[str, str] | None = None) -> dict[str, Any]:
    """A peer's printed figures, with `process_seconds` and others' share of the machine."""
    peer = PEERS[name]
    environment = {
        key: value
        for key, value in os.environ.items()
        if key not in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
    }
    command = [
        str(FRAMEWORKS) if peer.apart else sys.executable,
        str(HERE / "peers" / peer.script),
        "--data",
        str(pixels()),
        *peer.arguments,
        *arguments,
    ]
    wait_for_quiet()
    others, started = Others(), time.perf_counter()
    out = subprocess.run(
        command, check=True, stdout=subprocess.PIPE, text=True, env=environment | (more or {})
    ).stdout
    figures = json.loads(out.strip().splitlines()[-1])
    return {**figures, "process_seconds": time.perf_counter() - started, "others": others.share()}


def measure(work: str, batch: int, images: int, turns: int, names: list[str]) -> Found:
    """Each peer's figures, a dict a turn."""
    names = available(names)
    found: Found = {name: [] for name in names}
    backend = ""
    for turn in range(turns):
        place = turn % len(names)
        for name in names[place:] + names[:place]:  # each comes first, second and third
            arguments = [
                "--work",
                work,
                "--batch",
                str(batch),
                "--images",
                str(images),
                "--seed",
                str(turn),
            ]
            if name in ("plain", "lightning") and found.get("plain"):
                arguments += ["--workers", str(found["plain"][0]["workers"])]
            if name == "keras":
                tried = {
                    b: run(name, arguments, {"KERAS_BACKEND": b})
                    for b in ([backend] if backend else BACKENDS)
                }
                backend = min(tried, key=lambda b: tried[b]["seconds"])
                one = tried[backend]
            else:
                one = run(name, arguments)
            found[name].append(one)
            print(
                f"{work}, batch {batch}, turn {turn + 1}, {name}: {one['seconds']:.2f} s, "
                f"test loss {one['test_loss']:.3f}, {one['settings']}; "
                f"others took {one['others'] or 0:.0%} of the machine",
                file=sys.stderr,
                flush=True,
            )
    return found


def column(found: Found, name: str, key: str) -> list[float]:
    return [one[key] for one in found[name]]


HEAD = (
    "what",
    "batch",
    "epoch + evaluations, s",
    "× convscope",
    "training alone, s",
    "whole process, s",
    "test loss, mean",
)


def rows_of(batch: int, found: Found) -> list[list[str]]:
    """Rows of HEAD's columns."""
    ours = column(found, "ours", "seconds")
    rows = []
    for name in found:
        seconds = column(found, name, "seconds")
        settings = sorted({one["settings"] for one in found[name]})
        rows.append(
            [
                f"{PEERS[name].title} ({' / '.join(settings)})",
                str(batch),
                spread(seconds),
                "1" if name == "ours" else spread(ratios(seconds, ours)),
                f"{median(column(found, name, 'train_seconds')):.2f}",
                f"{median(column(found, name, 'process_seconds')):.1f}",
                f"{statistics.mean(column(found, name, 'test_loss')):.3f}",
            ]
        )
        if "compile_seconds" in found[name][0]:
            compiling = column(found, name, "compile_seconds")
            counted = [one + two for one, two in zip(seconds, compiling, strict=True)]
            what = f"{PEERS[name].title}, compilation counted"
            rows.append(
                [what, str(batch), spread(counted), spread(ratios(counted, ours)), *3 * [""]]
            )
    return rows


def call_row(batch: int, found: Found) -> list[str]:
    """The whole call of cs.train.

    It also normalises the data, once for all epochs, and puts checkpoint and records on disk.
    """
    call = column(found, "ours", "call_seconds")
    what = (
        "the whole call of `convscope.train` on loaded data: the above, pixel statistics, "
        "normalising, records on disk"
    )
    return [
        what,
        str(batch),
        spread(call),
        spread(ratios(call, column(found, "ours", "seconds"))),
        "",
        "",
        "",
    ]


def of_ceiling(work: str, images: int, found: Found, limit: float) -> str:
    """The whole loop's FLOP/s against those of the processor's fastest convolution.

    Training counts as three forward passes, evaluation as one.
    """
    from convscope.models import size_of
    from convscope.recipe import ConvNet

    model = {"small": ConvNet(16, 3), "nine": ConvNet(32, 3, block_depth=3)}[work]
    flops = size_of(model, (3, 32, 32), 10).flops * (3 * images + images + 10_000)
    rates = [flops / seconds for seconds in column(found, "ours", "seconds")]
    shares = spread([100 * rate / limit for rate in rates], 0)
    return (
        f"convscope's loop: {median(rates) / 1e9:.0f} GFLOP/s, "
        f"{shares} % of the {limit / 1e9:.0f} GFLOP/s of a 64 → 64 convolution"
    )


def verdict(found: Found) -> tuple[bool, str]:
    ours = statistics.mean(column(found, "ours", "test_loss"))
    apart = {
        name: statistics.mean(column(found, name, "test_loss")) - ours
        for name in found
        if name != "ours"
    }
    text = ", ".join(f"{name} − convscope {value:+.3f}" for name, value in apart.items())
    call = column(found, "ours", "call_seconds")
    to_call = ", ".join(
        f"{name} {median(ratios(column(found, name, 'seconds'), call)):.2f}" for name in apart
    )
    others = [one["others"] or 0.0 for runs in found.values() for one in runs]
    return (
        all(abs(value) < TOLERANCE for value in apart.values()),
        f"mean test loss: {text} (tolerance {TOLERANCE}); against the whole call: {to_call}; "
        f"other processes took {median(others):.0%} of the machine "
        f"(median of all, most {max(others):.0%})",
    )


def write(machine: str, work: str, images: int, results: dict[int, Found], limit: float) -> Path:
    path = HERE / "results" / f"{work}.json"
    path.parent.mkdir(exist_ok=True)
    tree = {
        "machine": machine,
        "work": work,
        "images": images,
        "ceiling": limit,
        "command": " ".join(sys.argv),
        "batches": results,
    }
    path.write_text(json.dumps(tree, indent=1), encoding="utf-8")
    return path


def main() -> int:
    import torch

    parser = argparse.ArgumentParser()
    parser.add_argument("--work", choices=sorted(IMAGES), default="small")
    parser.add_argument("--batch", type=int, nargs="+", help="(64 and 256 for small, 128 for nine)")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--images", type=int, help="(50,000 for small, 10,000 for nine)")
    parser.add_argument(
        "--peers",
        nargs="+",
        choices=[name for name in PEERS if name != "ours"],
        default=list(PEERS)[:-1],
    )
    given = parser.parse_args()
    work, images = given.work, given.images or IMAGES[given.work]
    machine = machine_line()
    print(machine)
    limit = ceiling(torch.get_num_threads())
    results = {
        batch: measure(work, batch, images, given.turns, [*given.peers, "ours"])
        for batch in given.batch or BATCHES[work]
    }
    print(
        f"{work}: {images:,} training images, 10,000 test images; "
        "seconds: median (least to most, turns)\n"
    )
    rows = [
        row
        for batch, found in results.items()
        for row in [*rows_of(batch, found), call_row(batch, found)]
    ]
    print(markdown(HEAD, rows))
    all_good = True
    for batch, found in results.items():
        good, text = verdict(found)
        all_good &= good
        print(
            f"\nbatch {batch}: {of_ceiling(work, images, found, limit)}\n"
            f"batch {batch}: {text}{'' if good else '  TOO FAR APART'}"
        )
    print(f"written: {write(machine, work, images, results, limit)}")
    return int(not all_good)


if __name__ == "__main__":
    sys.exit(main())
