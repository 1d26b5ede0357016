"""A small study that is divided into shards, and what its folder holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from studying import results

from convscope.studies.study_file import read_study, request_of
from convscope.studies.study_request import StudyRequest

QUESTION = """
data = "{data}"
chapters = ["capacity"]
seeds = 2
out = "{out}"

[capacity]
widths = [2, 3]
depths = [1]
epochs = 1
images = [40, 90]

[machine]
device = "cpu"
precision = "float32"
layout = "channels_last"
threads = 1
workers = 1
kernels = "library"
"""


def asked_in(folder: Path, data: Path, name: str) -> StudyRequest:
    file = folder / f"{name}.toml"
    file.write_text(QUESTION.format(data=data, out=folder / name))
    return request_of(read_study(file))


def ids(root: Path) -> set[str]:
    return {path.parent.name for path in root.glob("runs/*/result.json")}


def figures(root: Path) -> dict[str, Any]:
    runs = results(root)["runs"]
    return {run["id"]: {key: run[key] for key in ("best", "last", "role", "lr")} for run in runs}
