"""Run folders when a process dies, two work at once, or the disk is full."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from recording import assert_same, blink

from convscope.errors import UserError
from convscope.files import set_aside, write_bytes, write_json
from convscope.recipe.json_form import to_json
from convscope.recipe.recipe import Recipe
from convscope.training.main_path import run_lock, train
from convscope.training.run_folder import list_runs, read_run
from convscope.training.runs import Run


@pytest.fixture(scope="module")
def recipe(micro: Path) -> Recipe:
    return blink(micro)


@pytest.fixture(scope="module")
def whole(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """An uninterrupted run, for reading and comparing."""
    return train(recipe, tmp_path_factory.mktemp("whole"))


# --- deaths

TRAINER = """
import json, os, pathlib, sys
# what training imports on its way
import platformdirs, safetensors.torch, torch._dynamo, torch.utils.flop_counter
from convscope.errors import UserError
from convscope.recipe import recipe_from_json
from convscope.training import train

def die_at(count):  # every fsync and every rename of the run is a place to die
    left = [count]
    def dying(call):
        def wrapper(*arguments):
            left[0] -= 1
            if left[0] == 0:
                os._exit(9)
            return call(*arguments)
        return wrapper
    os.fsync, pathlib.Path.replace = dying(os.fsync), dying(pathlib.Path.replace)

for line in sys.stdin:
    root, recipe, places = json.loads(line)
    child = os.fork()
    if child == 0:
        if places:
            die_at(places)
        try:
            train(recipe_from_json(recipe), root)
        except UserError as error:
            os.write(2, f"{error}\\n".encode())
            os._exit(2)
        os._exit(0)
    print(child, flush=True)
    print(os.waitpid(child, 0)[1], flush=True)
"""


class Trainer:
    """Trains in children of a process that has imported torch, so that a death costs no import."""

    def __init__(self) -> None:
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            [sys.executable, "-c", TRAINER], stdin=pipe, stdout=pipe, stderr=pipe, text=True
        )

    def train(
        self, recipe: Recipe, root: Path, places: int = 0, kill_after: float | None = None
    ) -> int:
        """The exit status (negative: the signal) of a child that trains.

        It dies at a place, or is killed after so many seconds.
        """
        process = self.process
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(json.dumps([str(root), to_json(recipe), places]) + "\n")
        process.stdin.flush()
        child = int(process.stdout.readline())
        if kill_after is not None:
            time.sleep(kill_after)
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        return os.waitstatus_to_exitcode(int(process.stdout.readline()))

    def close(self) -> str:
        return self.process.communicate()[1]


@pytest.fixture(scope="module")
def trainer(micro: Path) -> Iterator[Trainer]:
    trainer = Trainer()
    yield trainer
    trainer.close()


@pytest.mark.parametrize("step", [6, pytest.param(1, marks=pytest.mark.slow)])
def test_death_at_every_write_and_rename_loses_nothing(
    trainer: Trainer, recipe: Recipe, tmp_path: Path, step: int
) -> None:
    """At each of them, or at every `step`-th."""
    recipe, places = replace(recipe, epochs=2), 1 - step
    whole = train(recipe, tmp_path / "whole")
    while True:
        places += step
        root = tmp_path / str(places)
        status = trainer.train(recipe, root, places=places)
        if status == 0:
            break
        assert status == 9
        known = [
            line for path in root.rglob("metrics.jsonl") for line in path.read_bytes().splitlines()
        ]
        finished = list(root.rglob("result.json"))
        assert trainer.train(recipe, root) == 0
        (run,) = list_runs(root)
        assert isinstance(run, Run), run
        assert_same(run, whole)
        kept = (run.path / "metrics.jsonl").read_bytes().splitlines()[: len(known)]
        assert kept == known, "an epoch in the log was trained again"
        assert not finished or len(known) == recipe.epochs
    assert places > 3 * 4 + 2 * (
        3 * 2 + 1
    )  # three for each of four files, and seven or more for each epoch


@pytest.mark.slow
def test_sigkill_at_random_moments_changes_no_bit(
    trainer: Trainer, recipe: Recipe, tmp_path: Path
) -> None:
    longer = replace(recipe, epochs=25, lr=0.002)
    started = time.perf_counter()
    whole = train(longer, tmp_path / "whole")
    latest = max(0.3, min(5, time.perf_counter() - started))  # a busy machine takes seconds
    draw, kills = random.Random(3), 0
    # how many kills a run takes depends on the machine's speed: go on until there were enough
    for attempt in range(40):
        root = tmp_path / str(attempt)
        while trainer.train(longer, root, kill_after=draw.uniform(0.02, latest)) != 0:
            kills += 1
            assert kills < 200
        (run,) = list_runs(root)
        assert isinstance(run, Run), run
        assert_same(run, whole)
        if kills >= 8:
            break
    assert kills >= 8


def test_two_processes_never_train_the_same_run(
    trainer: Trainer, whole: Run, recipe: Recipe, tmp_path: Path
) -> None:
    path = tmp_path / whole.id
    with run_lock(path):
        assert trainer.train(recipe, tmp_path) == 2
        with pytest.raises(UserError, match="another process is training it"):
            train(recipe, tmp_path)
        assert not (path / "recipe.json").exists()
    assert trainer.train(recipe, tmp_path) == 0
    assert_same(read_run(path), whole)


# --- writing


def test_write_bytes_leaves_the_old_or_the_new_file(tmp_path: Path) -> None:
    """A process that writes two contents in turn is killed at random moments."""
    path = tmp_path / "file"
    code = f"""
from pathlib import Path
from convscope.files import write_bytes
path, contents = Path({str(path)!r}), [b"a" * 3_000_000, b"b" * 2_000_000]
print("ready", flush=True)
while True:
    for content in contents:
        write_bytes(path, content)
"""
    draw = random.Random(4)
    for _ in range(6):
        with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None and process.stdout.readline() == b"ready\n"
            while not path.exists():
                time.sleep(0.001)
            time.sleep(draw.uniform(0, 0.15))
            process.kill()
        content = path.read_bytes()
        assert content in (b"a" * 3_000_000, b"b" * 2_000_000)


def test_a_full_disk_leaves_the_old_file(tmp_path: Path) -> None:
    """A limit on the size of files is the error that a full disk gives, without needing one."""
    path = tmp_path / "file"
    write_bytes(path, b"old")
    code = f"""
import resource
from pathlib import Path
from convscope.files import write_bytes
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    write_bytes(Path({str(path)!r}), b"new" * 1000)
except OSError as error:
    print("refused", error.strerror)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.startswith("refused"), done.stderr
    assert path.read_bytes() == b"old"


@pytest.mark.slow
def test_a_full_disk_stops_training_in_one_line_and_it_goes_on_later(
    whole: Run, recipe: Recipe, tmp_path: Path
) -> None:
    file = tmp_path / "recipe.json"
    write_json(file, to_json(recipe))
    limit = (whole.path / "checkpoint.safetensors").stat().st_size - 100
    code = f"""
import resource, sys
import convscope.cli, convscope.training.main_path
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
sys.argv = ["convscope", "train", "--recipe", {str(file)!r}, "--out", {str(tmp_path / "runs")!r}]
convscope.cli.main()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode in (1, 2) and "Traceback" not in done.stderr, done.stderr
    *epochs, last = done.stderr.splitlines()
    assert all(line.startswith("epoch ") for line in epochs) and "File too large" in last
    assert_same(train(recipe, tmp_path / "runs"), whole)


def test_what_is_set_aside_is_kept_with_its_reason(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for content in (b"one", b"two"):
        path.write_bytes(content)
        aside = set_aside(path, "altered\nby hand")
        assert aside.read_bytes() == content and not path.exists()
        assert aside.with_name(f"{aside.name}.why").read_text() == "altered\\nby hand\n"
    assert len(list(tmp_path.iterdir())) == 4
