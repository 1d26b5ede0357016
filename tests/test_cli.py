"""The command line: what works on small real input, and every bad input in one line, with exit code 2 and nothing written."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from convscope.files import write_json
from convscope.recipe.json_form import to_json
from convscope.recipe.networks import ConvNet
from convscope.recipe.recipe import Recipe
from convscope.training.run_folder import read_run

Cli = Callable[..., Any]
FAST = ("--precision", "float32")  # nothing is measured
COMMANDS = [
    "study",
    "train",
    "inspect",
    "runs",
    "report",
    "doctor",
    "data",
    "data list",
    "data fetch",
    "data info",
]


# --- start


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["--version"], ["study", "--help"], ["train", "--help"], ["nonsense"], []],
)
def test_help_and_version_are_there_without_torch(arguments: list[str]) -> None:
    code = f"""
import sys
sys.argv = ["convscope", *{arguments!r}]
import convscope, convscope.cli
try:
    convscope.cli.main()
finally:
    heavy = sorted({{"torch", "numpy", "pandas", "scipy", "altair", "PIL"}} & set(sys.modules))
    print("loaded:", heavy, file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == (2 if arguments == ["nonsense"] else 0), done.stderr
    assert done.stderr.splitlines()[-1] == "loaded: []"
    assert (done.stdout == "") == (arguments == ["nonsense"])


def test_the_version_is_the_packages(cli: Cli) -> None:
    from importlib.metadata import version

    assert cli("--version").out == f"convscope {version('convscope')}\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_and_option_has_help(cli: Cli, command: str) -> None:
    answer = cli(*command.split(), "--help")
    assert answer.code == 0 and answer.err == ""
    text = answer.out
    assert f"convscope {command}" in text
    before, _, options = text.partition("Options")
    assert (
        len(" ".join(before.split())) > len(f"Usage: convscope {command}") + 25
    )  # says what it does
    names = [line.split()[0] for line in options.splitlines() if line.strip().startswith("--")]
    assert "--help" in names


def test_the_installed_command_is_this_one() -> None:
    installed = Path(sys.executable).with_name("convscope")
    done = subprocess.run([installed, "--version"], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.startswith("convscope ")


# --- what works


def test_train_writes_a_run_and_reads_it_the_second_time(
    cli: Cli, micro: Path, tmp_path: Path
) -> None:
    arguments = (
        "train",
        micro,
        "--model",
        "convnet,width=2,depth=1",
        "--epochs",
        2,
        "--batch",
        30,
        "--lr",
        "0.01",
        "--seed",
        3,
        "--flip",
        *FAST,
    )
    out = tmp_path / "new" / "runs"
    answer = cli(*arguments, "--out", out, "--json")
    assert answer.code == 0 and [line.split(":")[0] for line in answer.err.splitlines()] == [
        "epoch 1",
        "epoch 2",
    ]
    tree = json.loads(answer.out)
    run = read_run(Path(tree["path"]))
    assert (tree["id"], tree["status"], tree["rows"]) == (
        run.id,
        "finished",
        list(run.rows),
    ) and run.path.parent == out
    asked = Recipe(
        data=str(micro),
        data_hash=run.recipe.data_hash,
        model=ConvNet(2, 1),
        epochs=2,
        batch=30,
        lr=0.01,
        seed=3,
        flip=True,
        threads=run.recipe.threads,
        layout=run.recipe.layout,
    )
    assert run.recipe == asked
    again = cli(*arguments, "--out", out)
    assert (
        again.code == 0
        and again.err == ""
        and f"run {run.id}: finished" in again.out
        and f"{run.last['test_loss']:.4f}" in again.out
    )


def test_train_from_a_recipe_file_with_flags_that_change_it(
    cli: Cli, micro: Path, tmp_path: Path
) -> None:
    file = tmp_path / "recipe.json"
    write_json(
        file,
        {**to_json(Recipe(data=str(micro), model=ConvNet(2, 1), epochs=9, batch=30)), "flip": True},
    )
    answer = cli(
        "train", "--recipe", file, "--epochs", 1, "--no-flip", "--out", tmp_path / "runs", "--json"
    )
    run = read_run(Path(json.loads(answer.out)["path"]))
    assert (run.recipe.epochs, run.recipe.flip, run.recipe.batch, run.recipe.threads) == (
        1,
        False,
        30,
        1,
    )


def test_train_measures_what_it_is_not_told(cli: Cli, micro: Path, tmp_path: Path) -> None:
    answer = cli(
        "train",
        micro,
        "--model",
        "softmax",
        "--epochs",
        1,
        "--batch",
        30,
        "--out",
        tmp_path,
        "--json",
    )
    assert answer.code == 0
    assert read_run(Path(json.loads(answer.out)["path"])).recipe.precision in (
        "float32",
        "bfloat16",
    )


def test_a_run_that_diverges_ends_with_1(cli: Cli, micro: Path, tmp_path: Path) -> None:
    model = "convnet,width=4,depth=2,activation=identity"
    arguments = (
        "train",
        micro,
        "--model",
        model,
        "--optimizer",
        "sgd",
        "--lr",
        1000,
        "--batch",
        10,
        *FAST,
        "--out",
        tmp_path,
    )
    answer = cli(*arguments)
    assert answer.code == 1 and "diverged" in answer.out and "Traceback" not in answer.err
    assert "not finite" in answer.err.splitlines()[-1]


def test_inspect_counts(cli: Cli) -> None:
    tree = json.loads(cli("inspect", "softmax", "--json").out)
    assert (tree["parameters"], tree["flops"], tree["filters"]) == (30_730, 61_440, 0)
    answer = cli("inspect", "shallow-gap")
    assert (
        answer.code == 0
        and answer.err == ""
        and answer.out.splitlines()[-1].split()[:3] == ["total", "16", "618"]
    )
    other = json.loads(
        cli(
            "inspect", "convnet,width=4,depth=1", "--input", "1x28x28", "--classes", 3, "--json"
        ).out
    )
    assert other["parameters"] == 4 * 9 + 4 + 4 * 14 * 14 * 3 + 3


def test_inspect_takes_a_file_beside_the_prompt(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "beside_the_prompt.py").write_text(
        "from torch import nn\ndef net(in_shape, num_classes):\n    return nn.Sequential(nn.Flatten(), nn.Linear(12, num_classes))\n"
    )
    monkeypatch.chdir(tmp_path)
    answer = cli("inspect", "beside_the_prompt:net", "--input", "3x2x2", "--classes", 5, "--json")
    assert json.loads(answer.out)["parameters"] == 65


def test_runs_lists_what_is_finished(cli: Cli, finished_study: Path) -> None:
    known = {
        run["id"]: run for run in json.loads((finished_study / "results.json").read_text())["runs"]
    }
    answer = cli("runs", finished_study, "--json")
    rows = json.loads(answer.out)
    assert answer.code == 0 and answer.err == "" and {row["id"] for row in rows} == set(known)
    for row in rows:
        run = known[row["id"]]
        assert (row["parameters"], row["seed"], row["val_loss"]) == (
            run["parameters"],
            run["seed"],
            run["best"]["val_loss"],
        )
    table = list(csv.DictReader(io.StringIO(cli("runs", finished_study.parent, "--csv").out)))
    assert [row["id"] for row in table] == [row["id"] for row in rows]
    text = cli("runs", finished_study).out.splitlines()
    assert len(text) == 1 + len(rows) and text[0].split()[0] == "id"
    altered = finished_study / "runs" / rows[0]["id"] / "metrics.jsonl"
    altered.write_text("{}\n")
    answer = cli("runs", finished_study, "--json")
    assert answer.code == 0 and len(json.loads(answer.out)) == len(rows) - 1
    assert (
        len(answer.err.splitlines()) == 1
        and rows[0]["id"] in answer.err
        and "metrics.jsonl" in answer.err
    )


def test_runs_of_an_empty_folder(cli: Cli, tmp_path: Path) -> None:
    answer = cli("runs", tmp_path)
    assert answer.code == 0 and answer.out == "" and str(tmp_path) in answer.err
    assert json.loads(cli("runs", tmp_path, "--json").out) == []
    assert cli("runs", tmp_path, "--csv").out.strip() == "id"


@pytest.mark.usefixtures("tiny_preset")
def test_report_is_written_again(cli: Cli, finished_study: Path) -> None:
    page = (finished_study / "report.html").read_bytes()
    (finished_study / "report.html").unlink()
    answer = cli("report", finished_study)
    assert answer.code == 0 and (finished_study / "report.html").read_bytes() == page
    assert (
        answer.out.strip() == json.loads((finished_study / "results.json").read_text())["sentence"]
    )
    assert answer.err.strip() == f"report: {finished_study / 'report.html'}"


def test_report_of_a_study_whose_preset_has_changed_since(cli: Cli, finished_study: Path) -> None:
    """A report reads records: the study was trained with other widths and epochs than today's quick preset has."""
    known = json.loads((finished_study / "results.json").read_text())
    assert cli("report", finished_study).code == 0
    tree = json.loads((finished_study / "results.json").read_text())
    assert tree["chapters"]["capacity"]["verdict"] == known["chapters"]["capacity"]["verdict"]
    assert {run["id"] for run in tree["runs"]} == {run["id"] for run in known["runs"]}


def test_data_commands(cli: Cli, cifar_slice: Path, class_folder: Path) -> None:
    assert set(json.loads(cli("data", "list", "--json").out)) == {
        "cifar10",
        "fashion-mnist",
        "shapes",
    }
    assert "CIFAR-10" in cli("data", "list").out
    tree = json.loads(cli("data", "info", cifar_slice, "--json").out)
    assert (
        tree["counts"] == {"train": 1080, "val": 120, "test": 400}
        and tree["balance"]["test"] == [40] * 10
    )
    folder = cli("data", "info", class_folder, "--json")
    assert (
        json.loads(folder.out)["classes"] == ["cat", "dog", "ship"]
        and sum(json.loads(folder.out)["counts"].values()) == 90
    )
    small = json.loads(cli("data", "info", class_folder, "--size", 16, "--json").out)
    assert (
        small["counts"] == json.loads(folder.out)["counts"]
        and small["mean"] != json.loads(folder.out)["mean"]
    )
    assert Path(cli("data", "fetch", class_folder).out.strip()).is_dir()


def test_doctor_tells_what_the_machine_can_do(cli: Cli) -> None:
    tree = json.loads(cli("doctor", "--json").out)
    assert (
        tree["machine"]["cores"] == len(os.sched_getaffinity(0))
        and tree["machine"]["torch"] == torch.__version__
    )
    assert (
        tree["precision"] in ("float32", "bfloat16") and min(tree["images_per_second"].values()) > 0
    )
    rates = tree["images_per_second"]
    compiled = tree["kernels"] != "library"
    assert f"{tree['precision']} {tree['layout']}" in rates and compiled != bool(
        tree["no_compiled_kernels"]
    )
    if compiled:
        way = f"{tree['precision']} channels_last"
        assert (
            math.prod(
                rates[f"{way}, compiled kernels{of}"] / rates[f"{way}{of}"]
                for of in ("", ", 4 filters")
            )
            > 0.99
        )


def test_a_reader_that_leaves_is_no_error(finished_study: Path) -> None:
    command = f"{sys.executable} -m convscope.cli runs {finished_study} --json | head -c 1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True)
    assert done.stdout == "[" and done.stderr == ""


# --- what can't work

LONG = "x" * 300
MODULE = """
from torch import nn
def few(in_shape, num_classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(192, num_classes - 3))
def fails(in_shape, num_classes):
    raise RuntimeError("the weights are at home")
"""
BAD: dict[str, tuple[list[str], list[str]]] = {
    "unknown flag": (["study", "--frobnicate"], ["--frobnicate"]),
    "flag almost right": (["train", "{micro}", "--epoch", "3"], ["--epoch"]),
    "too many words": (["inspect", "softmax", "another"], ["another"]),
    "no model": (["inspect"], ["model"]),
    "misspelt command": (["studdy"], ["studdy", "study"]),
    "misspelt command of data": (["data", "inof"], ["inof", "info"]),
    "misspelt data set": (["train", "cifar1O", *FAST], ["'cifar1O'", "'cifar10'"]),
    "misspelt data set of a study": (["study", "cifar1O"], ["'cifar1O'", "'cifar10'"]),
    "misspelt data set to look at": (["data", "info", "shape"], ["'shape'", "'shapes'"]),
    "misspelt chapter": (
        ["study", "{micro}", "--chapters", "capacty"],
        ["'capacty'", "'capacity'"],
    ),
    "no chapter": (["study", "{micro}", "--chapters", ""], ["chapter ''", "capacity"]),
    "misspelt preset": (["study", "{micro}", "--preset", "quik"], ["'quik'", "'quick'"]),
    "epochs -1": (["train", "{micro}", "--epochs", "-1", *FAST], ["epochs = -1"]),
    "epochs 0": (["train", "{micro}", "--epochs", "0", *FAST], ["epochs = 0"]),
    "half an epoch": (["train", "{micro}", "--epochs", "0.5"], ["--epochs", "0.5"]),
    "learning rate nan": (["train", "{micro}", "--lr", "nan", *FAST], ["lr = nan", "finite"]),
    "learning rate inf": (["train", "{micro}", "--lr", "inf", *FAST], ["lr = inf", "finite"]),
    "learning rate with a unit": (["train", "{micro}", "--lr", "1e-3x"], ["--lr", "1e-3x"]),
    "learning rate 0": (["train", "{micro}", "--lr", "0", *FAST], ["lr = 0.0"]),
    "batch 0": (["train", "{micro}", "--batch", "0", *FAST], ["batch = 0"]),
    "batch larger than the data": (
        ["train", "{micro}", "--batch", "5000", *FAST],
        ["batch = 5000", "90"],
    ),
    "limit 0": (["train", "{micro}", "--limit", "0", *FAST], ["limit = 0"]),
    "limit below the batch": (
        ["train", "{micro}", "--limit", "20", "--batch", "30", *FAST],
        ["batch = 30", "20"],
    ),
    "unknown optimiser": (["train", "{micro}", "--optimizer", "adma", *FAST], ["'adma'", "adamw"]),
    "unknown schedule": (["train", "{micro}", "--schedule", "step", *FAST], ["'step'", "onecycle"]),
    "unknown precision": (["train", "{micro}", "--precision", "float8"], ["'float8'", "bfloat16"]),
    "too deep": (
        ["train", "{micro}", "--model", "convnet,depth=5", "--batch", "30", *FAST],
        ["depth = 5", "at most 3", "8×8"],
    ),
    "unknown model": (["train", "{micro}", "--model", "resnet", *FAST], ["'resnet'", "convnet"]),
    "a factory that is not there": (
        ["train", "{micro}", "--model", "nowhere_at_all:net", "--batch", "30", *FAST],
        ["nowhere_at_all:net"],
    ),
    "a factory that fails": (
        ["train", "{micro}", "--model", "users_module:fails", "--batch", "30", *FAST],
        ["users_module:fails", "at home"],
    ),
    "too few outputs": (
        ["train", "{micro}", "--model", "users_module:few", "--batch", "30", *FAST],
        ["users_module:few", "10"],
    ),
    "10,000 workers": (["study", "{micro}", "--workers", "10000"], ["10,000"]),
    "workers 0": (["study", "{micro}", "--workers", "0"], ["workers = 0"]),
    "cuda:9": (["study", "{micro}", "--device", "cuda:9"], ["'cuda:9'", "cpu"]),
    "cuda:9 for one network": (
        ["train", "{micro}", "--device", "cuda:9", *FAST],
        ["'cuda:9'", "cpu"],
    ),
    "a device that is none": (["train", "{micro}", "--device", "tpu", *FAST], ["'tpu'", "cpu"]),
    "cuda:9 in a recipe": (["train", "--recipe", "cuda.json"], ["cuda:9", "cpu"]),
    "seed of 65 bits": (
        ["train", "{micro}", "--seed", "36893488147419103232", *FAST],
        ["36893488147419103232"],
    ),
    "seeds 0": (["study", "{micro}", "--seeds", "0"], ["seeds = 0"]),
    "val 0": (["study", "{micro}", "--val", "0"], ["val = 0.0"]),
    "val nan": (["study", "{micro}", "--val", "nan"], ["nan"]),
    "size of an .npz": (["data", "info", "{micro}", "--size", "16"], ["size = 16"]),
    "size 0": (["data", "info", "{folder}", "--size", "0"], ["size = 0"]),
    "data above": (["train", "../x", *FAST], ["'../x'"]),
    "data above for a study": (["study", "../x"], ["'../x'"]),
    "data of an endless name": (["study", LONG], [LONG[:90]]),
    "data with a line feed": (["data", "info", "a\nb"], ["\\nb"]),
    "data that are text": (["study", "users_module.py"], ["'users_module.py'"]),
    "too few images for validation": (["study", "tiny"], ["tiny", "validation"]),
    "out is a file": (["study", "{micro}", "--out", "file"], ["file"]),
    "out is a file for one network": (["train", "{micro}", "--out", "file", *FAST], ["file"]),
    "out can't be written": (["study", "{micro}", "--out", "file/below"], ["file/below"]),
    "out can't be written for one network": (
        ["train", "{micro}", "--out", "file/below", *FAST],
        ["file/below"],
    ),
    "out is no study": (["study", "{micro}", "--out", "tiny"], ["tiny", "not a study"]),
    "out with a line feed": (["study", "{micro}", "--out", "a\nb"], ["\\nb"]),
    "out of an endless name": (["study", "{micro}", "--out", LONG], [LONG[:90]]),
    "out of an endless name for one network": (
        ["train", "{micro}", "--out", LONG, *FAST],
        [LONG[:90]],
    ),
    "no such study": (["report", "nowhere"], ["nowhere"]),
    "a folder that is no study": (["report", "tiny"], ["tiny", "study.json"]),
    "no such folder of runs": (["runs", "nowhere"], ["nowhere"]),
    "no such recipe": (["train", "--recipe", "nowhere.json"], ["nowhere.json"]),
    "a torn recipe": (["train", "--recipe", "torn.json"], ["torn.json", "line 1, column 12"]),
    "a misspelt recipe": (["train", "--recipe", "misspelt.json"], ["'epoch'", "'epochs'"]),
    "input of two numbers": (["inspect", "softmax", "--input", "3x32"], ["'3x32'", "3x32x32"]),
    "input of zero": (["inspect", "softmax", "--input", "3x0x32"], ["'3x0x32'"]),
    "classes 0": (["inspect", "softmax", "--classes", "0"], ["classes = 0"]),
    "too deep to inspect": (["inspect", "convnet,depth=6"], ["depth = 6", "at most 5"]),
}
if not torch.cuda.is_available():
    BAD["cuda without a GPU"] = (["study", "{micro}", "--device", "cuda"], ["'cuda'", "cpu"])


@pytest.fixture
def bench(micro: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory, with the files that the bad commands name."""
    folder = tmp_path / "here"
    for name in ("cat", "dog"):
        (folder / "tiny" / name).mkdir(parents=True)
        for i in range(3):
            Image.new("RGB", (8, 8), (i, 0, len(name))).save(folder / "tiny" / name / f"{i}.png")
    (folder / "file").write_text("a file")
    (folder / "users_module.py").write_text(MODULE)
    (folder / "torn.json").write_text('{"epochs": ')
    (folder / "misspelt.json").write_text('{"epoch": 3}')
    write_json(
        folder / "cuda.json",
        to_json(Recipe(data=str(micro), model=ConvNet(2, 1), epochs=1, batch=30, device="cuda:9")),
    )
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else b""
        for path in sorted(folder.rglob("*"))
    }


@pytest.mark.parametrize("name", BAD)
def test_bad_input_ends_in_one_line_and_writes_nothing(
    name: str, cli: Cli, bench: Path, micro: Path, class_folder: Path
) -> None:
    words, parts = BAD[name]
    before = contents(bench)
    answer = cli(*(word.format(micro=micro, folder=class_folder) for word in words))
    lines = answer.err.splitlines()
    assert answer.code == 2 and answer.out == "", answer.err
    assert len(lines) == 1 and lines[0].startswith("convscope: ") and lines[0].isprintable(), (
        answer.err
    )
    assert [part for part in parts if part not in lines[0]] == [], lines[0]
    assert contents(bench) == before


def test_bad_input_of_the_real_process_has_no_traceback(micro: Path, tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "convscope.cli",
        "train",
        str(micro),
        "--batch",
        "5000",
        *FAST,
        "--out",
        str(tmp_path / "runs"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert (
        done.returncode == 2
        and done.stdout == ""
        and len(done.stderr.splitlines()) == 1
        and "5000" in done.stderr
    )


def test_damaged_images_are_named_together_in_one_line(
    cli: Cli, class_folder: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(class_folder, tmp_path / "pictures"))
    (folder / "cat" / "00.png").write_bytes(b"no picture")
    (folder / "dog" / "05.png").write_bytes(b"")
    answer = cli("study", folder, "--out", tmp_path / "study")
    assert answer.code == 2 and not (tmp_path / "study").exists()
    assert (
        "00.png" in answer.err and "05.png" in answer.err and len(answer.err.splitlines()) == 1
    ), answer.err


def test_sigterm_ends_as_ctrl_c_does(cifar_slice: Path, tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "convscope.cli",
        "train",
        str(cifar_slice),
        "--epochs",
        "1000",
        *FAST,
        "--out",
        str(tmp_path),
    ]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None and process.stderr.readline().startswith("epoch 1:")
        process.terminate()
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130 and out == "" and "Traceback" not in err
    assert (
        err.splitlines()[-1].startswith("convscope: interrupted")
        and "--epochs 1000" in err.splitlines()[-1]
    )
