"""A user's own sweep: a grid or a list of recipes × seeds becomes tables, verdicts and files."""

from __future__ import annotations

import csv
import json
import re
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import studying
from commands import Cli
from recording import blink

import convscope as cs
from convscope.machine import Choice
from convscope.studies.study_json import Asked
from convscope.studies.sweep_request import MACHINE, SweepRequest, request_from
from convscope.studies.sweeping import SweepFolder
from convscope.studies.toml_files import read_toml, toml_of

WIDTHS = [1, 2, 3]


def stamps(root: Path) -> dict[str, int]:
    return {path.parent.name: path.stat().st_mtime_ns for path in root.rglob("result.json")}


def table(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))


@pytest.fixture(scope="module", autouse=True)
def _few_draws() -> Iterator[None]:
    """How sure words are is not tested here."""
    with studying.few_draws():
        yield


@pytest.fixture(scope="module")
def base(micro: Path) -> cs.Recipe:
    return replace(blink(micro), data=str(micro), epochs=2)


@pytest.fixture(scope="module")
def found(base: cs.Recipe, tmp_path_factory: pytest.TempPathFactory) -> cs.SweepResult:
    out = tmp_path_factory.mktemp("sweep") / "s"
    return cs.sweep(base, {"width": WIDTHS}, seeds=3, out=out, workers=2)


def test_every_pair_of_three_is_compared_by_the_rule_of_compare(found: cs.SweepResult) -> None:
    assert [one.name for one in found.configurations] == [f"width={width}" for width in WIDTHS]
    pairs = [(one.a, one.b) for one in found.comparisons]
    names = [("width=2", "width=1"), ("width=3", "width=1"), ("width=3", "width=2")]
    assert pairs == names
    for one in found.comparisons:
        same = cs.compare(found.runs[one.a], found.runs[one.b], looks=3)
        assert one.found == same and same.level == pytest.approx(1 - 0.05 / 3)
    alone = found.compare("width=3", "width=1")
    assert alone == cs.compare(found.runs["width=3"], found.runs["width=1"])


@pytest.mark.slow
def test_it_goes_on_where_it_stopped(found: cs.SweepResult, base: cs.Recipe) -> None:
    before = stamps(found.path)
    assert len(before) == 9
    again = cs.sweep(base, {"width": [*WIDTHS, 4]}, seeds=[0], out=found.path, workers=2)
    after = stamps(found.path)
    assert {key: after[key] for key in before} == before and len(after) == 10
    assert [len(runs) for runs in again.runs.values()] == [1] * 4
    cs.sweep(base, {"width": WIDTHS}, seeds=3, out=found.path, workers=2)  # as it was


def test_a_saved_file_leaves_nothing_of_the_machine_open(base: cs.Recipe) -> None:
    # what is as usual is left out of other files of recipes
    tree = SweepRequest((("", base),), {}, (0,)).tree()
    assert request_from(tree).free == () and {key: tree[key] for key in MACHINE} == {
        key: getattr(base, key) for key in MACHINE
    }


@pytest.mark.slow
def test_the_file_that_is_saved_asks_for_the_same_runs(found: cs.SweepResult, cli: Cli) -> None:
    before, saved = stamps(found.path), (found.path / "sweep.toml").read_bytes()
    answer = cli("sweep", found.path / "sweep.toml", "--json")
    assert answer.code == 0, answer.err
    tree = json.loads(answer.out)
    assert stamps(found.path) == before and " 0 of them new" in answer.err
    ids = {run for one in tree["configurations"] for run in one["runs"]}
    assert ids == {run.id for runs in found.runs.values() for run in runs}
    assert (found.path / "sweep.toml").read_bytes() == saved


def test_the_files_hold_the_figures(found: cs.SweepResult) -> None:
    rows = table(found.path / "configurations.csv")
    mean = sum(run.best["test_accuracy"] for run in found.runs["width=2"]) / 3
    assert float(rows[1]["test_accuracy"]) == pytest.approx(mean, abs=1e-12)
    verdicts = table(found.path / "comparisons.csv")
    assert [row["verdict"] for row in verdicts] == [
        one.found.word for one in found.comparisons if one.found
    ]
    latex = (found.path / "configurations.tex").read_text()
    lines = [line for line in latex.splitlines() if line.endswith("\\\\")]
    assert len(lines) == 4 and {line.count(" & ") for line in lines} == {
        len(lines[0].split(" & ")) - 1
    }
    assert r"width=1 & " in latex and not re.search(r"(?<!\\)%(?! Means)", latex)
    markdown = (found.path / "configurations.md").read_text().splitlines()
    assert len({line.count("|") for line in markdown[:5]}) == 1
    runs = table(found.path / "runs.csv")
    assert {row["id"] for row in runs} == {run.id for one in found.runs.values() for run in one}
    page = (found.path / "report.html").read_text()
    assert "data:image/svg+xml" in page and "<script" not in page and "http:" not in page
    assert all(str(one)[:20] in page for one in found.comparisons)


FILE = """
data = "{data}"
epochs = 1
batch = 30
precision = "float32"
layout = "channels_last"
threads = 1
kernels = "library"
out = "{out}"
seeds = 2
{rest}
"""

NETS = """
from torch import nn

def make(in_shape, num_classes, width=4, deep=False):
    first = [nn.Conv2d(in_shape[0], width, 3), nn.ReLU()]
    more = [nn.Conv2d(width, width, 3), nn.ReLU()] if deep else []
    end = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, num_classes)]
    return nn.Sequential(*first, *more, *end)
"""


@pytest.mark.slow
def test_a_factorys_own_parameters_and_label_noise_are_swept(
    cli: Cli, micro: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "swept_nets.py").write_text(NETS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    rest = 'model = "swept_nets:make,width=3"\ncompare = [["deep=true", "deep=false"]]\n'
    rest += "[grid]\ndeep = [false, true]\nlabel_noise = [0.0, 0.5]\n"
    file = tmp_path / "mine.toml"
    file.write_text(FILE.format(data=micro, out="s", rest=rest))
    answer = cli("sweep", file, "--json")
    assert answer.code == 0, answer.err
    tree = json.loads(answer.out)
    names = [one["name"] for one in tree["configurations"]]
    assert names == [f"deep={d}, label_noise={n}" for d in ("false", "true") for n in ("0", "0.5")]
    assert [one["names"] for one in tree["comparisons"]] == [
        [f"deep=true, label_noise={n}", f"deep=false, label_noise={n}"] for n in ("0", "0.5")
    ]
    shallow, _, deep, _ = tree["configurations"]
    assert deep["parameters"] - shallow["parameters"] == 3 * 3 * 3 * 3 + 3
    listed = json.loads(cli("runs", "s", "--json").out)
    assert len(listed) == 8
    assert {row["model"] for row in listed} == {
        "swept_nets:make(width=3, deep=false)",
        "swept_nets:make(width=3, deep=true)",
    }


@pytest.mark.slow
def test_a_list_of_recipes_with_their_own_seeds(base: cs.Recipe, tmp_path: Path) -> None:
    recipes = [
        replace(base, lr=rate, seed=seed, epochs=1) for rate in (1e-3, 1e-2) for seed in (4, 5)
    ]
    found = cs.sweep(recipes, out=tmp_path / "s", workers=1)
    assert {name: [run.recipe.seed for run in runs] for name, runs in found.runs.items()} == {
        "lr=0.001": [4, 5],
        "lr=0.01": [4, 5],
    }
    tree = tomllib.loads((tmp_path / "s" / "sweep.toml").read_text())
    assert [one["seed"] for one in tree["recipes"]] == [4, 5, 4, 5]


@pytest.mark.parametrize(
    ("rest", "said"),
    [
        ("epoch = 3", "unknown key 'epoch'; did you mean 'epochs'?"),
        ("seed = 3", "unknown key 'seed'; did you mean 'seeds'?"),
        ("[grid]\nwidht = [1, 2]", "setting 'widht'; did you mean 'width'?"),
        ("[grid]\nwidth = 8", "grid: width = 8: a list of values is expected"),
        ("[grid]\nwidth = []", "grid: width = []: a list of values is expected"),
        ("[grid]\nwidth = [8, 8]", "grid: width: the value 8 stands there twice"),
        ("[grid]\nwidth = ['8']", "width = '8': must be a whole number"),
        ("workers = 0", "workers = 0: from 1 to"),
        ("margin = 0", "margin = 0: above 0 points or nats is expected"),
        ('split = "train"', "split 'train'"),
        ('compare = [["width=9", "width=8"]]', "compare: 'width=9'"),
        ("compare = 3", "compare = 3: a list of pairs is expected"),
        ("recipes = []", "recipes = []: a list of tables or files is expected"),
        ('recipes = ["none.json"]', "recipe none.json: no such file"),
        ("[[recipes]]\nlr = 0.1\n[[recipes]]\nlr = 0.1", "stands there twice"),
        ("[grid]\nlr = [0.1,\n", "not TOML: "),
        ('silence = "soon"', "silence 'soon': write a time as"),
    ],
)
def test_bad_files_are_refused_in_one_line(
    cli: Cli, micro: Path, tmp_path: Path, rest: str, said: str
) -> None:
    file = tmp_path / "bad.toml"
    text = FILE.replace("seeds = 2\n", "").format(data=micro, out=tmp_path / "out", rest=rest)
    file.write_text(text)
    answer = cli("sweep", file)
    assert answer.code == 2 and said in answer.err and len(answer.err.splitlines()) == 1, answer.err
    assert not (tmp_path / "out").exists()


def test_a_grid_of_a_billion_is_refused_at_once(base: cs.Recipe, tmp_path: Path) -> None:
    values = [i / 1000 for i in range(1, 1001)]
    grid = {"lr": values, "label_noise": values, "label_smoothing": values[:900]}
    with pytest.raises(cs.UserError, match="grid: 900,000,000 configurations; at most 100,000"):
        cs.sweep(base, grid, seeds=1, out=tmp_path / "s")
    with pytest.raises(cs.UserError, match="an empty list"):
        cs.sweep([], out=tmp_path / "s")
    with pytest.raises(cs.UserError, match=r"width=4: .*out of|no room|smaller|1×1"):
        cs.sweep(base, {"depth": [9], "width": [4, 5]}, seeds=1, out=tmp_path / "s")
    assert not (tmp_path / "s").exists()


def test_what_is_written_as_toml_is_read_as_the_same(tmp_path: Path) -> None:
    tree = {
        "text": 'a "b" \\ é \x7f \n',
        "numbers": [1, -2, 1e-12, 1e300, 0.5, 3.0],
        "yes": True,
        "no": None,
        "odd key": {"model.width": [1, 2], "lists": [[], [256, 64]], "in": {"x": {}}},
        "recipes": [{"lr": 0.1, "model": {"kind": "softmax"}}, {"name": "b"}],
    }
    file = tmp_path / "x.toml"
    file.write_text(toml_of(tree), encoding="utf-8")
    del tree["no"]
    assert read_toml(file) == tree


def test_what_was_measured_for_a_sweep_is_kept_and_an_alteration_is_said(tmp_path: Path) -> None:
    said: list[str] = []
    asked, choice = Asked("cpu", None), Choice("cpu", "float32", "channels_last", 2, 1, {"a": 3.5})
    SweepFolder.create(tmp_path, asked, said.append).begin(asked, choice)
    again = SweepFolder.create(tmp_path, asked, said.append)
    assert (again.asked, again.choice, said) == (asked, choice, [])
    file = tmp_path / "sweep.json"
    file.write_text(file.read_text().replace("float32", "float64"))
    again = SweepFolder.create(tmp_path, asked, said.append)
    assert again.choice is None and not file.exists()
    assert len(said) == 1 and "sweep.json was altered; set aside as" in said[0]
