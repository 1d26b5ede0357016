"""The options of `convscope train` are the fields of a recipe: none is missing, and none lies."""

from __future__ import annotations

import dataclasses
import json
import os
import typing
from pathlib import Path
from typing import Any, Literal

import pytest
from commands import FAST, Cli

from convscope import machine
from convscope.cli.recipe_options import OTHERWISE_GIVEN, recipe_options
from convscope.files import write_json
from convscope.machine import Numerics
from convscope.recipe import ConvNet, Recipe, described_fields, hints_of, to_json
from convscope.training import read_run

FIELDS = [f.name for f in dataclasses.fields(Recipe) if f.name not in OTHERWISE_GIVEN]
LITERALS = [name for name in FIELDS if typing.get_origin(hints_of(Recipe)[name]) is Literal]
# a value for each field, as typed and as it stands in the recipe, and the options it goes with
GIVEN: dict[str, tuple[list[str], Any]] = {
    "epochs": (["--epochs", "2"], 2),
    "seed": (["--seed", "3"], 3),
    "size": (["--size", "8"], 8),
    "columns": (["--columns", "path=file,label=kind"], "path=file,label=kind"),
    "group_by": (["--group-by", "who"], "who"),
    "resize": (["--resize", "pad"], "pad"),
    "classes": (["--classes", "nested"], "nested"),
    "val": (["--val", "0.2"], 0.2),
    "split_seed": (["--split-seed", "4"], 4),
    "limit": (["--limit", "60"], 60),
    "subset_seed": (["--subset-seed", "5", "--limit", "60"], 5),
    "label_noise": (["--label-noise", "0.1"], 0.1),
    "noise_seed": (["--noise-seed", "6", "--label-noise", "0.1"], 6),
    "batch": (["--batch", "20"], 20),
    "optimizer": (["--optimizer", "adamw"], "adamw"),
    "lr": (["--lr", "0.01"], 0.01),
    "momentum": (["--momentum", "0.8", "--optimizer", "sgd"], 0.8),
    "weight_decay": (["--weight-decay", "0.1"], 0.1),
    "schedule": (["--schedule", "linear"], "linear"),
    "label_smoothing": (["--label-smoothing", "0.1"], 0.1),
    "crop": (["--crop", "1"], 1),
    "flip": (["--flip"], True),
    "cutout": (["--cutout", "2"], 2),
    "micro_batch": (["--micro-batch", "10"], 10),
    "alternate": (["--alternate", "--flip"], True),
    "small_share": (["--small-share", "0.5"], 0.5),
    "evaluate": (["--evaluate", "val, test"], ("val", "test")),
    "evaluate_every": (["--evaluate-every", "2"], 2),
    "train_sample": (["--train-sample", "30"], 30),
    "views": (["--views", "flip and shift"], "flip and shift"),
    "device": (["--device", "cpu"], "cpu"),
    "precision": (["--precision", "float64"], "float64"),
    "layout": (["--layout", "contiguous"], "contiguous"),
    "threads": (["--threads", "2"], 2),
    "kernels": (["--kernels", "library"], "library"),
}


def tabled(folder: Path, path: Path) -> Path:
    """A table of a folder's images, six in each group."""
    images = sorted(folder.rglob("*.png"))
    rows = [
        f"{file},{file.parent.name},{file.parent.name},{int(file.stem) // 6}" for file in images
    ]
    path.write_text("\n".join(["file,kind,label,who", *rows]))
    return path


def recipe_of(answer: Any) -> Recipe:
    assert answer.code == 0, answer.err
    return read_run(Path(json.loads(answer.out)["path"])).recipe


def test_every_field_is_an_option_with_its_sentence(cli: Cli) -> None:
    described = described_fields(Recipe)
    assert set(described) == {field.name for field in dataclasses.fields(Recipe)}
    assert [option.name for option in recipe_options()] == FIELDS
    shown = " ".join(cli("train", "--help").out.replace("channels_\n", "channels_").split())
    for name in FIELDS:
        assert f"--{name.replace('_', '-')} " in shown, name
        assert described[name].rstrip(".") in shown, name


def test_described_fields_reads_the_docstring() -> None:
    assert described_fields(ConvNet)["width"] == "Filters of each convolution in the first block."
    assert set(described_fields(ConvNet)) == {field.name for field in dataclasses.fields(ConvNet)}
    assert described_fields(Path) == {}


@pytest.mark.parametrize("name", LITERALS)
def test_every_value_stands_in_the_help(name: str) -> None:
    (option,) = [option for option in recipe_options() if option.name == name]
    (info,) = typing.get_args(option.annotation)[1:]
    for value in typing.get_args(hints_of(Recipe)[name]):
        assert value in info.help.rpartition(": ")[2]


@pytest.mark.parametrize("name", FIELDS)
def test_a_value_that_is_given_arrives_in_the_recipe(
    name: str, cli: Cli, micro: Path, class_folder: Path, tmp_path: Path
) -> None:
    typed, value = GIVEN[name]
    data = class_folder if name in ("size", "resize", "classes") else micro
    if name in ("columns", "group_by"):
        data = tabled(class_folder, tmp_path / "table.csv")
    model = ("--model", "convnet,width=2,depth=1,head=gap", "--epochs", "1", "--batch", "20")
    recipe = recipe_of(cli("train", data, *model, *FAST, *typed, "--out", tmp_path, "--json"))
    assert getattr(recipe, name) == value
    changed = {field for field in FIELDS if getattr(recipe, field) != getattr(Recipe(), field)}
    beside = {word[2:].replace("-", "_") for word in typed if word.startswith("--")}
    assert changed <= {name, "epochs", "batch"} | beside


def test_options_change_a_file_and_a_file_says_how_to_compute(
    cli: Cli, micro: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "best_numerics", lambda device: pytest.fail("measured"))
    monkeypatch.setattr(machine, "best_threads", lambda device, way: pytest.fail("measured"))
    file = tmp_path / "recipe.json"
    known = Recipe(data=str(micro), model=ConvNet(2, 1), epochs=9, batch=30, flip=True)
    write_json(file, to_json(dataclasses.replace(known, layout="contiguous", schedule="linear")))
    options = ("--epochs", 1, "--no-flip", "--out", tmp_path / "runs", "--json")
    recipe = recipe_of(cli("train", "--recipe", file, *options))
    assert (recipe.epochs, recipe.flip, recipe.batch) == (1, False, 30)
    assert (recipe.layout, recipe.schedule, recipe.threads) == ("contiguous", "linear", 1)


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ([], ("bfloat16", "contiguous", "library", 2)),
        (["--threads", "1"], ("bfloat16", "contiguous", "library", 1)),
        (["--precision", "bfloat16"], ("bfloat16", "contiguous", "library", 2)),
        (["--precision", "float64"], ("float64", "channels_last", "library", 2)),
        (["--kernels", "library"], ("bfloat16", "contiguous", "library", 2)),
        (list(FAST), ("float32", "channels_last", "library", 1)),
    ],
)
def test_what_nothing_says_is_measured(
    typed: list[str],
    expected: tuple[str, str, str, int],
    cli: Cli,
    micro: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    best = Numerics("bfloat16", "contiguous", "library", {})
    monkeypatch.setattr(machine, "best_numerics", lambda device: best)
    monkeypatch.setattr(machine, "best_threads", lambda device, way: 2)
    monkeypatch.setenv("CONVSCOPE_KERNELS", "")  # what the command sets is undone after the test
    arguments = ("--model", "softmax", "--epochs", 1, "--batch", 30, "--out", tmp_path, "--json")
    recipe = recipe_of(cli("train", micro, *arguments, *typed))
    assert (recipe.precision, recipe.layout, recipe.kernels, recipe.threads) == expected


def test_a_named_recipe_is_changed_by_options(cli: Cli, micro: Path, tmp_path: Path) -> None:
    options = ("--epochs", 1, "--val", 0.2, "--limit", 40, "--views", "one", *FAST)
    recipe = recipe_of(
        cli("train", micro, "--recipe", "strong", *options, "--out", tmp_path, "--json")
    )
    assert (recipe.epochs, recipe.val, recipe.limit, recipe.views) == (1, 0.2, 40, "one")
    assert (recipe.optimizer, recipe.schedule, recipe.batch) == ("muon", "linear", 32)


@pytest.mark.parametrize("command", ["study", "doctor"])
def test_kernels_library_is_heard_by_this_process_and_its_workers(
    command: str, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONVSCOPE_KERNELS", "")
    seen: list[str] = []

    def stop(*_: object, **__: object) -> None:
        seen.append(os.environ["CONVSCOPE_KERNELS"])
        raise KeyboardInterrupt

    monkeypatch.setattr("convscope.studies.conduct", stop)
    monkeypatch.setattr("convscope.machine.this_machine", stop)
    assert cli(command, "--kernels", "library").code == 130
    assert seen == ["library"]
    answer = cli(command, "--kernels", "winograd")
    assert answer.code == 2 and "'winograd'" in answer.err and len(answer.err.splitlines()) == 1
