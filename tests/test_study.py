"""Studies from end to end on real images: what they write, nothing trained twice, and faults."""

from __future__ import annotations

import csv
import dataclasses
import json
import math
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from convscope import data, studies
from convscope.errors import UserError
from convscope.recipe.networks import ConvNet, Model
from convscope.recipe.reading import recipe_from_json
from convscope.recipe.recipe import Recipe
from convscope.studies import progress as screen
from convscope.studies.folder import StudyFolder, study_path
from convscope.studies.watcher import Watcher
from convscope.training.run_folder import list_runs, read_run
from convscope.training.runs import Run

pytestmark = pytest.mark.usefixtures("tiny_preset")

CHAPTER = ["capacity"]
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


class Listener(Watcher):
    """Keeps what a study says."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.trained: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)

    def started(self, recipe: Recipe) -> None:
        self.trained.append(recipe.id)


def results(root: Path) -> dict[str, Any]:
    return json.loads((root / "results.json").read_text())


def runs_of(root: Path) -> dict[str, Run]:
    found = list(list_runs(root))
    assert all(isinstance(run, Run) for run in found), found
    return {run.id: run for run in found if isinstance(run, Run)}


def stamps(root: Path) -> dict[str, int]:
    return {
        str(path.relative_to(root)): path.stat().st_mtime_ns for path in root.rglob("result.json")
    }


def again(root: Path, cifar_slice: Path, **options: Any) -> tuple[studies.Study, Listener]:
    listener = Listener()
    return studies.study(
        cifar_slice, CHAPTER, out=root, workers=2, watcher=listener, **options
    ), listener


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
    assert (
        results(finished_study)["sentence"] in page
        and "interrupted" not in page.split("<main>")[0].split("</style>")[1]
    )


def test_results_json_has_the_promised_form(finished_study: Path, cifar_slice: Path) -> None:
    tree = results(finished_study)
    assert (
        set(tree) == {"schema", "convscope", "sentence", "study", "chapters", "runs"}
        and tree["schema"] == 1
    )
    assert {"data", "data_hash", "preset", "command", "seconds", "machine"} <= set(tree["study"])
    assert (tree["study"]["data"], tree["study"]["preset"]) == (cifar_slice.name, "quick")
    assert tree["study"]["images"] == {"train": 1080, "val": 120, "test": 400}
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
            len(run.rows),
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
    assert len(strong) == 1 and len(pilots) >= 3 * 2
    assert {(run.recipe.epochs, run.recipe.flip, len(run.rows)) for run in sweep} == {(2, False, 2)}
    best: dict[Model, float] = {}
    for model in {run.recipe.model for run in pilots}:
        tried = {run.recipe.lr: run.best["val_loss"] for run in pilots if run.recipe.model == model}
        best[model] = min(tried, key=lambda rate: tried[rate])
    assert {(m.width, m.depth) for m in best if isinstance(m, ConvNet)} == {(4, 1), (2, 2), (8, 2)}
    for model in set(
        models
    ):  # each with the rate that was best in its pilots, the one in the middle with one between
        rates = {run.recipe.lr for run in sweep if run.recipe.model == model}
        assert len(rates) == 1
        if model in best:
            assert rates == {best[model]}
        else:
            wide, narrow = sorted(best[m] for m in best if isinstance(m, ConvNet) and m.depth == 2)
            assert rates.pop() == pytest.approx(math.sqrt(wide * narrow), rel=0.03)


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


# --- again


def test_running_again_trains_nothing_and_says_the_same(
    finished_study: Path, cifar_slice: Path
) -> None:
    before, known = stamps(finished_study), results(finished_study)
    study, listener = again(finished_study, cifar_slice)
    assert stamps(finished_study) == before and listener.trained == []
    tree = results(finished_study)
    assert (tree["chapters"], tree["sentence"], tree["runs"]) == (
        known["chapters"],
        known["sentence"],
        known["runs"],
    )
    assert tree["study"]["seconds"] >= known["study"]["seconds"]
    assert study.complete and study.failed == [] and study.sentence == tree["sentence"]
    assert study["capacity"].verdict == known["chapters"]["capacity"]["verdict"] and len(study) == 1


def test_rendering_writes_the_same_numbers(finished_study: Path) -> None:
    before, known = stamps(finished_study), results(finished_study)
    page = (finished_study / "report.html").read_bytes()
    shutil.rmtree(finished_study / "charts")
    for name in ("report.html", "results.json", "results.csv"):
        (finished_study / name).unlink()
    study = studies.render(finished_study)
    assert stamps(finished_study) == before and results(finished_study) == known
    assert (finished_study / "report.html").read_bytes() == page
    assert study.complete and str(finished_study / "report.html") in str(study)


def test_a_study_that_was_moved_goes_on(
    finished_study: Path, cifar_slice: Path, tmp_path: Path
) -> None:
    moved = finished_study.rename(tmp_path / "elsewhere")
    assert again(moved, cifar_slice)[1].trained == []


def test_more_seeds_train_only_what_is_new(finished_study: Path, cifar_slice: Path) -> None:
    before = stamps(finished_study)
    study, listener = again(finished_study, cifar_slice, seeds=3)
    assert len(listener.trained) == 4 and {stamps(finished_study)[name] for name in before} == set(
        before.values()
    )
    assert {len(network["runs"]) for network in study["capacity"].numbers["networks"]} == {3}


def test_an_altered_run_is_set_aside_and_made_again(
    finished_study: Path, cifar_slice: Path
) -> None:
    known = results(finished_study)
    before = runs_of(finished_study)
    victim = next(run for run in known["runs"] if not run["pilot"])["id"]
    file = finished_study / "runs" / victim / "result.json"
    file.write_text(file.read_text().replace('"status": "finished"', '"status": "diverged"'))
    others = {name: stamp for name, stamp in stamps(finished_study).items() if victim not in name}
    _, listener = again(finished_study, cifar_slice)
    assert any(victim in line and "set aside" in line for line in listener.said)
    assert [path.parent.name for path in finished_study.rglob("result.json.set-aside-*[0-9]")] == [
        victim
    ]
    assert stamps(finished_study).items() >= others.items()
    assert results(finished_study)["chapters"] == known["chapters"]
    assert read_run(file.parent).rows == before[victim].rows


@pytest.mark.parametrize("victims", ["ten bits", "pilots of the grid", "all pilots", "sweep"])
def test_altered_files_of_runs_change_no_verdict(finished_study: Path, victims: str) -> None:
    """Bits of files that a report reads are flipped: those runs are left out, others stay."""
    draw, known = random.Random(5), runs_of(finished_study)
    files = [
        path
        for path in sorted(finished_study.rglob("*"))
        if path.name in ("result.json", "recipe.json", "metrics.jsonl")
    ]
    chosen = {
        "ten bits": draw.sample(files, 10),
        "pilots of the grid": [
            run.path / "metrics.jsonl"
            for run in known.values()
            if is_pilot(run) and run.recipe.lr in (1e-3, 4e-3)
        ],
        "all pilots": [run.path / "metrics.jsonl" for run in known.values() if is_pilot(run)],
        "sweep": [
            run.path / "result.json"
            for run in known.values()
            if not is_pilot(run) and run.recipe.schedule == "constant"
        ],
    }
    for path in chosen[victims]:
        content = bytearray(path.read_bytes())
        content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        path.write_bytes(content)
    sound = {item.id: item for item in list_runs(finished_study) if isinstance(item, Run)}
    assert 0 < len(sound) < len(known) and all(run == known[key] for key, run in sound.items())
    study = studies.render(finished_study)
    assert {run.id for run in study.runs} <= set(sound)
    numbers = study["capacity"].numbers
    for network in numbers["networks"] + numbers.get("beside", []):
        members = [known[key] for key in network["runs"]]
        assert set(network["runs"]) <= set(sound) and not any(map(is_pilot, members))
        assert network["best"]["val_loss"]["mean"] == pytest.approx(
            sum(run.best["val_loss"] for run in members) / len(members)
        )
    if victims == "sweep":
        assert study["capacity"].verdict == "cannot tell" and numbers["networks"] == []
    assert (finished_study / "report.html").stat().st_size > 10_000


def is_pilot(run: Run) -> bool:
    return run.recipe.evaluate == ("val",)


def edit(tree: dict[str, Any], *path: str, value: Any = None, drop: bool = False) -> dict[str, Any]:
    place = tree
    for key in path[:-1]:
        place = place[key]
    if drop:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return tree


@pytest.mark.parametrize(
    "change",
    [
        lambda tree: edit(tree, "about", drop=True),
        lambda tree: edit(tree, "about", "images", drop=True),
        lambda tree: edit(tree, "about", "chapters", value=["nothing"]),
        lambda tree: edit(tree, "context", "base", "epochs", value="8"),
        lambda tree: edit(tree, "context", "base", "data", value="/nowhere.npz"),
        lambda tree: edit(tree, "context", "seeds", value=None),
        lambda tree: edit(tree, "about", "preset", value="quik"),
        lambda tree: [],
        lambda tree: 3,
    ],
)
def test_an_altered_study_json_is_refused_in_one_line(
    finished_study: Path, change: Callable[[dict[str, Any]], Any]
) -> None:
    path = finished_study / "study.json"
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    with pytest.raises(UserError) as error:
        studies.render(finished_study)
    assert str(error.value).isprintable()
    assert str(finished_study) in str(error.value) or "/nowhere.npz" in str(error.value)


@pytest.mark.parametrize("threads", [None, 3])
def test_an_altered_study_json_costs_no_run_silently(
    finished_study: Path, cifar_slice: Path, threads: int | None
) -> None:
    """The number of threads is part of every recipe: another one trains all of them again.

    So a change of it must be noticed.
    """
    path, before = finished_study / "study.json", stamps(finished_study)
    path.write_text(
        json.dumps(edit(json.loads(path.read_text()), "choice", "threads", value=threads))
    )
    try:
        _, listener = again(finished_study, cifar_slice)
        assert listener.trained == [] or any("study.json" in line for line in listener.said)
    except UserError as error:
        assert "study.json" in str(error) and str(error).isprintable()
    assert stamps(finished_study).items() >= before.items()


def test_a_figure_altered_in_study_json_is_not_reported(finished_study: Path) -> None:
    path = finished_study / "study.json"
    path.write_text(
        json.dumps(edit(json.loads(path.read_text()), "about", "images", "train", value=9999))
    )
    try:
        studies.render(finished_study)
    except UserError as error:
        assert str(finished_study) in str(error)
    assert (
        "9,999" not in (finished_study / "report.html").read_text()
        and results(finished_study)["study"]["images"]["train"] != 9999
    )


# --- two at once, and failures


def test_a_second_launcher_is_sent_away(finished_study: Path, cifar_slice: Path) -> None:
    code = f"""
import sys
from filelock import FileLock
with FileLock({str(finished_study / ".lock")!r}):
    print("held", flush=True)
    sys.stdin.read()
"""
    known = {
        path: path.read_bytes()
        for path in finished_study.rglob("*")
        if path.is_file() and path.name != ".lock"
    }
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
        for call in (
            lambda: again(finished_study, cifar_slice),
            lambda: studies.render(finished_study),
        ):
            with pytest.raises(UserError, match="another convscope is working there") as error:
                call()
            assert str(finished_study) in str(error.value)
        assert {path: path.read_bytes() for path in known} == known
        holder.kill()
    assert again(finished_study, cifar_slice)[1].trained == []  # the lock died with its owner


def test_a_killed_worker_fails_its_run_only(
    finished_study: Path,
    cifar_slice: Path,
    cli: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    known = results(finished_study)
    victims = [run["id"] for run in known["runs"] if not run["pilot"]][:2]
    for victim in victims:
        shutil.rmtree(finished_study / "runs" / victim)
    before = stamps(finished_study)

    class Killer(screen.Lines):
        killed = ""

        def started(self, recipe: Recipe) -> None:
            if not Killer.killed:
                Killer.killed = recipe.id
                for child in multiprocessing.active_children():
                    os.kill(child.pid or 0, signal.SIGKILL)

    monkeypatch.setattr(screen, "watcher", Killer)
    arguments = (
        "study",
        cifar_slice,
        "--chapters",
        "capacity",
        "--out",
        finished_study,
        "--workers",
        1,
    )
    folder = StudyFolder.open(finished_study)
    assert folder.asked is not None and folder.choice is not None
    folder.asked = dataclasses.replace(folder.asked, workers=1)
    folder.choice = dataclasses.replace(folder.choice, workers=1)  # so that one run is under way
    folder.save()
    answer = cli(*arguments)
    assert answer.code == 1 and "Traceback" not in answer.err
    (failed,) = [line for line in answer.err.splitlines() if line.startswith("failed: ")]
    assert Killer.killed in failed and "SIGKILL" in failed
    tree = {run["id"]: run for run in results(finished_study)["runs"]}
    assert [tree[victim]["status"] for victim in victims].count("failed") == 1 and tree[
        Killer.killed
    ]["status"] == "failed"
    assert all(run["status"] == "finished" for key, run in tree.items() if key != Killer.killed)
    assert Killer.killed in (finished_study / "report.html").read_text()
    assert stamps(finished_study).items() >= before.items()
    answer = cli(*arguments)  # now it is tried again, and comes out as it did at first
    assert answer.code == 0 and answer.out.strip() == known["sentence"]
    assert results(finished_study)["chapters"] == known["chapters"]


# --- interruption


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Wait for an event of a process that is alive; the limit is against hanging."""
    for _ in range(12_000):
        if condition():
            return
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    pytest.fail("nothing happened for two minutes")


def test_ctrl_c_leaves_the_report_and_the_same_command_goes_on(
    cifar_slice: Path, tmp_path: Path
) -> None:
    """The real quick preset; the terminal sends the signal to all processes of the group."""
    root = tmp_path / "study"
    command = [
        sys.executable,
        "-m",
        "convscope.cli",
        "study",
        str(cifar_slice),
        "--chapters",
        "capacity",
        "--out",
        str(root),
    ]

    def interrupted(finished: int) -> str:
        pipe = subprocess.PIPE
        with subprocess.Popen(
            command, stdout=pipe, stderr=pipe, text=True, start_new_session=True
        ) as process:
            wait_for(lambda: len(stamps(root)) >= finished, process)
            os.killpg(process.pid, signal.SIGINT)
            out, err = process.communicate(timeout=60)
        assert process.returncode == 130, err
        assert out == "" and "Traceback" not in err
        assert (
            err.splitlines()[-1].startswith("convscope: interrupted")
            and f"--out {root}" in err.splitlines()[-1]
        )
        return err

    interrupted(1)
    first, ids = stamps(root), set(runs_of(root))
    assert first and {run["id"] for run in results(root)["runs"]} <= ids
    page = (root / "report.html").read_text()
    assert "This study was interrupted" in page and "--out" in page
    assert not json.loads((root / "study.json").read_text())["about"]["complete"]
    choice = json.loads((root / "study.json").read_text())["choice"]
    err = interrupted(len(first) + 1)
    assert "measuring this machine" not in err and "timing" not in err
    assert json.loads((root / "study.json").read_text())["choice"] == choice
    assert stamps(root).items() >= first.items() and len(stamps(root)) > len(first)
    studies.render(root)
    assert "This study was interrupted" in (root / "report.html").read_text()


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
    cifar_slice: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: dict[str, Any],
    part: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as error:
        studies.study(cifar_slice, **options)
    assert part in str(error.value) and str(error.value).isprintable()
    assert list(tmp_path.iterdir()) == []


def test_the_folder_is_named_after_the_data(cifar_slice: Path, tmp_path: Path) -> None:
    loaded = data.load(cifar_slice)
    assert study_path(loaded, "quick", None) == Path("runs") / f"{cifar_slice.name}-quick"
    odd = dataclasses.replace(loaded, name="../a b/ü\n..")
    assert study_path(odd, "full", None) == Path("runs/a-b-ü-full")
    assert study_path(dataclasses.replace(loaded, name=".."), "full", None) == Path(
        "runs/data-full"
    )
