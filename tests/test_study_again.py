"""A study that is run again, rendered again, moved, widened, or altered in between."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from recording import figures
from studying import again, is_pilot, results, runs_of, stamps

from convscope import studies
from convscope.errors import UserError
from convscope.training.run_folder import list_runs, read_run
from convscope.training.runs import Run

pytestmark = pytest.mark.usefixtures("tiny_preset")


# --- again


def test_running_again_trains_nothing_and_says_the_same(
    finished_study: Path, small_images: Path
) -> None:
    before, known = stamps(finished_study), results(finished_study)
    study, listener = again(finished_study, small_images)
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
    finished_study: Path, small_images: Path, tmp_path: Path
) -> None:
    moved = finished_study.rename(tmp_path / "elsewhere")
    assert again(moved, small_images)[1].trained == []


@pytest.mark.slow
def test_more_seeds_train_only_what_is_new(finished_study: Path, small_images: Path) -> None:
    before = stamps(finished_study)
    study, listener = again(finished_study, small_images, seeds=3)
    assert len(listener.trained) == 4 and {stamps(finished_study)[name] for name in before} == set(
        before.values()
    )
    assert {len(network["runs"]) for network in study["capacity"].numbers["networks"]} == {3}


@pytest.mark.slow
def test_an_altered_run_is_set_aside_and_made_again(
    finished_study: Path, small_images: Path
) -> None:
    known = results(finished_study)
    before = runs_of(finished_study)
    victims = [run["id"] for run in known["runs"] if not run["pilot"]][:2]
    folders = [finished_study / "runs" / victim for victim in victims]
    file, weights = folders[0] / "result.json", folders[1] / "best.safetensors"
    file.write_text(file.read_text().replace('"status": "finished"', '"status": "diverged"'))
    weights.write_bytes(weights.read_bytes()[:-1])
    others = {
        name: stamp
        for name, stamp in stamps(finished_study).items()
        if not any(victim in name for victim in victims)
    }
    study, listener = again(finished_study, small_images)
    for victim, name in zip(victims, ("result.json", "best.safetensors"), strict=True):
        (line,) = [line for line in listener.said if victim in line and "set aside" in line]
        assert f"{name} was altered" in line
    asides = [path.parent for path in finished_study.rglob("result.json.set-aside-*[0-9]")]
    assert set(asides) == set(folders) and list(folders[1].glob("best*.set-aside-*[0-9]"))
    assert stamps(finished_study).items() >= others.items()
    tree = results(finished_study)
    assert tree["chapters"] == known["chapters"] and study["capacity"].missing == ()
    assert {one["run"]: one["trained_again"] for one in tree["damaged"]} == dict.fromkeys(
        victims, True
    )
    page = (finished_study / "report.html").read_text()
    assert 'id="trained-again"' in page and 'id="left-out"' not in page
    assert figures(read_run(folders[0])) == figures(before[victims[0]])
    assert figures(read_run(folders[1])) == figures(before[victims[1]])


@pytest.mark.parametrize(
    "victims",
    [
        "ten bits",
        "sweep",
        *(
            pytest.param(some, marks=pytest.mark.slow)
            for some in ("pilots of the grid", "all pilots")
        ),
    ],
)
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


@pytest.mark.parametrize("threads", [None, pytest.param(3, marks=pytest.mark.slow)])
def test_an_altered_study_json_costs_no_run_silently(
    finished_study: Path, small_images: Path, threads: int | None
) -> None:
    """The number of threads is part of every recipe: another one trains all of them again.

    So a change of it must be noticed.
    """
    path, before = finished_study / "study.json", stamps(finished_study)
    path.write_text(
        json.dumps(edit(json.loads(path.read_text()), "choice", "threads", value=threads))
    )
    try:
        _, listener = again(finished_study, small_images)
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
