"""A stranger's study: its factories are not imported unless that is asked for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from commands import Cli
from recording import blink
from refusing import refused

from convscope.models import build, trusting
from convscope.recipe import Custom
from convscope.training.main_path import train
from convscope.training.run_folder import read_run
from convscope.training.trained import network

FACTORY = """
from pathlib import Path
from torch import nn
Path("it-ran").touch()
def net(in_shape, num_classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(in_shape[0] * in_shape[1] ** 2, num_classes))
"""


@pytest.fixture
def foreign(micro: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two runs whose factory would leave a file, in a folder that looks like a study."""
    name = f"theirs_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(FACTORY)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    for seed in range(2):
        train(replace(blink(micro), model=Custom(f"{name}:net"), seed=seed, epochs=1), "s/runs")
    (tmp_path / "it-ran").unlink()
    import sys

    del sys.modules[name]
    return tmp_path / "s" / "runs"


def test_reading_listing_and_comparing_run_no_foreign_code(cli: Cli, foreign: Path) -> None:
    a, b = sorted(path for path in foreign.iterdir())
    assert cli("runs", foreign).code == 0
    assert cli("compare", a, b).code in (0, 1, 3, 4)
    assert not Path("it-ran").exists()
    (foreign.parent / "study.json").write_text("{}")
    answer = cli("compare", a / "recipe.json", b, "--out", "new")
    assert answer.code == 2 and "--trust" in answer.err and not Path("it-ran").exists()


def test_networks_are_built_where_that_is_asked_for(foreign: Path) -> None:
    run = read_run(next(foreign.iterdir()))
    with trusting(False):
        for call in (
            lambda: network(run),
            lambda: build(run.recipe.model, (3, 8, 8), 10),
        ):
            assert "--trust" in refused(call)
        with trusting(True):
            assert network(run) is not None
    assert Path("it-ran").exists()


def test_networks_that_come_with_the_package_need_no_trust() -> None:
    with trusting(False):
        assert build(Custom("convscope.recipes.strong:network"), (3, 32, 32), 10) is not None
        assert "--trust" in refused(lambda: build(Custom("convscope.cli:main"), (3, 8, 8), 10))
