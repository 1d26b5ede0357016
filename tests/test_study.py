"""What a study on real images writes, and input that can't work."""

from __future__ import annotations

import csv
import dataclasses
import math
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from studying import CHAPTER, is_pilot, results, runs_of

from convscope import data, studies
from convscope.errors import UserError
from convscope.planning.pilots import vertex
from convscope.recipe.networks import ConvNet, Model
from convscope.recipe.reading import recipe_from_json
from convscope.studies.folder import study_path

pytestmark = pytest.mark.usefixtures("tiny_preset")


RUN_KEYS = {
    "id",
    "chapters",
    "model",
    "seed",
    "status",
    "filters",
    "parameters",
    "flops",
    "epochs",
    "seconds",
    "best",
    "last",
}


FIGURES = {
    "epoch",
    *(f"{split}_{what}" for split in ("train", "val", "test") for what in ("loss", "accuracy")),
}


def plain_values(tree: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield from plain_values(value, f"{place}.{key}")
    elif isinstance(tree, list):
        for i, value in enumerate(tree):
            yield from plain_values(value, f"{place}[{i}]")
    else:
        yield place, tree


# --- what a study writes


def test_a_study_leaves_its_files(finished_study: Path) -> None:
    there = {path.name for path in finished_study.iterdir()} - {".lock"}
    assert there == {
        "study.json",
        "study.toml",
        "paper",
        "runs",
        "report.html",
        "results.json",
        "results.csv",
        "charts",
        ".gitignore",
    }
    assert (finished_study / ".gitignore").read_text() == "*\n"
    assert not list(finished_study.rglob("*.part")) and not list(
        finished_study.rglob("*set-aside*")
    )
    page = (finished_study / "report.html").read_text()
    assert results(finished_study)["sentence"].rpartition(". ")[2] in page
    assert 'id="sentence"' in page and "This study was interrupted" not in page


def test_results_json_has_the_promised_form(finished_study: Path, small_images: Path) -> None:
    tree = results(finished_study)
    assert (
        set(tree) == {"schema", "convscope", "sentence", "study", "damaged", "chapters", "runs"}
        and tree["schema"] == 1
    )
    assert {"data", "data_hash", "preset", "command", "seconds", "machine"} <= set(tree["study"])
    assert (tree["study"]["data"], tree["study"]["preset"]) == (small_images.name, "quick")
    assert tree["study"]["images"] == {"train": 540, "val": 60, "test": 200}
    (chapter,) = tree["chapters"].values()
    assert set(chapter) >= {"question", "verdict", "sentence", "numbers", "tables", "charts"}
    assert (
        chapter["sentence"] == tree["sentence"]
        and tree["sentence"].endswith(".")
        and chapter["question"].endswith("?")
    )
    for place, value in plain_values(tree):
        assert value is None or isinstance(value, str | bool | int) or math.isfinite(value), place
    for run in tree["runs"]:
        assert set(run) >= RUN_KEYS and set(run["best"]) == FIGURES == set(run["last"])
        assert run["status"] == "finished" and run["chapters"] == CHAPTER
        measured = {key for key, value in run["best"].items() if value is not None}
        assert measured == ({"epoch", "val_loss", "val_accuracy"} if run["pilot"] else FIGURES)
        assert all(
            0 <= value <= 1
            for key, value in run["best"].items()
            if value is not None and key.endswith("accuracy")
        )


def test_results_are_those_of_the_run_folders(finished_study: Path) -> None:
    tree, runs = results(finished_study), runs_of(finished_study)
    assert {run["id"] for run in tree["runs"]} == set(runs) and len(tree["runs"]) == len(runs)
    for entry in tree["runs"]:
        run = runs[entry["id"]]
        assert recipe_from_json(entry["recipe"]) == run.recipe and run.recipe.id == run.id
        for when, row in (("best", run.best), ("last", run.last)):
            assert entry[when] == {key: row.get(key) for key in entry[when]}
        assert (entry["parameters"], entry["flops"], entry["epochs"]) == (
            run.size["parameters"],
            run.size["flops"],
            run.last["epoch"],
        )


def test_the_plan_is_the_presets(finished_study: Path) -> None:
    runs = runs_of(finished_study).values()
    sweep = [
        run for run in runs if "test" in run.recipe.evaluate and run.recipe.schedule == "constant"
    ]
    pilots = [run for run in runs if is_pilot(run)]
    strong = [run for run in runs if run.recipe.optimizer == "muon"]
    assert len(sweep) + len(pilots) + len(strong) == len(runs)
    expected = {
        (width, depth, seed) for width, depth in ((4, 1), (2, 2), (4, 2), (8, 2)) for seed in (0, 1)
    }
    models = [run.recipe.model for run in sweep]
    assert all(isinstance(model, ConvNet) for model in models)
    assert {
        (m.width, m.depth, run.recipe.seed) for m, run in zip(models, sweep, strict=True)
    } == expected and len(sweep) == 8
    assert strong == [] and len(pilots) >= 2 * 2  # the chapter best is not asked for
    assert all(run.last["epoch"] == run.recipe.epochs and not run.recipe.flip for run in sweep)
    best: dict[Model, float] = {}
    for model in {run.recipe.model for run in pilots}:
        tried = {run.recipe.lr: run.best["val_loss"] for run in pilots if run.recipe.model == model}
        best[model] = vertex(tried)
    assert {(m.width, m.depth) for m in best if isinstance(m, ConvNet)} == {(4, 1), (8, 2)}
    for model in set(
        models
    ):  # each with the rate that its pilots suggest, or one scaled by the root of the width
        rates = {run.recipe.lr for run in sweep if run.recipe.model == model}
        assert len(rates) == 1
        if model in best:
            assert rates == {best[model]}
        else:
            (known,) = (best[m] for m in best if isinstance(m, ConvNet) and m.depth == 2)
            assert rates.pop() == pytest.approx(known * math.sqrt(8 / model.width), rel=0.04)


def test_tables_and_csv_say_the_same(finished_study: Path) -> None:
    tree = results(finished_study)
    with (finished_study / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["id"] for row in rows] == [run["id"] for run in tree["runs"]]
    for row, run in zip(rows, tree["runs"], strict=True):
        assert (
            int(row["parameters"]) == run["parameters"]
            and float(row["best_val_loss"]) == run["best"]["val_loss"]
        )
        assert (float(row["best_test_loss"]) if row["best_test_loss"] else None) == run["best"][
            "test_loss"
        ]
        assert int(row["model_width"]) == run["model"]["width"]
    numbers = tree["chapters"]["capacity"]["numbers"]
    table = next(t for t in tree["chapters"]["capacity"]["tables"] if t["name"] == "networks")
    for row, network in zip(table["rows"], numbers["networks"] + numbers["beside"], strict=True):
        assert (
            row["network"] == network["network"]
            and row["test_loss"] == network["best"]["test_loss"]["mean"]
        )
        members = [run for run in tree["runs"] if run["id"] in network["runs"]]
        assert row["seeds"] == len(members)
        assert row["test_accuracy"] == pytest.approx(
            sum(run["best"]["test_accuracy"] for run in members) / len(members)
        )
    best = min(numbers["networks"], key=lambda n: n["best"]["val_loss"]["mean"])
    assert numbers["best"]["network"] == best["network"] and best["network"] in tree["sentence"]
    assert f"{best['parameters']:,}" in tree["sentence"]


def test_charts_are_valid_pictures(finished_study: Path) -> None:
    charts = results(finished_study)["chapters"]["capacity"]["charts"]
    assert len(charts) >= 5 and len({chart["png"] for chart in charts}) == len(charts)
    assert {path.name for path in (finished_study / "charts").iterdir()} == {
        Path(chart["png"]).with_suffix(suffix).name
        for chart in charts
        for suffix in (".png", ".svg")
    }
    for chart in charts:
        assert len(chart["alt"]) > 40 and chart["title"]
        with Image.open(finished_study / chart["png"]) as picture:
            assert min(picture.size) >= 200 and all(
                low < high for low, high in picture.convert("RGB").getextrema()
            )
            colours = picture.convert("RGB").getcolors(10**6)
        assert colours is not None and len(colours) > 20
        root = ElementTree.parse((finished_study / chart["png"]).with_suffix(".svg")).getroot()
        assert root.tag.endswith("}svg") and "NaN" not in ElementTree.tostring(
            root, encoding="unicode"
        )
        assert len([mark for mark in root.iter() if mark.tag.endswith("}path")]) > 10


# --- input that can't work


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"chapters": ["capacty"]}, "'capacity'"),
        ({"preset": "quik"}, "'quick'"),
        ({"seeds": 0}, "seeds = 0"),
        ({"workers": 0}, "workers = 0"),
        ({"workers": 10_000}, "10,000"),
        ({"val": 0.0}, "val = 0.0"),
        ({"val": math.nan}, "nan"),
        ({"device": "cuda:9"}, "'cuda:9'"),
        ({"out": "a\nb"}, "\\nb"),
    ],
)
def test_wrong_options_are_refused_before_anything_is_written(
    small_images: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: dict[str, Any],
    part: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as error:
        studies.study(small_images, **options)
    assert part in str(error.value) and str(error.value).isprintable()
    assert list(tmp_path.iterdir()) == []


def test_the_folder_is_named_after_the_data(small_images: Path, tmp_path: Path) -> None:
    loaded = data.load(small_images)
    assert study_path(loaded, "quick", None) == Path("runs") / f"{small_images.name}-quick"
    odd = dataclasses.replace(loaded, name="../a b/ü\n..")
    assert study_path(odd, "full", None) == Path("runs/a-b-ü-full")
    assert study_path(dataclasses.replace(loaded, name=".."), "full", None) == Path(
        "runs/data-full"
    )
