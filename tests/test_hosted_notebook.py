"""The notebook's first cell installs convscope on a hosted notebook, and does nothing elsewhere."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from test_examples import NOTEBOOK


@pytest.fixture
def run_cell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """run_cell(there) runs the first cell; the commands that it would run."""
    monkeypatch.chdir(tmp_path)
    (cell, *_) = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    source = "".join(cell["source"])
    commands: list[list[str]] = []

    def call(there: bool, address: str = "") -> list[list[str]]:
        commands.clear()
        find = importlib.util.find_spec
        with monkeypatch.context() as patch:
            patch.setattr(subprocess, "run", lambda words, check: commands.append(words))
            if not there:
                patch.setattr(
                    importlib.util, "find_spec", lambda n: None if n == "convscope" else find(n)
                )
            exec(source.replace('SOURCE = ""', f"SOURCE = {address!r}"), {})
        return commands

    return call


def test_it_installs_what_was_uploaded(run_cell: Any, tmp_path: Path) -> None:
    assert run_cell(there=True) == []
    with pytest.raises(SystemExit, match="upload its"):
        run_cell(there=False)
    pip = [sys.executable, "-m", "pip", "install", "--quiet"]
    (tmp_path / "pyproject.toml").touch()
    assert run_cell(there=False) == [[*pip, str(tmp_path)]]
    (tmp_path / "convscope-main.zip").touch()
    assert run_cell(there=False) == [[*pip, str(tmp_path / "convscope-main.zip")]]
    address = "git+https://host/convscope"
    assert run_cell(there=False, address=address) == [[*pip, address]]
