"""`convscope compare`: what can be named, words and exit codes, JSON, and what is refused."""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import replace
from pathlib import Path

import pytest
from commands import Cli
from comparing import CLOSE, MakeRun, configuration, on_disk
from unpacking import unpack_old_study

from convscope.files import write_json
from convscope.recipe.json_form import to_json
from convscope.recipe.networks import ConvNet, Custom
from convscope.recipe.recipe import Recipe
from convscope.training.run_folder import read_run


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the first test that asks for `pair` leaves its runs for the others."""
    return tmp_path_factory.mktemp("shelf")


@pytest.fixture
def pair(shelf: Path, make_run: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folders base and wide below the current one, of three runs each."""
    for name, width, accuracy in (("base", 4, 0.70), ("wide", 8, 0.76)):
        if not (shelf / name).exists():
            configuration(make_run, shelf / name, width, accuracy)
        shutil.copytree(shelf / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def ids(folder: str) -> list[str]:
    return sorted(path.name for path in Path(folder).iterdir())


# --- what it says


def test_words_exit_codes_and_the_table(cli: Cli, pair: Path) -> None:
    better = cli("compare", "wide", "base")
    assert (better.code, better.err) == (0, "")
    lines = {
        line[:12].strip(): line[12:].strip() for line in better.out.splitlines() if line[0] > " "
    }
    assert lines["verdict"] == "A is better than B."
    assert lines["A"].startswith("test accuracy 76.00 %, 3 seeds")
    assert lines["difference"].startswith("+6.00 points, 95 % interval +")
    assert lines["margin"] == "0.5 points" and lines["images"].startswith("2,000 test images")
    assert lines["differ in"] == "model.width: A 8, B 4" and lines["replication"].endswith(" %")
    assert "wide: width 8, depth 1" in better.out and "base: width 4, depth 1" in better.out
    assert cli("compare", "base", "wide").code == 1
    assert cli("compare", "base", "wide", "--measure", "loss", "--split", "val").code == 1
    wider = cli("compare", "base", "wide", "--margin", 9)
    assert wider.code == 3 and "A and B are equivalent." in wider.out
    one = cli("compare", f"wide/{ids('wide')[0]}", f"base/{ids('base')[0]}")
    assert one.code == 4 and "Train 3 or more seeds of each" in one.out


def test_json_says_what_a_and_b_were(cli: Cli, pair: Path) -> None:
    answer = cli("compare", "wide", "base", "--json", "--margin", 1.5, "--looks", 2)
    tree = json.loads(answer.out)
    assert (answer.code, answer.err, tree["verdict"]) == (0, "", "better")
    assert (tree["margin"], tree["looks"], tree["level"]) == (0.015, 2, 0.975)
    assert tree["differ"] == {"model.width": [8, 4]} and tree["seeds"] == [3, 3]
    a = tree["compared"]["a"]
    assert (a["given"], a["kind"], a["label"]) == ("wide", "runs", "width 8, depth 1")
    assert [run["seed"] for run in a["runs"]] == [0, 1, 2]
    assert {run["id"] for run in a["runs"]} == set(ids("wide"))
    assert a["recipe"]["model"]["width"] == 8


def test_two_finished_runs_take_less_than_a_second(
    cli: Cli, pair: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No data set is loaded and no network is built."""
    cli("compare", "wide", "base")  # imports
    for name in ("resident_data.load", "trained.build", "main_path.build"):
        monkeypatch.delattr(f"convscope.training.{name}")
    begun = time.process_time()
    assert cli("compare", "wide", "base").code == 0
    assert time.process_time() - begun < 1.0


# --- what can be named


def test_runs_joined_by_commas_and_globs(cli: Cli, pair: Path) -> None:
    both = pair / "both"
    for folder in ("wide", "base"):
        shutil.copytree(folder, both, dirs_exist_ok=True)
    mixed = cli("compare", "both", "base")
    assert mixed.code == 2 and mixed.out == "" and len(mixed.err.splitlines()) == 1
    assert "A: 'both': holds 2 configurations; name one by its runs" in mixed.err
    name = mixed.err.partition("width 8, depth 1 as ")[2].partition(";")[0].strip()
    assert name.count(",") == 2 and cli("compare", name, "base").code == 0
    stars = ",".join(f"both/{one[:-1]}*" for one in ids("wide"))
    assert cli("compare", stars, "base").code == 0
    assert "seed" not in cli("compare", stars, "base").err


def test_a_study_stands_for_its_winner(cli: Cli, pair: Path) -> None:
    study = pair / "study"
    shutil.copytree("wide", study / "runs")
    shutil.copytree("base", study / "runs", dirs_exist_ok=True)
    write_json(study / "study.json", {})
    first, *others = ids("wide")
    configurations = [{"runs": ids("base")}, {"runs": [first, *others]}]

    def winner(numbers: dict[str, object]) -> None:
        write_json(study / "results.json", {"chapters": {"best": {"numbers": numbers}}})

    winner({"winner": first, "configurations": configurations})
    answer = cli("compare", study, "base", "--json")
    assert answer.code == 0
    assert json.loads(answer.out)["compared"]["a"]["kind"] == "study"
    assert json.loads(answer.out)["seeds"] == [3, 3]
    # fresh seeds, which chose nothing, are taken where the study has trained them
    winner({"winner": first, "configurations": configurations, "runs": others})
    assert json.loads(cli("compare", study, "base", "--json").out)["seeds"] == [2, 3]
    winner({"winner": None, "configurations": []})
    assert "has no winner" in cli("compare", study, "base").err
    write_json(study / "results.json", {"chapters": {}})
    assert "has no winner" in cli("compare", study, "base").err
    (study / "results.json").write_text("{")
    assert f"convscope report {study} writes it again" in cli("compare", study, "base").err
    (study / "results.json").unlink()
    assert cli("compare", study, "base").code == 2


def test_recipes_are_trained_once_over_their_seeds(cli: Cli, micro: Path, tmp_path: Path) -> None:
    files = []
    for width in (2, 3):
        recipe = Recipe(model=ConvNet(width, 1), epochs=1, batch=30, data="nowhere")
        write_json(tmp_path / f"{width}.json", to_json(recipe))
        files.append(tmp_path / f"{width}.json")
    out = tmp_path / "new" / "runs"
    given = ("compare", *files, "--data", micro, "--out", out, "--split", "val")
    answer = cli(*given, "--seeds", 2, "--json")
    tree = json.loads(answer.out)
    assert (
        answer.code == {"better": 0, "worse": 1, "equivalent": 3, "cannot tell": 4}[tree["verdict"]]
    )
    assert tree["compared"]["b"]["kind"] == "recipe" and answer.err.count("epoch 1") == 4
    assert [read_run(out / run["id"]).recipe.seed for run in tree["compared"]["a"]["runs"]] == [
        0,
        1,
    ]
    times = {path: path.stat().st_mtime_ns for path in out.glob("*/result.json")}
    again = cli(*given, "--seeds", 2, "--json")
    assert (again.code, again.out, again.err) == (answer.code, answer.out, "")
    more = cli(*given, "--seeds", "1-2", "--json")
    assert more.err.count("epoch 1") == 2 and len(list(out.glob("*/result.json"))) == 6
    assert all(path.stat().st_mtime_ns == then for path, then in times.items())
    mixed = cli("compare", files[0], out / tree["compared"]["b"]["runs"][0]["id"], *given[3:])
    assert mixed.code == 4  # a recipe against a run that is there, with one seed


# --- what is refused


BAD: dict[str, tuple[list[str], list[str]]] = {
    "no folder": (["nowhere", "base"], ["A: 'nowhere'", "no such folder", "recipe"]),
    "no folder in a list": (["wide", "base,nowhere"], ["B: 'nowhere'"]),
    "no match": (["wide", "bas[ef]x*"], ["B: 'bas[ef]x*'"]),
    "a long name": (["x" * 5000, "base"], ["A", "xxx"]),
    "an empty name": (["", "base"], ["A: ''"]),
    "no run": (["empty", "base"], ["A: 'empty': no finished run"]),
    "A is B": (["base", "base"], ["both 'base'"]),
    "A is B by another path": (["base", "./base"], ["is in both"]),
    "margin 0": (["wide", "base", "--margin", "0"], ["margin 0", "above 0"]),
    "margin below 0": (["wide", "base", "--margin", "-0.5"], ["margin -0.5", "points"]),
    "margin nan": (["wide", "base", "--margin", "nan"], ["margin nan"]),
    "margin inf": (
        ["wide", "base", "--margin", "inf", "--measure", "loss"],
        ["margin inf", "nats"],
    ),
    "margin x": (["wide", "base", "--margin", "x"], ["--margin", "'x'"]),
    "margin of all": (["wide", "base", "--margin", "100"], ["margin 100"]),
    "measure": (["wide", "base", "--measure", "acuracy"], ["'acuracy'", "'accuracy'"]),
    "split": (["wide", "base", "--split", "train"], ["'train'", "known: test, val"]),
    "looks": (["wide", "base", "--looks", "0"], ["looks = 0"]),
    "seeds 0": (["wide", "base", "--seeds", "0"], ["seeds '0'"]),
    "seeds x": (["wide", "base", "--seeds", "3x"], ["seeds '3x'", "100-104"]),
    "seeds backward": (["wide", "base", "--seeds", "5-2"], ["seeds '5-2'"]),
    "too many seeds": (["wide", "base", "--seeds", "9" * 30], ["seeds '999"]),
    "seeds without a recipe": (["wide", "base", "--seeds", "3"], ["seeds 3", "recipe"]),
    "data without a recipe": (["wide", "base", "--data", "shapes"], ["data shapes"]),
    "a recipe that is none": (["wide", "text.json"], ["text.json", "line 1"]),
    "one argument": (["wide"], ["B"]),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_line_that_repeats_it(cli: Cli, pair: Path, name: str) -> None:
    (pair / "empty").mkdir()
    (pair / "text.json").write_text("{width}")
    arguments, words = BAD[name]
    answer = cli("compare", *arguments)
    assert (answer.code, answer.out) == (2, ""), answer
    (line,) = answer.err.splitlines()
    assert line.startswith("convscope: ") and all(word in line for word in words), line


def test_runs_that_are_refused(cli: Cli, pair: Path, make_run: MakeRun) -> None:
    configuration(make_run, pair / "other", 8, 0.7, data_hash="f" * 64)
    (broken,) = configuration(make_run, pair / "broken", 8, 0.7, CLOSE[:1], status="diverged")
    (begun,) = configuration(make_run, pair / "begun", 8, 0.7, CLOSE[:1])
    (begun.path / "result.json").unlink()
    altered = pair / "wide" / ids("wide")[1] / "best.safetensors"
    content = altered.read_bytes()
    altered.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    for given, words in {
        "other": ["data_hash", "did not see the same test images"],
        "broken": [broken.id, "is diverged, not finished"],
        f"begun/{begun.id}": [f"'begun/{begun.id}'", "is not finished", "convscope train --recipe"],
        "begun": ["'begun'", "no finished run"],
        "wide": [f"wide/{ids('wide')[1]}", "best.safetensors was altered"],
    }.items():
        answer = cli("compare", given, "base")
        assert (answer.code, answer.out) == (2, "") and len(answer.err.splitlines()) == 1, answer
        assert all(word in answer.err for word in words), answer.err


def test_runs_of_version_0_1_0_have_no_values_by_image(cli: Cli, tmp_path: Path) -> None:
    unpack_old_study(tmp_path)
    folders = sorted(path.parent for path in tmp_path.rglob("result.json"))
    answer = cli("compare", folders[0], folders[1])
    assert answer.code == 2 and str(folders[0]) in answer.err
    assert "no test values by image" in answer.err and "train its recipe again" in answer.err


def test_recipes_are_refused_before_anything_is_trained(
    cli: Cli, micro: Path, cifar_slice: Path, tmp_path: Path
) -> None:
    def recipe(name: str, **changes: object) -> Path:
        made = Recipe(model=ConvNet(2, 1), epochs=1, batch=30, **{"data": str(micro), **changes})
        write_json(tmp_path / f"{name}.json", to_json(made))
        return tmp_path / f"{name}.json"

    plain, out = recipe("plain"), tmp_path / "runs"
    cases = {
        recipe("other", data=str(cifar_slice)): ["data_hash"],
        recipe("blind", evaluate=("train", "val")): ["split 'test'", "evaluate = train,val"],
        recipe("changed", data_hash="0" * 64): ["changed since", "000000000000 then"],
    }
    for file, words in cases.items():
        answer = cli("compare", plain, file, "--out", out)
        assert (answer.code, answer.out) == (2, "") and len(answer.err.splitlines()) == 1
        assert all(word in answer.err for word in words), answer.err
    answer = cli("compare", plain, recipe("all", val=0.0), "--split", "val", "--out", out)
    assert answer.code == 2 and "val" in answer.err and not out.exists()


def test_a_strangers_runs_are_compared_without_their_code(
    cli: Cli, pair: Path, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    (pair / "stranger.py").write_text("open('was-here', 'w').write('')\n")
    monkeypatch.syspath_prepend(str(pair))
    for seed in range(3):
        run = make_run(ConvNet(4, 1), [1.0], [1.0], seed=seed, accuracy=0.9)
        recipe = replace(run.recipe, model=Custom("stranger:net"))
        on_disk(replace(run, recipe=recipe), pair / "theirs")
    answer = cli("compare", "theirs", "base", "--json")
    assert answer.code == 0 and not (pair / "was-here").exists()
    assert json.loads(answer.out)["compared"]["a"]["label"] == "stranger:net"


def test_a_named_recipe_is_one_too(
    cli: Cli, micro: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The strong recipe holds out no validation images."""
    monkeypatch.setattr("convscope.cli.comparing.measured", lambda recipe, given: recipe)
    write_json(tmp_path / "plain.json", to_json(Recipe(data=str(micro), batch=30)))
    given = ("compare", "strong", tmp_path / "plain.json", "--data", micro, "--out", tmp_path / "r")
    answer = cli(*given, "--split", "val")
    assert answer.code == 2 and "val (0.0 and 0.1)" in answer.err and not (tmp_path / "r").exists()


def test_a_bug_does_not_say_worse(cli: Cli, pair: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A traceback ends with 1 elsewhere, which is the exit code of a verdict here."""

    def fails(*_: object, **__: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr("convscope.training.named_runs.runs_below", fails)
    answer = cli("compare", "wide", "base")
    assert answer.code == 2 and "RuntimeError: a bug" in answer.err
    monkeypatch.setattr("convscope.training.named_runs.runs_below", full)
    answer = cli("compare", "wide", "base")
    assert answer.code == 2 and "Traceback" not in answer.err


def full(*_: object) -> None:
    raise OSError(28, "No space left on device")
