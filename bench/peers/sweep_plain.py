"""A sweep as most would run it: the usual DataLoader script for each network, a JSON file a run.

The networks are trained in a pool of two processes with a thread each.

Command: python bench/peers/sweep_plain.py --data pixels.npz --out folder         prints JSON
"""

from __future__ import annotations

import json
import multiprocessing
import os
import time
from pathlib import Path
from typing import Any

import torch
from common import arguments, arrays, network, report
from plain import Pictures, evaluate, train_epoch
from torch.utils.data import DataLoader

WIDTHS, SEEDS, EPOCHS = (4, 8, 16, 32), (0, 1, 2), 3


def train(
    data: str, images: int, width: int, seed: int, epochs: int, batch: int, lr: float
) -> list[dict[str, float]]:
    """A row an epoch.

    Images are loaded in this process: a worker that is one of two has no worker of its own.
    """
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    splits = {name: Pictures(*pair) for name, pair in arrays(data, images).items()}
    loaders = {
        name: DataLoader(split, batch_size=batch, shuffle=name == "train")
        for name, split in splits.items()
    }
    net = network("small", ((width, 1), (2 * width, 1), (4 * width, 1)))
    optimizer = torch.optim.Adam(net.parameters(), lr=lr)
    rows = []
    for _ in range(epochs):
        row = {"running_loss": train_epoch(net, optimizer, loaders["train"])}
        for name, loader in loaders.items():
            row[f"{name}_loss"], row[f"{name}_accuracy"] = evaluate(net, loader)
        rows.append(row)
    return rows


def job(task: dict[str, Any]) -> dict[str, Any]:
    out = Path(task.pop("out"))
    rows = train(**task)
    result = {"width": task["width"], "seed": task["seed"], "rows": rows}
    (out / f"{task['width']}-{task['seed']}.json").write_text(json.dumps(result), encoding="utf-8")
    return result


def tasks(given: Any) -> list[dict[str, Any]]:
    """The longest first."""
    common = {
        "data": given.data,
        "images": given.images,
        "epochs": EPOCHS,
        "batch": given.batch,
        "lr": given.lr,
    }
    return [
        {**common, "width": width, "seed": seed} for width in reversed(WIDTHS) for seed in SEEDS
    ]


def main() -> None:
    started = time.perf_counter()
    parser = arguments(__doc__)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    os.environ["OMP_NUM_THREADS"] = "1"
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        results = pool.map(
            job, [{**task, "out": str(given.out)} for task in tasks(given)], chunksize=1
        )
    losses = {f"{r['width']}-{r['seed']}": r["rows"][-1]["test_loss"] for r in results}
    report(
        "two processes of one thread, float32, N×C×H×W",
        seconds=time.perf_counter() - started,
        test_losses=losses,
    )


if __name__ == "__main__":
    main()
