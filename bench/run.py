"""The speed benches one after the other, ending in Markdown tables for docs/performance.md.

Command: python bench/run.py [--turns 3] [--works small nine sweep overhead]
(about an hour and a half with all frameworks on a quiet 2-core CPU)
"""

from __future__ import annotations

import argparse
import sys
import time

import epoch
import overhead
import sweep
import torch
from ceiling import ceiling
from figures import machine_line, markdown

OVERHEAD_IMAGES, OVERHEAD_TURNS = 3200, 9
WORKS = ("small", "nine", "sweep", "overhead")


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--turns", type=int, default=3, help="of each peer in each work")
    parser.add_argument("--works", nargs="+", choices=WORKS, default=list(WORKS))
    parser.add_argument(
        "--peers",
        nargs="+",
        choices=[name for name in epoch.PEERS if name != "ours"],
        default=list(epoch.PEERS)[:-1],
    )
    given = parser.parse_args()
    started = time.perf_counter()
    machine = machine_line()
    limit = ceiling(torch.get_num_threads())
    print(f"Machine: {machine}.\nThe fastest convolution: {limit / 1e9:.0f} GFLOP/s.\n", flush=True)
    verdicts: list[tuple[str, bool, str]] = []

    for work in [name for name in given.works if name in epoch.IMAGES]:
        images = epoch.IMAGES[work]
        results = {
            batch: epoch.measure(work, batch, images, given.turns, [*given.peers, "ours"])
            for batch in epoch.BATCHES[work]
        }
        epoch.write(machine, work, images, results, limit)
        rows = [
            row
            for batch, found in results.items()
            for row in [*epoch.rows_of(batch, found), epoch.call_row(batch, found)]
        ]
        print(f"{work}, {images:,} training images\n\n{markdown(epoch.HEAD, rows)}\n", flush=True)
        for batch, found in results.items():
            good, text = epoch.verdict(found)
            verdicts.append(
                (
                    f"{work}, batch {batch}",
                    good,
                    f"{epoch.of_ceiling(work, images, found, limit)}; {text}",
                )
            )
    if "sweep" in given.works:
        found = sweep.measure(given.turns, epoch.IMAGES["small"])
        print(f"sweep\n\n{markdown(sweep.HEAD, sweep.rows_of(found))}\n", flush=True)
        verdicts.append(("sweep", *sweep.verdict(found)))
    if "overhead" in given.works:
        loops, memory, chosen = overhead.measure(OVERHEAD_IMAGES, OVERHEAD_TURNS)
        rows = overhead.rows_of(OVERHEAD_IMAGES, loops, memory)
        print(
            f"The loop alone, one thread, {chosen}\n\n"
            f"{markdown(('what', 'batch', 'seconds', 'ratio'), rows)}\n"
        )
        verdicts.append(("overhead", *overhead.verdict(loops)))
    for name, good, text in verdicts:
        print(f"{name}: {'good' if good else 'BAD'}: {text}")
    print(f"took {time.perf_counter() - started:.0f} s")
    return int(not all(good for _, good, _ in verdicts))


if __name__ == "__main__":
    sys.exit(main())
