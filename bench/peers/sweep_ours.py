"""The same sweep by convscope's engine, from the first import, and the memory of its workers.

It measures the machine, trains, and puts results on disk.

Command: python bench/peers/sweep_ours.py --data pixels.npz --out folder         prints JSON
"""

from __future__ import annotations

import time
from pathlib import Path

STARTED = time.perf_counter()

from common import arguments, report  # noqa: E402
from memory import peak, peak_with_torch  # noqa: E402
from sweep_plain import EPOCHS, SEEDS, WIDTHS  # noqa: E402

import convscope as cs  # noqa: E402
from convscope.engines import Job, LocalEngine  # noqa: E402
from convscope.machine import Costs, choose, resolve  # noqa: E402
from convscope.studies import Watcher, run_all  # noqa: E402


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    data = cs.load("cifar10", val=0.0)
    with LocalEngine(1) as engine:
        bare = engine.gather([Job("torch", peak_with_torch)])["torch"]
        choice = choose(engine, "cpu", None)
        engine.resize(choice.workers)
        base = resolve(
            cs.Recipe(
                data="cifar10",
                data_hash=data.hash,
                val=0.0,
                epochs=EPOCHS,
                batch=given.batch,
                lr=given.lr,
            ),
            choice,
        )
        base = cs.Recipe(
            **{
                **vars(base),
                "limit": given.images if given.images < len(data.train) else None,
                "evaluate": ("train", "test"),
            }
        )
        recipes = [
            cs.Recipe(**{**vars(base), "model": cs.ConvNet(width=width, depth=3), "seed": seed})
            for width in reversed(WIDTHS)
            for seed in SEEDS
        ]
        runs = run_all(engine, recipes, given.out, Costs(data, {}, []), Watcher())
        seconds = time.perf_counter() - STARTED
        most = max(engine.gather([Job(f"peak {i}", peak) for i in range(choice.workers)]).values())
    assert all(run.status == "finished" for run in runs), [run.message for run in runs]
    losses = {
        f"{run.recipe.model.width}"  # pyright: ignore[reportAttributeAccessIssue]
        f"-{run.recipe.seed}": run.last["test_loss"]
        for run in runs
    }
    report(str(choice), seconds=seconds, test_losses=losses, worker_bytes=most, torch_bytes=bare)


if __name__ == "__main__":
    main()
