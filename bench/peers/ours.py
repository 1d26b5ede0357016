"""convscope itself in the place of the peers: `cs.train` for one epoch on CIFAR-10 with both full evaluations, timed.

Precision, layout and threads are measured on the machine first, as `convscope train` does. `seconds` is the epoch with its evaluations;
`call_seconds` is the whole call of cs.train on loaded data: pixel statistics, normalising (once for all epochs), network, lock, checkpoint and records on
disk as well.

Command: python bench/peers/ours.py --batch 64         prints JSON
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time

import convscope as cs
from convscope.device import best_numerics, best_threads


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--images", type=int, default=50_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--lr", type=float, default=1e-3)
    given = parser.parse_args()

    data = cs.load("cifar10", val=0.0)
    best = best_numerics("cpu")
    threads = best_threads("cpu", best)
    recipe = cs.Recipe(
        model=cs.ConvNet(width=16, depth=3),
        epochs=1,
        seed=given.seed,
        val=0.0,
        limit=given.images if given.images < len(data.train) else None,
        batch=given.batch,
        lr=given.lr,
        evaluate=("train", "test"),
        precision=best.precision,  # pyright: ignore[reportArgumentType]
        layout=best.layout,  # pyright: ignore[reportArgumentType]
        kernels=best.kernels,  # pyright: ignore[reportArgumentType]
        threads=threads,
    )
    with tempfile.TemporaryDirectory() as root:
        started = time.perf_counter()
        run = cs.train(recipe, root, data=data)
        call_seconds = time.perf_counter() - started
    assert run.status == "finished", run.message
    figures = {
        name: run.last[name]
        for name in ("seconds", "train_seconds", "train_loss", "train_accuracy", "test_loss", "test_accuracy")
    }
    settings = f"{best.precision}, {best.layout}, {best.kernels} kernels, {threads} thread{'s' if threads > 1 else ''}"
    print(json.dumps({**figures, "call_seconds": call_seconds, "settings": settings, "measured": best.measured}))


if __name__ == "__main__":
    main()
