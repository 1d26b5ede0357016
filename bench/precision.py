"""Does the fast path change results?

The same networks are trained over seeds in float32 by the library's operations, and as convscope
chooses on this machine. First weights, order of images and batches of a seed are the same both
ways, so differences are paired; they are held against the scatter of seeds.

Command: python bench/precision.py [--seeds 6] [--epochs 3]
writes bench/results/precision.json
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from figures import Others, machine_line, markdown, wait_for_quiet

import convscope as cs
from convscope.machine import Numerics, best_numerics, cores
from convscope.recipe import ConvNet, Recipe

HERE = Path(__file__).parent
NETWORKS = {
    "16/32/64 filters, batch 64": (ConvNet(16, 3), 64),
    "two blocks of two convolutions, 32 and 64 filters, batch norm, batch 128": (
        ConvNet(32, 2, block_depth=2, norm="batch"),
        128,
    ),
}
HEAD = (
    "network",
    "measure",
    "float32, library",
    "scatter of seeds (SD)",
    "difference of the fast path",
    "its standard error",
    "difference / SD",
)


def trained(
    model: ConvNet, batch: int, epochs: int, seed: int, way: Numerics | None, data: cs.Dataset
) -> tuple[float, float]:
    """Test loss and accuracy."""
    recipe = Recipe(
        "cifar10",
        model,
        seed=seed,
        epochs=epochs,
        batch=batch,
        limit=10_000,
        evaluate=("test",),
        threads=cores(),
    )
    if way is not None:
        recipe = replace(
            recipe,
            precision=way.precision,
            layout=way.layout,
            kernels=way.kernels,
        )
    with tempfile.TemporaryDirectory() as out:
        row = cs.train(recipe, out, data=data).last
    return float(row["test_loss"] or 0), 100 * float(row["test_accuracy"] or 0)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=6)
    parser.add_argument("--epochs", type=int, default=3)
    asked = parser.parse_args()
    wait_for_quiet()
    best, data, others = best_numerics("cpu"), cs.load("cifar10"), Others()
    rows, kept = [], {}
    for name, (model, batch) in NETWORKS.items():
        pairs = []
        for seed in range(asked.seeds):
            pairs.append(
                [trained(model, batch, asked.epochs, seed, way, data) for way in (None, best)]
            )
            print(f"{name}, seed {seed}: {pairs[-1]}", file=sys.stderr, flush=True)
        kept[name] = pairs
        for i, measure in enumerate(("test loss", "test accuracy, %")):
            exact = [plain[i] for plain, _ in pairs]
            differences = [fast[i] - plain[i] for plain, fast in pairs]
            scatter, mean = statistics.stdev(exact), statistics.mean(differences)
            error = statistics.stdev(differences) / len(differences) ** 0.5
            rows.append(
                [
                    name,
                    measure,
                    f"{statistics.mean(exact):.3f}",
                    f"{scatter:.3f}",
                    f"{mean:+.3f}",
                    f"{error:.3f}",
                    f"{mean / scatter:+.2f}",
                ]
            )
    print(
        f"{machine_line()}\nfast path: {', '.join(best.way)}; "
        f"{asked.seeds} seeds, {asked.epochs} epochs of 10,000 images; "
        f"{others.share():.0%} of the machine elsewhere\n"
    )
    print(markdown(HEAD, rows))
    (HERE / "results").mkdir(exist_ok=True)
    (HERE / "results" / "precision.json").write_text(json.dumps(kept, indent=1))


if __name__ == "__main__":
    main()
