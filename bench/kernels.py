"""What compiled kernels buy: a training step and an evaluation batch of the family's networks.

By the library's operations and by all the compiled kernels that this processor has. Both sides
train the same network on the same batch in one process, in turn, and the best of a few turns
counts; the losses after the steps must agree.

Command: python bench/kernels.py [--threads 1] [--turns 7]
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import replace

import torch
from figures import machine_line, markdown
from torch import Tensor

from convscope.machine import best_numerics
from convscope.models import build, size_of
from convscope.planning import reference_model
from convscope.recipe import ConvNet, Kernels, Recipe
from convscope.training import (
    DTYPES,
    accelerate,
    autocast,
    eval_batch,
    keep_freed_memory,
    optimiser,
    place,
    step,
    why_no_kernels,
)

NETWORKS = {
    "width 1, depth 3, hidden 256": ConvNet(1, 3, hidden=(256,)),
    "width 4, depth 3, hidden 256": ConvNet(4, 3, hidden=(256,)),
    "width 8, depth 3, hidden 256": ConvNet(8, 3, hidden=(256,)),
    "width 16, depth 3": ConvNet(16, 3),
    "width 16, depth 3, average pooling, no activation": ConvNet(
        16, 3, activation="identity", pool="avg"
    ),
    "width 97, depth 1, no pooling, GAP": ConvNet(97, 1, pool="none", head="gap"),
    "width 16, depth 3×2, batch norm, skip": ConvNet(16, 3, block_depth=2, norm="batch", skip=True),
    "the strong recipe's at width 16": reference_model(16),
    "width 32, depth 3×3": ConvNet(32, 3, block_depth=3),
}
BATCH, STEPS = 128, 4
HEAD = (
    "network",
    "step by the library, ms",
    "compiled, ms",
    "ratio",
    "evaluation by the library, µs an image",
    "compiled",
    "ratio",
)


class Side:
    """A network that is trained and evaluated one way."""

    def __init__(self, recipe: Recipe, x: Tensor, labels: Tensor) -> None:
        self.recipe, self.x, self.labels = recipe, x, labels
        self.net = accelerate(place(build(recipe.model, (3, 32, 32), 10), recipe), recipe)
        self.optimizer = optimiser(self.net, recipe)
        self.loss, self.step_seconds, self.image_seconds = 0.0, float("inf"), float("inf")

    def train(self) -> None:
        started, loss = time.perf_counter(), torch.zeros(())
        for _ in range(STEPS):
            loss = step(self.net, self.optimizer, self.x, self.labels, self.recipe)
        self.loss = loss.item()
        self.step_seconds = min(self.step_seconds, (time.perf_counter() - started) / STEPS)

    @torch.no_grad()
    def evaluate(self) -> None:
        self.net.eval()
        x = self.x[: eval_batch(self.recipe, (3, 32, 32))]
        with autocast("cpu", self.recipe.precision):
            started = time.perf_counter()
            for _ in range(STEPS):
                self.net(x)
            self.image_seconds = min(
                self.image_seconds, (time.perf_counter() - started) / STEPS / len(x)
            )
        self.net.train()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--turns", type=int, default=7)
    given = parser.parse_args()
    keep_freed_memory()
    best = best_numerics("cpu")
    if best.why_not.startswith("no "):
        print(f"no compiled kernels here: {best.why_not}")
        return 1
    torch.set_num_threads(given.threads)
    no_winograd = why_no_kernels(best.precision, "winograd")
    ours_here: Kernels = "compiled" if no_winograd else "winograd"
    base = Recipe(
        precision=best.precision,
        layout="channels_last",
        batch=BATCH,
        threads=given.threads,
    )
    x = torch.randn(BATCH, 3, 32, 32, generator=torch.Generator().manual_seed(0)).to(
        DTYPES[best.precision]
    )
    x, labels = x.contiguous(memory_format=torch.channels_last), torch.arange(BATCH) % 10
    rows, good = [], True
    for name, model in NETWORKS.items():
        sides = [
            Side(replace(base, model=model, kernels=kernels), x, labels)
            for kernels in ("library", ours_here)
        ]
        for _ in range(given.turns):
            for side in sides:
                side.train()
                side.evaluate()
        library, ours = sides
        good &= abs(library.loss - ours.loss) < 0.1
        rows.append(
            [
                name,
                f"{1e3 * library.step_seconds:.2f}",
                f"{1e3 * ours.step_seconds:.2f}",
                f"{library.step_seconds / ours.step_seconds:.2f}",
                f"{1e6 * library.image_seconds:.1f}",
                f"{1e6 * ours.image_seconds:.1f}",
                f"{library.image_seconds / ours.image_seconds:.2f}",
            ]
        )
        flops = size_of(model, (3, 32, 32), 10).flops
        rate = 3 * flops * BATCH / ours.step_seconds / 1e9
        print(
            f"{name}: {rate:.0f} GFLOP/s in a step; losses {library.loss:.3f} and {ours.loss:.3f}",
            file=sys.stderr,
        )
    print(
        f"{machine_line()}\n{best.precision}, batch {BATCH}, {given.threads} thread(s)\n\n"
        f"{markdown(HEAD, rows)}"
    )
    if not good:
        print("LOSSES DIFFER")
    return int(not good)


if __name__ == "__main__":
    sys.exit(main())
