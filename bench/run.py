"""The speed benches one after the other, ending in one Markdown table for docs/performance.md.

Command: python bench/run.py [--turns 3] [--batch 64]       (under six minutes on a quiet 2-core CPU)
"""

from __future__ import annotations

import argparse
import sys
import time

import epoch
import overhead
from figures import machine_line, markdown

OVERHEAD_IMAGES, OVERHEAD_TURNS = 3200, 9


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--turns", type=int, default=3, help="of each batch size of the epoch bench")
    parser.add_argument("--batch", type=int, nargs="+", default=[64])
    parser.add_argument("--images", type=int, default=50_000, help="of the epoch bench")
    given = parser.parse_args()
    started = time.perf_counter()
    machine = machine_line()
    results = {batch: epoch.measure(batch, given.images, given.turns) for batch in given.batch}
    epoch.write(machine, given.images, results)
    loops, memory, chosen = overhead.measure(OVERHEAD_IMAGES, OVERHEAD_TURNS)

    rows = [row[:4] for batch, found in results.items() for row in [*epoch.rows_of(batch, found), epoch.call_row(batch, found)]]
    rows += overhead.rows_of(OVERHEAD_IMAGES, loops, memory)
    print(f"\nMachine: {machine}.\nPrecision chosen for the loops on one thread: {chosen}.\n")
    print(markdown(("what", "batch", "seconds: median (least to most, turns)", "ratio, turn by turn"), rows))
    print()
    verdicts = [(f"batch {batch}", *epoch.verdict(found)) for batch, found in results.items()]
    verdicts.append(("overhead", *overhead.verdict(loops)))
    for name, good, text in verdicts:
        print(f"{name}: {'good' if good else 'BAD'}: {text}")
    print(f"took {time.perf_counter() - started:.0f} s")
    return int(not all(good for _, good, _ in verdicts))


if __name__ == "__main__":
    sys.exit(main())
