"""A study as a TOML file: what goes before what, misspelt keys, and the schemas for editors."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
from commands import Cli

from convscope.chapters.capacity import plan
from convscope.cli import study_options
from convscope.cli.study_options import asked_for, settings_from
from convscope.data import load
from convscope.errors import UserError
from convscope.planning import Context, checked_grids
from convscope.recipe import ConvNet, Recipe
from convscope.studies.schemas import SCHEMAS
from convscope.studies.study_file import KEYS
from convscope.studies.toml_files import read_toml

DOCS = Path(__file__).parent.parent / "docs"


@pytest.fixture
def file(micro: Path, tmp_path: Path) -> Path:
    path = tmp_path / "study.toml"
    path.write_text(f'data = "{micro}"\nseeds = 4\npreset = "standard"\nval = 0.2\n')
    return path


def test_flags_go_before_the_environment_before_the_file_before_defaults(
    file: Path, monkeypatch: pytest.MonkeyPatch, cli: Cli
) -> None:
    seen = []
    monkeypatch.setattr("convscope.cli.studying.carry_out", lambda asked, *_: seen.append(asked))
    monkeypatch.setenv("CONVSCOPE_SEEDS", "3")
    monkeypatch.setenv("CONVSCOPE_VAL", "0.3")
    monkeypatch.setenv("CONVSCOPE_DEVICE", "cpu")
    answer = cli("study", file, "--val", "0.4")
    assert answer.code == 0, answer.err
    (asked,) = seen
    assert (asked.val, asked.seeds, asked.device) == (0.4, 3, "cpu")
    assert (asked.preset, asked.first_seed, asked.workers) == ("standard", 0, None)
    assert "CONVSCOPE_SEEDS=3" in answer.err and "CONVSCOPE_DEVICE=cpu" in answer.err
    monkeypatch.setenv("CONVSCOPE_SEEDS", "many")
    answer = cli("study", file)
    assert answer.code == 2 and "CONVSCOPE_SEEDS" in answer.err and len(seen) == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("sedes = 3", "unknown key 'sedes'; did you mean 'seeds'?"),
        ("seeds = '3'", "seeds = '3': a whole number is expected"),
        ("seeds = true", "seeds = True: a whole number is expected"),
        ("[capacity]\nwidth = [2]", "unknown key 'width' in [capacity]; did you mean 'widths'?"),
        ("[capacity]\nwidths = [4, 2]", "capacity.widths = [4, 2]: ascending numbers"),
        ("[capacity]\nepochs = 0", "capacity.epochs = 0: a whole number from 1"),
        ("[ordering]\nwidths = [4]", "unknown key 'widths' in [ordering]"),
        ("[machine]\ndevise = 'cpu'", "unknown key 'devise' in [machine]; did you mean 'device'?"),
        ("[machine]\nthreads = 1", "[machine]: "),
        ("chapters = [1]", "chapters = [1]: a list of names is expected"),
        ("seeds = ", "not TOML: "),
    ],
)
def test_bad_files_are_refused_in_one_line(cli: Cli, tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(text)
    answer = cli("study", path)
    assert answer.code == 2 and len(answer.err.splitlines()) == 1, answer.err
    assert said in answer.err


def test_settings_of_chapters_on_the_command_line(file: Path) -> None:
    file.write_text(file.read_text() + "[capacity]\nwidths = [2, 4]\nepochs = 3\n")
    flags = dict.fromkeys(KEYS)
    asked = asked_for(flags, ["capacity.widths=8", "ordering.seeds=7"], str(file))
    assert asked.grids == {"capacity": {"widths": [8], "epochs": 3}, "ordering": {"seeds": 7}}
    for text in ("widths=3", "capacity.widths", "capacity.widths=a", "capacity.size=3"):
        with pytest.raises(UserError):
            settings_from([text])


def test_a_grid_takes_the_place_of_the_preset(micro: Path) -> None:
    capacity = {"widths": [2, 5], "depths": [1, 2], "epochs": 4, "seeds": 3, "images": [30, 60]}
    grids = checked_grids({"capacity": capacity})
    base = Recipe(data=str(micro), batch=10)
    context = Context(load(str(micro)), "quick", (0,), base, ("capacity",), grids=grids)
    runs = plan.sweep_of(context, {}, 1e-3)
    assert {run.epochs for run in runs} == {4} and {run.seed for run in runs} == {0, 1, 2}
    shapes = {
        (run.limit or 90, run.model.width, run.model.depth)
        for run in runs
        if isinstance(run.model, ConvNet)
    }
    assert shapes == {(30, 2, 1), (30, 5, 1)} | {(60, w, d) for w in (2, 5) for d in (1, 2)}
    plain = Context(load(str(micro)), "quick", (0,), base, ("capacity",))
    assert plan.preset_in(plain) is plan.PRESETS["quick"]


@pytest.mark.parametrize("name", list(SCHEMAS))
def test_the_schemas_are_current(name: str) -> None:
    """Mend it with: python -m convscope.studies.schemas"""
    assert json.loads((DOCS / f"{name}.schema.json").read_text()) == SCHEMAS[name]()


def test_the_schemas_take_what_is_right_and_refuse_what_is_not(file: Path, tmp_path: Path) -> None:
    file.write_text(file.read_text() + "[capacity]\nwidths = [2, 4]\n")
    sweep = tmp_path / "sweep.toml"
    text = 'lr = 0.1\nseeds = 5\ncompare = [["a", "b"]]\n[grid]\nwidth = [4, 8]\nmine = ["x"]\n'
    sweep.write_text(text)
    for name, path in (("study", file), ("sweep", sweep)):
        jsonschema.validate(read_toml(path), SCHEMAS[name]())
        for wrong in ({"sedes": 3}, {"seeds": "3"}):
            with pytest.raises(jsonschema.ValidationError):
                jsonschema.validate({**read_toml(path), **wrong}, SCHEMAS[name]())


def test_every_shared_option_is_a_key() -> None:
    assert set(study_options.SHARED) <= set(KEYS)
