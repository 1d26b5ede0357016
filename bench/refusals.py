"""Refusals come at once: every bad input of tests/bad_inputs.py as a process of its own, timed.

Seconds are those of whole processes, one after another. A case that is above a second is timed
again, and the quicker time counts: other work on the machine is none of the command's. On a busy
machine look at the processor's seconds, which others touch less. Each answer is checked, too: exit
code 2, one line, nothing on standard output.

Command: python bench/refusals.py [--only TEXT] [--turns 3]
"""

from __future__ import annotations

import argparse
import importlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from figures import machine_line, markdown, median

sys.path.append(str(Path(__file__).parent.parent / "tests"))
bad_files, bad_inputs = map(importlib.import_module, ("bad_files", "bad_inputs"))

IMAGES = ("images", "arrays", "archive", "table")  # kinds of cases that read files of images


def asked(words: Sequence[str], folder: Path) -> tuple[float, float, str]:
    """Seconds of the command, those of the processor, and what is wrong with the answer, or ""."""
    environment = {**os.environ, "CONVSCOPE_CACHE": str(folder.parent / "cache")}
    started, before = time.perf_counter(), processor_seconds()
    done = subprocess.run(
        [sys.executable, "-m", "convscope.cli", *words],
        capture_output=True,
        text=True,
        cwd=folder,
        env=environment,
    )
    seconds, busy = time.perf_counter() - started, processor_seconds() - before
    lines = done.stderr.splitlines()
    right = done.returncode == 2 and len(lines) == 1 and not done.stdout
    return seconds, busy, "" if right else f"code {done.returncode}, {len(lines)} lines"


def processor_seconds() -> float:
    """What all children that have ended have taken."""
    used = os.times()
    return used.children_user + used.children_system


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="", help="cases whose names hold this text")
    parser.add_argument("--turns", type=int, default=3, help="of a case above a second, at most")
    given = parser.parse_args()
    cases = {name: words for name, (words, _) in bad_inputs.cases().items() if given.only in name}
    rows: list[tuple[str, float, float, str]] = []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "here"
        bad_files.make(folder)
        for name, words in cases.items():
            seconds, busy, wrong = asked(words, folder)
            for _ in range(given.turns - 1):
                if seconds > 1:
                    again = asked(words, folder)
                    seconds, busy = min(seconds, again[0]), min(busy, again[1])
            rows.append((name, seconds, busy, wrong))
    times, busy_times = [row[1] for row in rows], [row[2] for row in rows]
    plain = [row[1] for row in rows if not row[0].startswith(IMAGES)]
    slow = [row for row in rows if row[1] > 1 or row[3]]
    print(f"{machine_line()}\n")
    print(
        f"{len(rows)} bad inputs: median {median(times):.2f} s, largest {max(times):.2f} s "
        f"({median(busy_times):.2f} and {max(busy_times):.2f} s of the processor); "
        f"{sum(t > 1 for t in times)} above 1 s ({sum(t > 1 for t in plain)} of {len(plain)} that "
        f"read no image), {sum(t > 2 for t in times)} above 2 s; "
        f"{sum(bool(wrong) for *_, wrong in rows)} with a wrong answer\n"
    )
    if slow:
        shown = [(name, f"{s:.2f}", f"{busy:.2f}", why or "right") for name, s, busy, why in slow]
        print(markdown(("above 1 s, or wrong", "seconds", "processor's", "answer"), shown))


if __name__ == "__main__":
    main()
