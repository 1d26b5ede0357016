"""Whether convscope works on a GPU, and how fast: one command for a machine lent for minutes.

It needs torch, numpy and safetensors alone, with what torch itself requires. Each step runs in a
process of its own with a time limit of its own, so that a hang or a CUDA error costs one step.
Results are appended to a file of JSON lines as they come, and printed as one table at the end.

Checked: float32 on the device against float64 on the CPU (logits and one step's gradients), every
optimiser, resuming against an uninterrupted run, memory that runs out, the clock of an epoch, the
evaluation batch by image size. Then three networks are trained: a small one, one of nine
convolutions, and the strong recipe; on CIFAR-10 where it is in the cache, else on the generated
shapes, else on noise. `--quick` is the same with a few images, to check the script itself.

Command: make gpu, or PYTHONPATH=. python bench/gpu.py [--minutes 8] [--out FILE]
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import multiprocessing
import os
import sys
import tempfile
import time
import traceback
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # where it is not installed

LIMITS = {  # seconds of each step, in their order
    "machine": 60,
    "data": 60,
    "agreement": 60,
    "optimisers": 90,
    "resume": 120,
    "out of memory": 60,
    "clock": 60,
    "evaluation batch": 60,
    "steps small": 60,
    "steps nine": 60,
    "steps strong": 90,
    "tuned": 60,
    "train small": 120,
    "train nine": 120,
    "train strong": 240,
}


def main() -> int:
    given = arguments()
    out = given.out or Path(os.environ.get("OUT", "runs")) / "gpu.jsonl"
    out.parent.mkdir(parents=True, exist_ok=True)
    end = time.monotonic() + 60 * given.minutes
    results = []
    with tempfile.TemporaryDirectory() as cache:
        if importlib.util.find_spec("platformdirs") is None:  # which names the user's cache
            os.environ.setdefault("CONVSCOPE_CACHE", cache)
        import gpu_steps

        for step in given.only or LIMITS:
            if given.quick and step in gpu_steps.NOT_QUICK:
                continue
            limit = min(LIMITS[step], end - time.monotonic())
            result = {"step": step, "device": given.device, "quick": given.quick}
            result |= run(step, given.device, given.quick, limit)
            results.append(result)
            with out.open("a", encoding="utf-8") as file:
                file.write(json.dumps(result) + "\n")
            print(f"{step}: {result['status']}, {result['seconds']} s", file=sys.stderr, flush=True)
    print(f"{table(results)}\n\nwritten: {out}")
    return int(any(result["status"] != "good" for result in results))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda:0", help="cuda:N, mps or cpu (cuda:0)")
    parser.add_argument("--quick", action="store_true", help="a few images: a check of the script")
    parser.add_argument("--minutes", type=float, default=8.0, help="of all steps together (8)")
    parser.add_argument("--out", type=Path, help="JSON lines ($OUT/gpu.jsonl or runs/gpu.jsonl)")
    parser.add_argument("--only", nargs="+", choices=list(LIMITS), help="these steps (all)")
    return parser.parse_args()


def run(step: str, device: str, quick: bool, limit: float) -> dict[str, Any]:
    """A step's status (good, bad, failed, timed out or left out), its result in words, seconds."""
    if limit < 1:
        return {"status": "left out", "result": "no time was left", "seconds": 0.0}
    # a fork has torch imported already, but no GPU may be touched before and after it
    forked = quick and device == "cpu" and sys.platform == "linux"
    get = multiprocessing.get_context
    context = get("fork") if forked else get("spawn")
    ours, theirs = context.Pipe(duplex=False)
    started = time.monotonic()
    process = context.Process(target=work, args=(theirs, step, device, quick), daemon=True)
    process.start()
    theirs.close()
    try:
        found = ours.recv() if ours.poll(limit) else None
    except EOFError:
        process.join()
        found = {"status": "failed", "result": f"its process ended with {process.exitcode}"}
    if found is None:
        found = {"status": "timed out", "result": f"stopped after {limit:.0f} s"}
    process.kill()
    process.join(10)  # a process that hangs in a driver may outlive its killing
    return {**found, "seconds": round(time.monotonic() - started, 1)}


def work(pipe: Connection, step: str, device: str, quick: bool) -> None:
    """In the step's process."""
    import gpu_steps

    try:
        found = gpu_steps.STEPS[step](device, quick)
        found["peak_mb"] = gpu_steps.peak_mb(device)
    except BaseException as error:
        text = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        found = {"status": "failed", "result": text, "traceback": traceback.format_exc()[-4000:]}
    pipe.send(found)


def table(results: list[dict[str, Any]]) -> str:
    """The machine, and a row of Markdown per step."""
    machine = [result["result"] for result in results if result["step"] == "machine"]
    rows = [["step", "status", "seconds", "images/s", "peak memory, MB", "result"], ["---"] * 6]
    for result in results:
        if result["step"] != "machine" or result["status"] != "good":
            rate, peak = result.get("images_per_second"), result.get("peak_mb")
            rows.append(
                [
                    result["step"],
                    result["status"],
                    f"{result['seconds']:.1f}",
                    f"{rate:,.0f}" if rate else "",
                    f"{peak:,.0f}" if peak else "",
                    result["result"].replace("|", "/"),
                ]
            )
    return "\n".join([*machine, "", *(f"| {' | '.join(row)} |" for row in rows)])


if __name__ == "__main__":
    sys.exit(main())
