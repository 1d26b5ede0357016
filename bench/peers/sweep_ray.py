"""The same sweep by Ray Tune around the usual script: a grid over widths and seeds.

One core a trial; metrics are reported after each run.

Command: python bench/peers/sweep_ray.py --data pixels.npz --out folder         prints JSON
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

HERE = str(Path(__file__).parent)
os.environ["PYTHONPATH"] = (
    HERE + os.pathsep + os.environ.get("PYTHONPATH", "")
)  # for the workers of the cluster
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")

import ray  # noqa: E402
from common import arguments, report  # noqa: E402
from ray import tune  # noqa: E402
from sweep_plain import EPOCHS, SEEDS, WIDTHS, train  # noqa: E402


def main() -> None:
    started = time.perf_counter()
    parser = arguments(__doc__)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    data, images, batch, lr = str(Path(given.data).resolve()), given.images, given.batch, given.lr

    def trainable(config: dict[str, Any]) -> dict[str, float]:
        return train(data, images, config["width"], config["seed"], EPOCHS, batch, lr)[-1]

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    tuner = tune.Tuner(
        tune.with_resources(trainable, {"cpu": 1}),
        param_space={
            "width": tune.grid_search(list(reversed(WIDTHS))),
            "seed": tune.grid_search(list(SEEDS)),
        },
        run_config=tune.RunConfig(storage_path=str(given.out.resolve()), verbose=0),
    )
    results = tuner.fit()
    assert not results.errors, results.errors
    losses = {f"{r.config['width']}-{r.config['seed']}": r.metrics["test_loss"] for r in results}
    seconds = time.perf_counter() - started
    ray.shutdown()
    sys.stdout.flush()
    report(
        "Ray Tune, two trials of one thread at a time, float32, N×C×H×W",
        seconds=seconds,
        test_losses=losses,
    )


if __name__ == "__main__":
    main()
