"""convscope in the place of the peers: `cs.train` on CIFAR-10 with both full evaluations, timed.

Both evaluations follow each epoch. Precision, layout, kernels and threads are measured on the
machine first, as `convscope train` does. `seconds` is the epochs with their evaluations.
`call_seconds` is the whole call of cs.train on loaded data: pixel statistics, normalising (once for
all epochs), network, lock, checkpoint and records on disk as well. Of fewer images it takes a
stratified part, the peers the first ones.

Command: python bench/peers/ours.py --data pixels.npz --batch 64         prints JSON
"""

from __future__ import annotations

import tempfile
import time

from common import BLOCKS, arguments, report

import convscope as cs
from convscope.machine import best_numerics, best_threads
from convscope.training import keep_freed_memory


def model_of(work: str) -> cs.ConvNet:
    (width, block_depth), *_ = blocks = BLOCKS[work]
    return cs.ConvNet(width=width, depth=len(blocks), block_depth=block_depth)


def main() -> None:
    given = arguments(__doc__).parse_args()
    data = cs.load("cifar10", val=0.0)
    keep_freed_memory()
    best = best_numerics("cpu")
    threads = best_threads("cpu", best)
    recipe = cs.Recipe(
        model=model_of(given.work),
        epochs=given.epochs,
        seed=given.seed,
        val=0.0,
        limit=given.images if given.images < len(data.train) else None,
        batch=given.batch,
        lr=given.lr,
        evaluate=("train", "test"),
        precision=best.precision,
        layout=best.layout,
        kernels=best.kernels,
        threads=threads,
    )
    with tempfile.TemporaryDirectory() as root:
        started = time.perf_counter()
        run = cs.train(recipe, root, data=data)
        call_seconds = time.perf_counter() - started
    assert run.status == "finished", run.message
    found = {
        name: run.last[name]
        for name in ("train_loss", "train_accuracy", "test_loss", "test_accuracy")
    }
    seconds = {name: sum(row[name] for row in run.rows) for name in ("seconds", "train_seconds")}
    settings = (
        f"{best.precision}, {best.layout}, {best.kernels} kernels, "
        f"{threads} thread{'s' if threads > 1 else ''}"
    )
    report(settings, **seconds, **found, call_seconds=call_seconds, measured=best.measured)


if __name__ == "__main__":
    main()
