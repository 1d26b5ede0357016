"""Bad inputs of every command: one line that repeats the input, exit code 2, nothing written."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import bad_files
import bad_inputs
import pytest
from commands import Cli

from convscope.data import resolving

CASES = bad_inputs.cases()
TORCH = """
import sys
from convscope.cli.start import main
try:
    main()
finally:
    print("torch" in sys.modules)
"""


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bad") / "here"
    bad_files.make(folder)
    return folder


def contents(folder: Path) -> dict[str, tuple[int, int]]:
    """Path -> size and time of each file and folder."""
    found = {}
    for path in folder.rglob("*"):
        info = path.lstat()
        found[str(path)] = (info.st_size, info.st_mtime_ns)
    return found


@pytest.mark.parametrize("name", CASES)
def test_one_line_that_repeats_the_input(
    name: str, cli: Cli, bad: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(bad)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    words, parts = CASES[name]
    before = contents(bad)
    answer = cli(*words)
    lines = answer.err.splitlines()
    assert answer.code == 2 and answer.out == "", answer
    assert len(lines) == 1 and lines[0].isprintable(), answer.err
    assert lines[0].startswith("convscope: ") and len(lines[0]) < 1_500, lines[0]
    assert [part for part in parts if part not in lines[0]] == [], lines[0]
    assert contents(bad) == before


# of each command one or more, as processes of their own
SAMPLE = (
    *("train, seed of 65 bits", "recipe, key twice", "study, out empty", "images, torn JPEG"),
    *("archive, tar link", "table, ragged", "compare, the same", "inspect, misspelt"),
    *("probe, no attribute", "report, nested", "explain, misspelt"),
)


@pytest.mark.parametrize("name", SAMPLE)
def test_the_same_of_a_process_without_torch(name: str, bad: Path, tmp_path: Path) -> None:
    words, parts = CASES[name]
    before = contents(bad)
    done = subprocess.run(
        [sys.executable, "-B", "-c", TORCH, *words],
        capture_output=True,
        text=True,
        cwd=bad,
        env={**os.environ, "CONVSCOPE_CACHE": str(tmp_path / "cache")},
    )
    lines = done.stderr.splitlines()
    assert done.returncode == 2 and len(lines) == 1, done.stderr
    assert all(part in lines[0] for part in parts) and done.stdout == "False\n", lines
    assert contents(bad) == before


def test_a_command_lists_a_folder_once_and_anew_the_next_time(
    cli: Cli, bad: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(shutil.copytree(bad / "ok", tmp_path / "ok"))
    listed: list[object] = []
    survey = resolving.survey
    monkeypatch.setattr(
        resolving, "survey", lambda *given: (listed.append(given), survey(*given))[1]
    )
    assert "24" in cli("data", "info", folder).out and len(listed) == 1
    (folder / "a" / "0.png").unlink()
    assert "23" in cli("data", "info", folder).out and len(listed) == 2
    assert cli("train", folder, "--batch", 900).code == 2  # leaves what it has looked at
    bad_files.picture(folder / "a" / "0.png", 77)
    assert "24" in cli("data", "info", folder).out and len(listed) == 4
