"""Every bad input ends in one line that repeats it, with exit code 2 and nothing written."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from commands import FAST, Cli
from PIL import Image

from convscope.files import write_json
from convscope.recipe import ConvNet, Recipe, to_json

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
