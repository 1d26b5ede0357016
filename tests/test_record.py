"""Run folders under faults: altered bytes, torn logs, deaths, full disks, two processes at once."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from convscope.errors import UserError
from convscope.files import set_aside, write_bytes, write_json
from convscope.recipe.json_form import to_json
from convscope.recipe.networks import ConvNet
from convscope.recipe.recipe import Recipe
from convscope.training.main_path import run_lock, train
from convscope.training.run_folder import RunFolder, list_runs, read_run
from convscope.training.runs import Run, best_row
from convscope.training.tensor_files import read_tensors
from convscope.training.trained import network

FILES = [
    "recipe.json",
    "metrics.jsonl",
    "checkpoint.safetensors",
    "best.safetensors",
    "environment.json",
    "result.json",
]


@pytest.fixture(scope="module")
def recipe(micro: Path) -> Recipe:
    return Recipe(
        data=str(micro),
        model=ConvNet(width=2, depth=1),
        epochs=4,
        batch=30,
        lr=0.003,
        schedule="cosine",
        flip=True,
    )


@pytest.fixture(scope="module")
def whole(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """An uninterrupted run, for reading and comparing."""
    return train(recipe, tmp_path_factory.mktemp("whole"))


class Stop(Exception):
    pass


def interrupted(recipe: Recipe, root: Path, epochs: int) -> Path:
    """The folder of a run that was broken off after so many epochs."""

    def log(row: dict[str, Any]) -> None:
        if row["epoch"] == epochs:
            raise Stop

    with pytest.raises(Stop):
        train(recipe, root, log=log)
    (path,) = (path for path in root.iterdir() if path.is_dir())
    assert not (path / "result.json").exists()
    return path


def figures(run: Run) -> list[dict[str, Any]]:
    return [{key: value for key, value in row.items() if "seconds" not in key} for row in run.rows]


def assert_same(run: Run, whole: Run) -> None:
    """Metrics but for the seconds, and all weights and optimiser states, to the bit."""
    assert (run.recipe, run.status, run.size, run.message) == (
        whole.recipe,
        whole.status,
        whole.size,
        whole.message,
    )
    assert figures(run) == figures(whole)
    for name in ("checkpoint.safetensors", "best.safetensors"):
        (ours, ours_meta), (theirs, theirs_meta) = (
            read_tensors(run.path / name),
            read_tensors(whole.path / name),
        )
        assert ours.keys() == theirs.keys() and ours_meta["epoch"] == theirs_meta["epoch"]
        assert all(torch.equal(ours[key], theirs[key]) for key in ours), name


# --- what a folder holds


def test_a_finished_run_holds_its_files_and_reads_back(whole: Run, recipe: Recipe) -> None:
    assert {path.name for path in whole.path.iterdir()} - {".lock"} == set(FILES)
    assert json.loads((whole.path / "recipe.json").read_text()) == to_json(whole.recipe)
    assert whole.id == whole.recipe.id == replace(recipe, data_hash=whole.recipe.data_hash).id
    assert [row["epoch"] for row in whole.rows] == [1, 2, 3, 4] and whole.status == "finished"
    assert (
        whole.best == min(whole.rows, key=lambda row: row["val_loss"])
        and whole.last == whole.rows[-1]
    )
    assert [
        json.loads(line) for line in (whole.path / "metrics.jsonl").read_text().splitlines()
    ] == list(whole.rows)
    assert read_run(whole.path) == whole and list(list_runs(whole.path.parent)) == [whole]
    assert f"{whole.last['test_loss']:.4f}" in str(whole)


def test_the_best_weights_are_those_of_the_best_epoch(
    whole: Run, recipe: Recipe, tmp_path: Path
) -> None:
    best, metadata = read_tensors(whole.path / "best.safetensors")
    assert int(metadata["epoch"]) == whole.best["epoch"]
    folder = interrupted(recipe, tmp_path, whole.best["epoch"])
    then, _ = read_tensors(folder / "checkpoint.safetensors")
    assert all(torch.equal(value, then[name]) for name, value in best.items())
    last, _ = read_tensors(whole.path / "checkpoint.safetensors")
    assert all(
        torch.equal(value, last[f"net.{name}"])
        for name, value in network(whole, "last").state_dict().items()
    )
    assert all(
        torch.equal(value, best[f"net.{name}"])
        for name, value in network(whole).state_dict().items()
    )


def test_a_finished_run_is_read_and_not_trained_again(whole: Run, recipe: Recipe) -> None:
    before = {path.name: path.stat().st_mtime_ns for path in whole.path.iterdir()}
    assert train(recipe, whole.path.parent, log=lambda row: pytest.fail("trained again")) == whole
    assert {path.name: path.stat().st_mtime_ns for path in whole.path.iterdir()} == before


# --- altered files


def test_any_flipped_bit_is_found_or_harmless(whole: Run, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(whole.path, tmp_path / whole.id))
    expected = replace(whole, path=folder)
    tensors = {name: read_tensors(folder / name) for name in FILES if name.endswith(".safetensors")}
    draw, refusals = random.Random(0), dict.fromkeys(FILES, 0)
    for name in FILES * 60:
        path, content = folder / name, (folder / name).read_bytes()
        place = draw.randrange(
            min(len(content), 4000)
        )  # the headers of the tensors are in the first bytes
        altered = bytearray(content)
        altered[place] ^= 1 << draw.randrange(8)
        path.write_bytes(altered)
        try:
            if name in tensors:
                found, metadata = read_tensors(path)
                assert metadata == tensors[name][1] and found.keys() == tensors[name][0].keys(), (
                    name,
                    place,
                )
                assert all(torch.equal(found[key], tensors[name][0][key]) for key in found), (
                    name,
                    place,
                )
            else:
                assert read_run(folder) == expected, (name, place)
        except UserError as error:
            refusals[name] += 1
            assert str(folder) in str(error) and str(error).isprintable()
        path.write_bytes(content)
    assert read_run(folder) == expected
    assert (
        refusals["environment.json"] == 0
        and min(refusals[name] for name in FILES if name != "environment.json") > 30
    )


@pytest.mark.parametrize("name", ["recipe.json", "metrics.jsonl", "result.json"])
@pytest.mark.parametrize("fault", ["missing", "empty", "half", "a folder", "another run's"])
def test_a_file_that_is_not_what_was_written_is_named(
    whole: Run, recipe: Recipe, tmp_path: Path, name: str, fault: str
) -> None:
    folder = Path(shutil.copytree(whole.path, tmp_path / whole.id))
    path, content = folder / name, (folder / name).read_bytes()
    path.unlink()
    if fault == "a folder":
        path.mkdir()
    elif fault == "another run's":
        shutil.copy(train(replace(recipe, seed=1), tmp_path / "other").path / name, path)
    elif fault != "missing":
        path.write_bytes(content[: len(content) // 2] if fault == "half" else b"")
    with pytest.raises(UserError) as error:
        read_run(folder)
    assert str(folder) in str(error.value) and str(error.value).isprintable()
    assert [type(item) for item in list_runs(folder)] == (
        [] if name == "result.json" and fault == "missing" else [UserError]
    )


@pytest.mark.parametrize("name", ["metrics.jsonl", "result.json", "recipe.json"])
def test_an_altered_run_is_set_aside_and_made_again(
    whole: Run, recipe: Recipe, tmp_path: Path, name: str
) -> None:
    folder = Path(shutil.copytree(whole.path, tmp_path / whole.id))
    text = (folder / name).read_text()
    (folder / name).write_text(
        text.replace("9", "8", 1) if "9" in text else text.replace("1", "2", 1)
    )
    run = train(recipe, tmp_path)
    assert_same(run, whole)
    (aside,) = (
        path
        for path in folder.iterdir()
        if "set-aside" in path.name and not path.name.endswith(".why")
    )
    assert (
        aside.name.startswith("result.json")
        and name in aside.with_name(f"{aside.name}.why").read_text()
    )


def test_numbers_in_a_log_are_never_believed_without_their_seal(whole: Run, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(whole.path, tmp_path / whole.id))
    rows = [
        json.loads(line) | {"test_accuracy": 1.0}
        for line in (folder / "metrics.jsonl").read_text().splitlines()
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(UserError, match=r"metrics\.jsonl was altered"):
        read_run(folder)


# --- unfinished runs


def test_a_log_torn_at_any_byte_goes_on_as_if_nothing_had_been(
    recipe: Recipe, tmp_path: Path
) -> None:
    recipe = replace(recipe, evaluate=("val",))  # shorter lines
    whole = train(recipe, tmp_path / "whole")
    folder = interrupted(recipe, tmp_path / "torn", 3)
    log = folder / "metrics.jsonl"
    content = log.read_bytes()
    state = RunFolder(folder).resume()
    assert state is not None and state.epoch == 3
    starts_of_last_lines = content[: content.rstrip().rfind(b"\n")].rfind(b"\n") + 1
    for cut in range(starts_of_last_lines, len(content) + 1):
        log.write_bytes(content[:cut])
        again = RunFolder(folder)
        resumed = again.resume()
        assert resumed is not None and resumed.epoch == 3 and len(again.rows) == 3
        assert log.read_bytes() == content
    for cut in [
        starts_of_last_lines,
        *random.Random(1).sample(range(starts_of_last_lines, len(content)), 5),
    ]:
        copy = Path(shutil.copytree(folder, tmp_path / f"cut-{cut}" / folder.name))
        (copy / "metrics.jsonl").write_bytes(content[:cut])
        assert_same(train(recipe, copy.parent), whole)


@pytest.mark.parametrize("fault", ["flipped", "half", "empty", "missing", "text"])
def test_a_damaged_checkpoint_is_set_aside_and_the_run_ends_the_same(
    whole: Run, recipe: Recipe, tmp_path: Path, fault: str
) -> None:
    folder = interrupted(recipe, tmp_path, 2)
    path = folder / "checkpoint.safetensors"
    content = bytearray(path.read_bytes())
    content[-20] ^= 4
    damaged = {
        "flipped": content,
        "half": content[: len(content) // 2],
        "empty": b"",
        "text": b"weights",
        "missing": None,
    }[fault]
    path.unlink()
    if damaged is not None:
        path.write_bytes(damaged)
    seen: list[int] = []
    run = train(recipe, tmp_path, log=lambda row: seen.append(int(row["epoch"] or 0)))
    assert seen == [1, 2, 3, 4]
    assert_same(run, whole)
    asides = [
        path
        for path in folder.iterdir()
        if "set-aside" in path.name and not path.name.endswith(".why")
    ]
    assert [aside.read_bytes() for aside in asides] == ([] if damaged is None else [bytes(damaged)])
    assert all("checkpoint" in aside.with_name(f"{aside.name}.why").read_text() for aside in asides)


def test_only_what_is_missing_is_trained(whole: Run, recipe: Recipe, tmp_path: Path) -> None:
    interrupted(recipe, tmp_path, 3)
    seen: list[int] = []
    assert_same(train(recipe, tmp_path, log=lambda row: seen.append(int(row["epoch"] or 0))), whole)
    assert seen == [4]


def test_a_diverged_run_that_was_broken_off_is_still_diverged(micro: Path, tmp_path: Path) -> None:
    """Death between the last checkpoint and result.json makes no diverged run a finished one."""
    model = ConvNet(width=4, depth=2, activation="identity")
    recipe = Recipe(data=str(micro), model=model, epochs=6, batch=10, optimizer="sgd", lr=1e3)
    run = train(recipe, tmp_path / "whole")
    assert run.status == "diverged" and len(run.rows) < 6
    folder = interrupted(recipe, tmp_path / "again", len(run.rows))
    assert not (folder / "result.json").exists()
    assert figures(train(recipe, tmp_path / "again")) == figures(run)
    assert train(recipe, tmp_path / "again").status == "diverged"


@pytest.mark.parametrize(("megabytes", "fails"), [(150, "its weights"), (350, "its gradients")])
def test_a_network_too_large_for_memory_is_a_result(
    micro: Path, tmp_path: Path, megabytes: int, fails: str
) -> None:
    """49 million parameters, 196 MB, in a process that may not have that much."""
    model = ConvNet(width=7_000, depth=2, growth=1.0, pool="none", head="gap", kernel=1)
    code = f"""
import resource, torch._dynamo
from convscope import ConvNet, Recipe
from convscope.training import train
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + {megabytes << 20},) * 2)
run = train({Recipe(data=str(micro), model=model, epochs=1, batch=30)!r}, {str(tmp_path)!r})
print(run.status, run.message)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.startswith("out_of_memory "), done.stderr
    (run,) = list_runs(tmp_path)
    assert (
        isinstance(run, Run)
        and run.status == "out_of_memory"
        and run.rows == ()
        and len(run.message.splitlines()) == 1
    )


def test_data_whose_name_is_not_utf8_train_and_read_back(micro: Path, tmp_path: Path) -> None:
    data = tmp_path / os.fsdecode(b"caf\xe9.npz")
    shutil.copy(micro, data)
    run = train(
        Recipe(data=str(data), model=ConvNet(width=2, depth=1), epochs=1, batch=30),
        tmp_path / "runs",
    )
    assert run.recipe.data == str(data) and read_run(run.path) == run


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


def test_death_at_every_write_and_rename_loses_nothing(
    trainer: Trainer, recipe: Recipe, tmp_path: Path
) -> None:
    recipe, places = replace(recipe, epochs=2), 0
    whole = train(recipe, tmp_path / "whole")
    while True:
        places += 1
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


def test_the_best_row_of_a_run_with_gaps() -> None:
    rows = [
        {"epoch": i, "val_loss": loss} for i, loss in enumerate([None, 0.5, 0.25, None, 0.25], 1)
    ]
    assert best_row(rows)["epoch"] == 3  # the first of equal ones
    assert best_row(rows[:1])["epoch"] == 1
