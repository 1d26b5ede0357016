"""The command line: what works on small real input."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from commands import FAST, Cli

from convscope.files import write_json
from convscope.recipe.json_form import to_json
from convscope.recipe.networks import ConvNet
from convscope.recipe.recipe import Recipe
from convscope.training.run_folder import read_run

COMMANDS = [
    "study",
    "watch",
    "report",
    "train",
    "compare",
    "inspect",
    "probe",
    "runs",
    "doctor",
    "explain",
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
    assert answer.out.splitlines()[0].startswith(f"Usage: convscope {command}")
    before, _, options = answer.out.partition("Options:")
    assert len(" ".join(before.split())) > len(f"Usage: convscope {command}") + 25  # what it does
    entries = re.findall(r"^  (--.*(?:\n    .*)*)", options, flags=re.MULTILINE)
    assert any(entry.startswith("--help") for entry in entries)
    for entry in entries:
        names, _, text = " ".join(entry.split()).partition("> " if "<" in entry else " ")
        assert len(text.partition("[default")[0]) > 8, names


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


@pytest.mark.usefixtures("short_windows")
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
        "from torch import nn\n"
        "def net(in_shape, num_classes):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(12, num_classes))\n"
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


@pytest.mark.slow
def test_report_of_a_study_whose_preset_has_changed_since(cli: Cli, finished_study: Path) -> None:
    """A report reads records, whatever widths and epochs today's quick preset has."""
    known = json.loads((finished_study / "results.json").read_text())
    assert cli("report", finished_study).code == 0
    tree = json.loads((finished_study / "results.json").read_text())
    assert tree["chapters"]["capacity"]["verdict"] == known["chapters"]["capacity"]["verdict"]
    assert {run["id"] for run in tree["runs"]} == {run["id"] for run in known["runs"]}


def test_data_commands(cli: Cli, cifar_slice: Path, class_folder: Path) -> None:
    assert set(json.loads(cli("data", "list", "--json").out)) == {
        "cifar10",
        "fashion-mnist",
        "mnist",
        "shapes",
    }
    assert "CIFAR-10" in cli("data", "list").out
    arguments = cli("train", "--help").out.partition("Options:")[0]
    assert all(name in arguments for name in json.loads(cli("data", "list", "--json").out))
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


@pytest.mark.usefixtures("short_windows")
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


def test_sigterm_ends_as_ctrl_c_does(micro: Path, tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "convscope.cli",
        "train",
        str(micro),
        "--epochs",
        "1000",
        "--batch",
        "30",
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
