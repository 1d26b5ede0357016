"""The expert's loop around `torch.compile`: epochs on CIFAR-10 with both full evaluations, timed.

Compiling happens when a shape is first seen: before the clock starts, a step and an evaluation are
taken at each size of batch, and the weights set back. `compile_seconds` is what that took.

Command: python bench/peers/compiled.py --data pixels.npz --batch 64 [--mode max-autotune]
prints JSON
"""

from __future__ import annotations

import copy
import time

import torch
from common import arguments, arrays, network, report
from expert import EVAL_BATCH, evaluate, train_epoch
from torch import Tensor, nn

MODES = ("default", "max-autotune")


def warm_up(
    net: nn.Module,
    optimizer: torch.optim.Optimizer,
    splits: dict[str, tuple[Tensor, Tensor]],
    batch: int,
) -> float:
    """Seconds of compiling for every size of batch; network and optimiser are left as they were."""
    weights, state = copy.deepcopy(net.state_dict()), copy.deepcopy(optimizer.state_dict())
    images, labels = splits["train"]
    started = time.perf_counter()
    for size in sorted({min(batch, len(images)), len(images) % batch or batch}, reverse=True):
        train_epoch(net, optimizer, images[:size], labels[:size], size)
    for size in {min(EVAL_BATCH, len(i)) for i, _ in splits.values()}:
        evaluate(net, images[:size], labels[:size])
    for rest in {len(i) % EVAL_BATCH for i, _ in splits.values()} - {0}:
        evaluate(net, images[:rest], labels[:rest])
    seconds = time.perf_counter() - started
    net.load_state_dict(weights)
    optimizer.load_state_dict(state)
    return seconds


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--mode", choices=MODES, default="default")
    given = parser.parse_args()
    splits = {
        name: (torch.from_numpy(images).permute(0, 3, 1, 2), torch.from_numpy(labels).long())
        for name, (images, labels) in arrays(given.data, given.images).items()
    }
    torch.manual_seed(given.seed)
    net = network(given.work).to(memory_format=torch.channels_last)
    fast = torch.compile(net, mode=given.mode)
    optimizer = torch.optim.Adam(net.parameters(), lr=given.lr, fused=True)
    compile_seconds = warm_up(
        fast,  # pyright: ignore[reportArgumentType]
        optimizer,
        splits,
        given.batch,
    )
    started, trained = time.perf_counter(), 0.0
    found: dict[str, float] = {}
    for _ in range(given.epochs):
        begun = time.perf_counter()
        train_epoch(
            fast,  # pyright: ignore[reportArgumentType]
            optimizer,
            *splits["train"],
            given.batch,
        )
        trained += time.perf_counter() - begun
        for name, split in splits.items():
            found[f"{name}_loss"], found[f"{name}_accuracy"] = evaluate(
                fast,  # pyright: ignore[reportArgumentType]
                *split,
            )
    seconds = time.perf_counter() - started
    report(
        f"{given.mode}, bfloat16, channels_last, {torch.get_num_threads()} threads",
        seconds=seconds,
        train_seconds=trained,
        compile_seconds=compile_seconds,
        **found,
    )


if __name__ == "__main__":
    main()
