"""Trackers by their names: one or several, unknown ones, and those that are not installed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from convscope.errors import UserError
from convscope.studies.trackers.names import TRACKERS, Known, check_trackers, joined_names


def test_several_trackers_are_named_by_commas_or_a_list(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("memory", "other"):
        monkeypatch.setitem(TRACKERS, name, Known("memory_tracker:Memory", "json"))
    assert check_trackers(" memory, other,memory") == ("memory", "other")
    assert check_trackers(["other", "memory"]) == ("other", "memory")
    assert check_trackers(None) == () and joined_names(None) is None
    assert joined_names(["memory", "other"]) == "memory,other"
    for wrong, said in (
        ("memory,wandbb", r"^track 'wandbb'; did you mean 'wandb'"),
        ("excel", r"^track 'excel'; known: "),
        ("", r"^track ''"),
        ("memory,,other", r"^track ''"),
        ([3], r"^track = \[3\]: names are expected"),
    ):
        with pytest.raises(UserError, match=said):
            check_trackers(wrong)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("name", ["wandb", "tensorboard", "mlflow", "trackio"])
def test_a_tracker_that_is_not_installed_is_refused_at_once(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    said = rf"^track {name}: not installed; pip install 'convscope\[{name}\]'$"
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UserError, match=said):
        check_trackers(name)
    monkeypatch.delitem(sys.modules, name)
    (tmp_path / name).mkdir()  # the folder where it keeps its files is not the library
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    with pytest.raises(UserError, match=said):
        check_trackers(name)


def test_the_command_refuses_it_with_exit_code_2(tmp_path: Path) -> None:
    hidden = "import sys; sys.modules['trackio'] = None; from convscope.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", hidden, "study", "shapes", "--track", "wandb,trackio"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2 and "pip install 'convscope[trackio]'" in done.stderr, done.stderr
    assert len(done.stderr.strip().splitlines()) == 1 and not list(tmp_path.iterdir())


def test_a_file_may_list_trackers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from convscope.studies.study_command import command_of
    from convscope.studies.study_file import read_study, request_of
    from convscope.studies.sweep_request import request_from

    for name in ("memory", "other"):
        monkeypatch.setitem(TRACKERS, name, Known("memory_tracker:Memory", "json"))
    file = tmp_path / "study.toml"
    file.write_text('track = ["memory", "other"]\n')
    asked = request_of(read_study(file))
    assert asked.track == "memory,other"
    assert command_of(asked, "shapes").endswith("--track memory,other")
    assert request_of({"track": asked.track}) == asked
    sweep = request_from({"track": ["memory", "other"]})
    assert sweep.track == "memory,other" and request_from(sweep.tree()).track == sweep.track
    file.write_text("track = [1]\n")
    with pytest.raises(UserError, match=r"track = \[1\]: names are expected"):
        request_of(read_study(file))
