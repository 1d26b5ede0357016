"""The regret of a short search: how much worse is its winner than that of a longer one?

Both searches of the chapter `best` begin with the reference recipe and propose by the same sampler.
Of each the best trials and the reference recipe are trained to the end with a seed that chooses by
validation error, as a study does. Then both winners are trained anew with fresh seeds, and the
regret is the short one's test error minus the long one's, paired by image and seed. Runs that both
searches ask for are trained once.

Command: python bench/search_regret.py [--data shapes] [--images 2000] [--shrink 1] [--epochs 1]
         [--short 6] [--long 24] [--repeats 1] [--seeds 2]
writes bench/results/search_regret.json

Measured on two cores (AMD EPYC, float32, library kernels), 27 November 2026, two fresh seeds each:

    --data shapes --images 800 --shrink 2 --epochs 0.2 --repeats 3   15.1, 2.1 and −1.9 points
    --data cifar10 --images 1000 --shrink 4 --epochs 0.3 --long 18 --repeats 3
                                                                     0.0, −3.0 and 4.7 points

So n = 6, mean 2.8. Where the regret is 0.0 both searches chose the same network; where it is below,
the long search's winner has the higher test error. Nothing larger was measured.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from figures import machine_line, markdown

from convscope import data as datasets
from convscope.chapters.best.choice import candidates, selection_of
from convscope.chapters.best.plan import FRESH, finals_of, rungs_of
from convscope.data import Dataset
from convscope.planning import BudgetFit, Context, Proposer, describe_configuration
from convscope.recipe import Recipe
from convscope.training import Run, right_answers, train

HERE = Path(__file__).parent
BATCH = 4


@dataclass
class Trainer:
    """Trains a recipe once, and counts the seconds."""

    root: Path
    seconds: float = 0.0

    def __call__(self, recipe: Recipe) -> Run:
        started = time.perf_counter()
        run = train(recipe, self.root)
        self.seconds += time.perf_counter() - started
        return run


def subset(name: str, images: int, shrink: int, folder: Path) -> Path:
    """So many training images of a data set, the same share of each class, and all test images.

    shrink: a side becomes so many times shorter, by means over squares of pixels.
    """
    whole = datasets.load(name, val=0)
    order = np.argsort(whole.train.labels.numpy(), kind="stable")
    rows = np.sort(order[np.linspace(0, len(order) - 1, images).astype(int)])
    path = folder / f"{name}-{images}.npz"

    def channels_last(pictures: torch.Tensor) -> Any:
        means = torch.nn.functional.avg_pool2d(pictures.float(), shrink).round().byte()
        return means.permute(0, 2, 3, 1).contiguous().numpy()

    np.savez(
        path,
        x_train=channels_last(whole.train.images[rows]),
        y_train=whole.train.labels[rows].numpy(),
        x_test=channels_last(whole.test.images),
        y_test=whole.test.labels.numpy(),
    )
    return path


def context_of(loaded: Dataset, source: Path, seed: int, epochs: float) -> Context:
    """A study with one seed and so many times the epochs of `quick`."""
    base = Recipe(data=str(source), data_hash=loaded.hash, batch=min(128, len(loaded.train) // 8))
    fit = BudgetFit(epochs=epochs)
    return Context(loaded, "quick", (seed,), base, ("best",), fit=fit, live=False)


def winner_of(context: Context, trials: int, trained: Trainer) -> tuple[Recipe, float]:
    """The recipe that a search of so many trials would choose, and its seconds of runs."""
    before = trained.seconds
    search = Proposer(context, trials, None, rungs_of(context))
    while asked := search.ask(BATCH):
        search.tell([trained(recipe) for recipe in asked])
    found = candidates([trained(recipe) for recipe in finals_of(context, search)], (), context)
    return selection_of(found, context).winner.recipe, trained.seconds - before


def errors(recipe: Recipe, seeds: int, context: Context, trained: Trainer) -> Any:
    """Which test images are wrong: seeds × images, on fresh seeds."""
    out = []
    for seed in range(seeds):
        run = trained(replace(recipe, seed=FRESH + context.seeds[0] * seeds + seed))
        right = right_answers(run, context.data)
        assert right is not None
        out.append(1 - right.double().numpy())
    return np.stack(out)


def repeated(context: Context, options: argparse.Namespace, trained: Trainer) -> dict[str, Any]:
    short, short_seconds = winner_of(context, options.short, trained)
    long, long_seconds = winner_of(context, options.long, trained)
    wrong = {
        name: errors(recipe, options.seeds, context, trained)
        for name, recipe in (("short", short), ("long", long))
    }
    gap = (wrong["short"] - wrong["long"]).mean(0)
    return {
        "seed": context.seeds[0],
        "short": describe_configuration(short),
        "long": describe_configuration(long),
        "short_error": float(wrong["short"].mean()),
        "long_error": float(wrong["long"].mean()),
        "regret": float(gap.mean()),
        "image_se": float(gap.std(ddof=1) / len(gap) ** 0.5),
        "seconds": [round(short_seconds, 1), round(long_seconds, 1)],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="shapes")
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--shrink", type=int, default=1)
    parser.add_argument("--epochs", type=float, default=1.0)
    parser.add_argument("--short", type=int, default=6)
    parser.add_argument("--long", type=int, default=24)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=2)
    options = parser.parse_args()
    print(machine_line())
    rows = []
    with tempfile.TemporaryDirectory() as name:
        source = subset(options.data, options.images, options.shrink, Path(name))
        loaded, trained = datasets.load(source), Trainer(Path(name) / "runs")
        for seed in range(options.repeats):
            context = context_of(loaded, source, seed, options.epochs)
            rows.append(repeated(context, options, trained))
            print(json.dumps(rows[-1]), flush=True)
    regrets = [row["regret"] for row in rows]
    head = ("seed", "short", "error", "long", "error", "regret")
    cells = [
        (
            str(row["seed"]),
            row["short"],
            f"{100 * row['short_error']:.1f} %",
            row["long"],
            f"{100 * row['long_error']:.1f} %",
            f"{100 * row['regret']:+.1f} points",
        )
        for row in rows
    ]
    print(markdown(head, cells))
    print(f"mean regret {100 * statistics.mean(regrets):+.2f} points, n = {len(regrets)}")
    out = HERE / "results" / "search_regret.json"
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps({"options": vars(options), "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
