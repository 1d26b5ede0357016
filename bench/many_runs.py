"""Ten thousand finished runs: how long it takes to list, plan, resume, merge and report them.

The runs are made up, tiny and whole: recipe, metrics, weights and hashes as training records them.
Seconds are those of whole processes; memory is the largest resident size of each. What a sweep
takes until all its runs are known stands apart from its report.

Command: python bench/many_runs.py [--runs 10000] [--keep FOLDER]
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from figures import machine_line, markdown

from convscope import data
from convscope.files import dump, seal
from convscope.recipe import ConvNet, Recipe, to_json
from convscope.studies.sharding import take_runs
from convscope.studies.toml_files import toml_of
from convscope.training import RunFolder, State

EPOCHS, SEEDS = 3, 20
# told when every run is known, and the report is still to be written; then the whole
PHASES = """
import os, sys, time
from pathlib import Path
from convscope.studies.sweep_request import read_request
from convscope.studies.sweeping import carry_out
from convscope.studies.watcher import Watcher

class Told(Watcher):
    def found(self, chapter):
        print(time.time() - float(sys.argv[2]), sum(os.times()[:2]))

carry_out(read_request(Path(sys.argv[1]), {}), Told())
"""
COUNTS = {"filters": 8, "parameters": 1_738, "flops": 90_000}


def template(root: Path, recipe: Recipe, images: tuple[int, int]) -> Path:
    """One run, recorded as training records it."""
    folder = RunFolder(root / recipe.id)
    folder.path.mkdir(parents=True)
    folder.begin(recipe)
    folder.resume()
    val, test = images
    for epoch in range(1, EPOCHS + 1):
        figures = {
            f"{split}_{what}": 1 / epoch
            for split in ("train", "val", "test")
            for what in ("loss", "accuracy", "loss_sd")
        }
        times = {"epoch": epoch, "lr": recipe.lr, "train_seconds": 0.5, "seconds": 1.0}
        tensors = {
            "net.weight": torch.zeros(4),
            "losses.val": torch.full((val,), 1 / epoch, dtype=torch.float16),
            "losses.test": torch.full((test,), 1 / epoch, dtype=torch.float16),
            "right.val": torch.zeros((val + 7) // 8, dtype=torch.uint8),
            "right.test": torch.zeros((test + 7) // 8, dtype=torch.uint8),
        }
        folder.epoch({**times, **figures}, State(epoch, tensors))
    folder.finish(recipe, "finished", COUNTS)
    return folder.path


def copied(source: Path, recipe: Recipe) -> None:
    """The same files under another recipe, each a file of its own, as training leaves them."""
    place = source.with_name(recipe.id)
    if place.exists():
        return
    place.mkdir()
    for file in source.iterdir():
        if file.name not in ("recipe.json", "result.json", ".lock"):
            shutil.copyfile(file, place / file.name)
    text = (json.dumps(to_json(recipe), indent=2) + "\n").encode()
    (place / "recipe.json").write_bytes(text)
    result = json.loads((source / "result.json").read_text())
    result["recipe_sha256"] = hashlib.sha256(dump(to_json(recipe))).hexdigest()
    result["files"]["recipe.json"] = hashlib.sha256(text).hexdigest()
    result["seal"] = seal(result)
    (place / "result.json").write_text(json.dumps(result, indent=2) + "\n")


def timed(*command: str) -> tuple[float, float, float]:
    """Seconds of a process by the clock and of its cores, and its megabytes."""
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    assert status == 0, (command, status)
    return time.perf_counter() - started, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def made(root: Path, runs: int) -> Path:
    """A sweep's file, and all its runs as finished ones."""
    loaded = data.load("shapes")
    base = Recipe(data="shapes", data_hash=loaded.hash, model=ConvNet(8, 1), epochs=EPOCHS)
    rates = [round(1e-4 * (i + 1), 10) for i in range(runs // SEEDS)]
    file = root / "sweep.toml"
    tree = to_json(replace(base, seed=0))
    own = {key: value for key, value in tree.items() if value is not None and key != "seed"}
    # nothing is compared: the words cost as they do in any study
    asked = {"seeds": SEEDS, "out": str(root / "sweep"), "compare": [], **own}
    asked["grid"] = {"lr": rates}
    file.write_text(toml_of(asked))
    place = root / "sweep" / "runs"
    place.mkdir(parents=True)
    (root / "sweep" / ".lock").touch()
    first = template(place, replace(base, lr=rates[0]), (len(loaded.val), len(loaded.test)))
    for rate in rates:
        for seed in range(SEEDS):
            copied(first, replace(base, lr=rate, seed=seed))
    return file


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--keep", type=Path)
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as place:
        root = given.keep or Path(place)
        root.mkdir(exist_ok=True)
        file = root / "sweep.toml" if (root / "sweep.toml").exists() else made(root, given.runs)
        convscope = (sys.executable, "-m", "convscope.cli")
        timed(*convscope, "sweep", str(file))  # measures the machine, which is no part of this
        rows = []
        for name, command in (
            ("convscope runs", (*convscope, "runs", str(root / "sweep"))),
            ("convscope sweep: plan, resume and report", (*convscope, "sweep", str(file))),
        ):
            seconds, busy, megabytes = timed(*command)
            rows.append([name, f"{seconds:.1f}", f"{busy:.1f}", f"{megabytes:,.0f}"])
        done = subprocess.run(
            [sys.executable, "-c", PHASES, str(file), str(time.time())],
            stdout=subprocess.PIPE,
            check=True,
        )
        planned = (f"{float(one):.1f}" for one in done.stdout.split())
        rows.append(["of it plan and resume, with imports", *planned, ""])
        started, before = time.perf_counter(), time.process_time()
        (root / "joined").mkdir(exist_ok=True)
        taken = take_runs(root / "sweep" / "runs", root / "joined")
        spent = time.perf_counter() - started, time.process_time() - before
        rows.append([f"taking over {taken:,} runs", *(f"{one:.1f}" for one in spent), ""])
    print(f"{machine_line()}; {given.runs:,} runs\n")
    print(markdown(("what", "seconds", "of its cores", "MB"), rows))


if __name__ == "__main__":
    main()
