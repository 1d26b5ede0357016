"""Learning rates of a sweep, tuned at its two ends and interpolated: are the verdicts the same?

They are held against pilots at every width. The chapter on capacity is run twice on CIFAR-10, as
convscope runs it and with pilots at every width; runs that both ask for are trained once.

Command: python bench/transfer.py [--preset quick] [--seeds 3]       about ten minutes
writes bench/results/transfer.json
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

from figures import machine_line, markdown

from convscope.chapters.capacity import plan
from convscope.studies import Lines, study

HERE = Path(__file__).parent
HEAD = (
    "network",
    "rate, ends",
    "rate, each",
    "val loss, ends",
    "val loss, each",
    "difference / its SE",
)


def capacity(out: Path, preset: str, seeds: int | None) -> dict[str, Any]:
    found = study("cifar10", ["capacity"], preset, seeds=seeds, out=out, watcher=Lines())
    tree = json.loads((found.path / "results.json").read_text(encoding="utf-8"))
    pilots = [run for run in tree["runs"] if run["pilot"]]
    return {
        "chapter": tree["chapters"]["capacity"],
        "pilots": len(pilots),
        "pilot_seconds": sum(run["seconds"] for run in pilots),
    }


def compared(ends: dict[str, Any], each: dict[str, Any]) -> list[dict[str, Any]]:
    """Network by network: rates, mean validation losses, their difference over its standard error.

    This last figure is 0 where the runs are the same.
    """
    others = {network["network"]: network for network in each["chapter"]["numbers"]["networks"]}
    rows = []
    for ours in ends["chapter"]["numbers"]["networks"]:
        theirs = others[ours["network"]]
        a, b = ours["best"]["val_loss"], theirs["best"]["val_loss"]
        se = (a["se"] ** 2 + b["se"] ** 2) ** 0.5
        rows.append(
            {
                "network": ours["network"],
                "rates": [ours["lr"], theirs["lr"]],
                "losses": [a["mean"], b["mean"]],
                "in_standard_errors": (a["mean"] - b["mean"]) / se,
            }
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--preset", default="quick")
    parser.add_argument("--seeds", type=int)
    parser.add_argument(
        "--out", type=Path, help="a folder for the two studies, kept; otherwise a temporary one"
    )
    asked = parser.parse_args()
    out = asked.out or Path(tempfile.mkdtemp())
    ends = capacity(out / "ends", asked.preset, asked.seeds)
    shutil.copytree(out / "ends", out / "each", dirs_exist_ok=True)
    (out / "each" / "study.json").unlink()  # another study with the same runs
    plan.narrowest_and_widest = list  # every width gets pilots
    each = capacity(out / "each", asked.preset, asked.seeds)
    rows = compared(ends, each)
    print(machine_line())
    print(
        markdown(
            HEAD,
            [
                [
                    r["network"],
                    *(f"{x:g}" for x in r["rates"]),
                    *(f"{x:.3f}" for x in r["losses"]),
                    f"{r['in_standard_errors']:+.1f}",
                ]
                for r in rows
            ],
        )
    )
    for name, found in (("ends", ends), ("each", each)):
        numbers = found["chapter"]["numbers"]
        print(
            f"{name}: {found['pilots']} pilots, {found['pilot_seconds']:.0f} s; "
            f"{'; '.join(numbers['verdicts'].values())}; "
            f"smallest within one SE: {numbers['smallest_within_one_se']['network']}"
        )
    (HERE / "results").mkdir(exist_ok=True)
    (HERE / "results" / "transfer.json").write_text(
        json.dumps({"rows": rows, "ends": ends, "each": each}, indent=1)
    )
    if not asked.out:
        shutil.rmtree(out)


if __name__ == "__main__":
    main()
