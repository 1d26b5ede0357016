"""Damage behind a verdict: files of a finished study are altered, then it is read as always.

A fault is a flipped bit, a tail that is cut off, an emptied or a missing file, of any file of the
study. Each is followed by what `convscope runs` reads, which is what going on with the study reads,
too; where that names nothing, and for every tenth fault, by what `convscope report` reads: every
chapter's finding, the tree of results.json. A fault is *detected* where a line names the run or the
file, *harmless* where nothing is said and results.json is equal, and *silent* otherwise, also where
it ends in a traceback. Then a few copies with seven flips each are gone on with in earnest, after
which all chapters must say what they said at first.

Command: python bench/torture.py [STUDY] [--faults 1000] [--resumes 5] [--seed 0]
Without STUDY a small one is trained first. Exit code 1 where any fault is silent.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from figures import markdown

from convscope import data, studies
from convscope.errors import UserError
from convscope.report.files import results
from convscope.studies.rendering import context_of, read_again, whole
from convscope.studies.study_json import about_json
from convscope.training import list_runs

OUTCOMES = ("detected", "harmless", "silent")
KINDS = ("flipped",) * 6 + ("cut",) * 3 + ("empty", "missing")
READ = {"study.json", "recipe.json", "metrics.jsonl", "val_losses.f16", "checkpoint.safetensors"}
# the others are written only
READ |= {"best.safetensors", "environment.json", "images.json", "result.json"}
HEADER = 4000  # bytes: half of the faults hit these
CHAPTERS = ("capacity", "nonlinearity", "ordering")


class Listener(studies.Watcher):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)


@dataclass
class Reading:
    """What a study says: lines for the user, and the tree of results.json where it can be read."""

    said: list[str] = field(default_factory=list)
    tree: dict[str, Any] | None = None


def listed(root: Path) -> list[str]:
    """What `convscope runs` says of damage; going on with a study reads runs in the same way."""
    return [f"left out: {found}" for found in list_runs(root) if isinstance(found, UserError)]


def reading(root: Path) -> Reading:
    """A study as `convscope report` reads it; nothing is drawn or written."""
    listener = Listener()
    try:
        folder = studies.StudyFolder.open(root)
        about, plan = whole(folder)
        driver, findings = read_again(folder, context_of(folder, about, plan), listener)
        sentence = studies.sentence_of(about.data, findings)
        runs = tuple(driver.runs.values())
        tree = results(about_json(about), findings, runs, driver.used, sentence, driver.damaged)
    except UserError as error:
        return Reading([*listener.said, str(error)])
    broken = [f"chapter {name}: {why}" for name, why in driver.broken.items()]
    missing = [line for finding in findings.values() for line in finding.missing]
    return Reading([*listener.said, *broken, *missing], tree)


@contextlib.contextmanager
def damaged(path: Path, kind: str, draw: random.Random) -> Iterator[None]:
    """A file that is damaged inside, and as it was afterwards."""
    content = path.read_bytes()
    most = len(content) if draw.random() < 0.5 else min(len(content), HEADER)
    place = draw.randrange(max(1, most))
    if kind == "flipped" and content:
        altered = bytearray(content)
        altered[place] ^= 1 << draw.randrange(8)
        path.write_bytes(altered)
    elif kind == "missing":
        path.unlink()
    else:
        path.write_bytes(content[:place] if kind == "cut" else b"")
    try:
        yield
    finally:
        path.write_bytes(content)


def outcome(root: Path, path: Path, known: Reading, thorough: bool = True) -> str:
    """How a study reads with this damaged file.

    known: how it reads without the damage.
    thorough: where `runs` names the damage, `report` must do so, too.
    """
    name = path.parent.name if path.parent.parent.name == "runs" else path.name
    try:
        if any(name in line for line in listed(root)) and not thorough:
            return "detected"
        found = reading(root)
    except Exception as error:
        print(f"traceback: {path.relative_to(root)}: {error!r}", file=sys.stderr)
        return "silent"
    if any(name in line for line in found.said):
        return "detected"
    if not found.said and found.tree == known.tree:
        return "harmless"
    print(f"silent: {path.relative_to(root)}", file=sys.stderr)
    return "silent"


def torture(
    root: Path, faults: int, seed: int = 0, of_any: float = 0.5, thorough: int = 10
) -> dict[str, Counter[str]]:
    """By name of a file how often each outcome came; the study is as it was afterwards.

    root: a finished study.
    faults: how many.
    seed: draws them.
    of_any: the share of them that hits any file; the others hit files that are read.
    thorough: every so many are read by `report`, even where `runs` has named them.
    """
    draw, known = random.Random(seed), reading(root)
    assert not known.said and known.tree is not None, known.said
    files = [path for path in sorted(root.rglob("*")) if path.is_file()]
    by_name: dict[str, list[Path]] = {}
    for path in files:
        by_name.setdefault(path.name, []).append(path)
    table: dict[str, Counter[str]] = {}
    for turn in range(faults):
        name = draw.choice(sorted(READ & by_name.keys()))
        path = draw.choice(files if draw.random() < of_any else by_name[name])
        with damaged(path, draw.choice(KINDS), draw):
            found = outcome(root, path, known, turn % thorough == 0)
        label = path.name if path.name in READ else "files that are not read"
        table.setdefault(label, Counter())[found] += 1
        if turn % 100 == 99:
            print(f"{turn + 1} of {faults} faults", file=sys.stderr, flush=True)
    return table


def resumed(root: Path, turns: int, seed: int) -> list[str]:
    """What is wrong after going on with a damaged copy of a study, a line each; [] is good."""
    draw, wrong = random.Random(seed), []
    known = json.loads((root / "results.json").read_text(encoding="utf-8"))
    command = shlex.split(known["study"]["command"])
    if "--out" in command:
        place = command.index("--out")
        del command[place : place + 2]
    names = sorted(READ - {"study.json"})
    for turn in range(turns):
        with tempfile.TemporaryDirectory() as temporary:
            copy = Path(shutil.copytree(root, Path(temporary) / root.name))
            hit = []
            for name in names:
                path = draw.choice(sorted((copy / "runs").glob(f"*/{name}")))
                content = bytearray(path.read_bytes())
                content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
                path.write_bytes(content)
                hit.append(path.parent.name)
            called = [sys.executable, "-m", "convscope.cli", *command[1:], "--out", str(copy)]
            done = subprocess.run(called, capture_output=True, text=True, cwd=root.parent)
            tree = json.loads((copy / "results.json").read_text(encoding="utf-8"))
            unnamed = [key for key in hit if key not in done.stderr]
            if done.returncode or tree["chapters"] != known["chapters"]:
                wrong.append(f"turn {turn}: another answer (exit code {done.returncode})")
            if len(unnamed) > 2:  # a flip in a blank of recipe.json or result.json is harmless
                wrong.append(f"turn {turn}: not named: {', '.join(unnamed)}")
        print(f"gone on {turn + 1} of {turns}", file=sys.stderr, flush=True)
    return wrong


def table_rows(table: dict[str, Counter[str]]) -> list[list[str]]:
    """A row for each name of a file, and one for all."""
    whole_table = sum(table.values(), Counter[str]())
    counted = [*sorted(table.items()), ("all", whole_table)]
    return [[name, *(str(counts[one]) for one in OUTCOMES)] for name, counts in counted]


def small_study(folder: Path) -> Path:
    """A study of 500 small images, trained in about two minutes."""
    shapes = data.load("shapes", val=0)
    inside = slice(8, 24)
    x, x_test = (
        split.images[:count, :, inside, inside].permute(0, 2, 3, 1).numpy()
        for split, count in ((shapes.train, 500), (shapes.test, 200))
    )
    labels = {"y_train": shapes.train.labels[:500], "y_test": shapes.test.labels[:200]}
    images = folder / "shapes.npz"
    y, y_test = (labels[name].numpy() for name in ("y_train", "y_test"))
    np.savez(images, x_train=x, x_test=x_test, y_train=y, y_test=y_test)
    root = folder / "study"
    command = f"convscope study {images} --chapters {','.join(CHAPTERS)} --seeds 2"
    studies.study(images, CHAPTERS, seeds=2, out=root, command=command, watcher=studies.Lines())
    return root


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("study", nargs="?", type=Path, help="a finished study; it is copied")
    parser.add_argument("--faults", type=int, default=1000)
    parser.add_argument("--resumes", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if given.study is None:
            root = small_study(folder)
        else:
            root = Path(shutil.copytree(given.study, folder / given.study.name))
        table = torture(root, given.faults, given.seed)
        wrong = resumed(root, given.resumes, given.seed)
    print(markdown(["file", *OUTCOMES], table_rows(table)))
    print(f"\ngone on after seven flips each, {given.resumes} times: {len(wrong)} faults")
    print("\n".join(wrong), end="\n" if wrong else "")
    return 1 if wrong or sum(counts["silent"] for counts in table.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
