"""What pruning leaves out of the search: would another configuration be chosen without it?

The chapter on the best network is run on CIFAR-10. Then every pruned configuration, one that was
not promoted, gets the run at the highest rung that it was spared. The chapter trains the strong
recipe and the best others to the end (`PRESETS` in convscope/chapters/best/plan.py). The choice is
the same where no pruned configuration has a lower validation loss than these at the highest rung.

Command: python bench/pruning.py [--trials 16] [--preset quick]       about ten minutes
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import replace
from pathlib import Path

from figures import machine_line, markdown

from convscope.chapters.best.plan import PRESETS
from convscope.engines import Job, LocalEngine
from convscope.planning import Search, describe_configuration
from convscope.recipe import Recipe
from convscope.studies import Lines, study
from convscope.training import Run, list_runs, train_job

HEAD = (
    "place",
    "configuration",
    "val loss at the first rung",
    "at the highest",
    "seconds there",
    "pruned",
)


def short_runs(root: Path) -> list[Run]:
    """The search's runs: judged by validation alone, of the network family that is searched."""
    return [
        run
        for run in list_runs(root)
        if isinstance(run, Run) and run.status == "finished" and "test" not in run.recipe.evaluate
    ]


def loss(run: Run) -> float:
    return run.best["val_loss"]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trials", type=int, default=16)
    parser.add_argument("--preset", default="quick")
    asked = parser.parse_args()
    preset = PRESETS[asked.preset]
    low, high = min(preset.rungs), max(preset.rungs)
    with tempfile.TemporaryDirectory() as out:
        found = study(
            "cifar10",
            ["best"],
            asked.preset,
            out=out,
            search=Search(trials=asked.trials),
            watcher=Lines(),
        )
        runs = found.path / "runs"
        first = {run.recipe: run for run in short_runs(runs) if run.recipe.epochs == low}
        promoted = {run.recipe for run in short_runs(runs) if run.recipe.epochs == high}
        spared: list[Recipe] = [
            recipe for recipe in (replace(r, epochs=high) for r in first) if recipe not in promoted
        ]
        workers = json.loads((found.path / "study.json").read_text(encoding="utf-8"))["choice"][
            "workers"
        ]
        with LocalEngine(workers) as engine:
            engine.gather([Job(recipe.id, train_job, (recipe, str(runs))) for recipe in spared])
        last = sorted((run for run in short_runs(runs) if run.recipe.epochs == high), key=loss)
    rows = [
        [
            str(place),
            describe_configuration(run.recipe),
            f"{loss(first[replace(run.recipe, epochs=low)]):.3f}",
            f"{loss(run):.3f}",
            f"{run.seconds:.0f}",
            "pruned" if run.recipe in spared else "",
        ]
        for place, run in enumerate(last, 1)
    ]
    kept = [run for run in last if run.recipe not in spared]
    chosen = kept[
        : preset.finals + 1
    ]  # the strong recipe among them, unless the search found better ones
    missed = [run for run in last if run.recipe in spared and loss(run) < loss(chosen[-1])]
    seconds = (
        sum(run.seconds for run in last if run.recipe in spared),
        sum(run.seconds for run in [*first.values(), *last]),
    )
    print(f"{machine_line()}\n{markdown(HEAD, rows)}\n")
    print(
        f"{len(spared)} of {len(last)} pruned; "
        f"of these better than the last of the {len(chosen)} best that were kept: {len(missed)}"
    )
    print(
        f"the runs that pruning spares take {seconds[0]:.0f} s of the {seconds[1]:.0f} s "
        f"that all would take ({seconds[0] / seconds[1]:.0%})"
    )


if __name__ == "__main__":
    main()
