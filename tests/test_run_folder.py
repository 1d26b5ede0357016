"""Run folders under faults: altered bytes, torn logs, damaged checkpoints, too little memory."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from recording import FILES, assert_same, blink, figures, interrupted

from convscope.errors import UserError
from convscope.recipe.json_form import to_json
from convscope.recipe.networks import ConvNet, Custom
from convscope.recipe.recipe import Recipe
from convscope.training.main_path import train
from convscope.training.run_folder import RunFolder, known_recipe, list_runs, read_run
from convscope.training.runs import Run, best_row
from convscope.training.tensor_files import read_tensors
from convscope.training.trained import network


@pytest.fixture(scope="module")
def recipe(micro: Path) -> Recipe:
    return blink(micro)


@pytest.fixture(scope="module")
def whole(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """An uninterrupted run, for reading and comparing."""
    return train(recipe, tmp_path_factory.mktemp("whole"))


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


def test_recipes_that_are_kept_differ_by_their_seed_alone() -> None:
    def read(recipe: Recipe) -> Recipe:
        raw = (json.dumps(to_json(recipe), indent=2) + "\n").encode()
        return known_recipe(raw, json.loads(raw))

    base = Recipe(model=ConvNet(3, 2), split_seed=1)
    for recipe in (base, replace(base, seed=7), replace(base, split_seed=7), replace(base, lr=0.5)):
        assert read(recipe) == recipe and read(recipe).id == recipe.id
    for own in (1, 2):  # a factory's argument of that name is no seed of the run
        recipe = replace(base, model=Custom("a:b", {"seed": own}), seed=3)
        assert read(recipe) == recipe


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
            assert read_run(folder) == expected, (name, place)
        except UserError as error:
            refusals[name] += 1
            assert f"{folder}: " in str(error) and str(error).isprintable()
        if name in tensors:  # without the hash of the whole file, too
            with contextlib.suppress(UserError):
                found, metadata = read_tensors(path)
                assert metadata == tensors[name][1] and found.keys() == tensors[name][0].keys()
                assert all(torch.equal(found[key], tensors[name][0][key]) for key in found)
        path.write_bytes(content)
    assert read_run(folder) == expected
    assert refusals.pop("result.json") > 50  # blanks may change
    assert refusals.pop("recipe.json") > 50 and set(refusals.values()) == {60}


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
        *random.Random(1).sample(range(starts_of_last_lines, len(content)), 2),
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


@pytest.mark.parametrize(
    ("megabytes", "fails"),
    [(150, "its weights"), (350, "its gradients")],
)
@pytest.mark.slow
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


def test_the_best_row_of_a_run_with_gaps() -> None:
    rows = [
        {"epoch": i, "val_loss": loss} for i, loss in enumerate([None, 0.5, 0.25, None, 0.25], 1)
    ]
    assert best_row(rows)["epoch"] == 3  # the first of equal ones
    assert best_row(rows[:1])["epoch"] == 1
