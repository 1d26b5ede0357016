"""The documentation says what is there: commands, rooms, verdicts, and examples that run."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TOP = Path(__file__).parent.parent
PACKAGE = TOP / "convscope"


def generated_cli() -> str:
    command = [
        sys.executable,
        "-m",
        "typer",
        "convscope.cli.application",
        "utils",
        "docs",
        "--name",
        "convscope",
    ]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=True,
        cwd=TOP,
        env={"COLUMNS": "100", "PATH": ""},
    )
    return done.stdout.strip() + "\n"


def test_every_command_is_documented() -> None:
    """docs/cli.md is what typer prints.

    Mend it with: python -m typer convscope.cli.application utils docs --name convscope >docs/cli.md
    """
    assert (TOP / "docs" / "cli.md").read_text(encoding="utf-8").strip() + "\n" == generated_cli()


def rooms() -> set[str]:
    """The entries at the package's top: files and packages."""
    entries = (p for p in PACKAGE.iterdir() if p.suffix == ".py" or (p / "__init__.py").exists())
    return {p.name if p.suffix == ".py" else f"{p.name}/" for p in entries}


def test_architecture_lists_every_room() -> None:
    text = (TOP / "ARCHITECTURE.md").read_text(encoding="utf-8")
    tree = text.split("convscope/\n", 1)[1].split("```")[0]
    listed = [line.split()[0] for line in tree.splitlines() if line.startswith("  ")]
    assert set(listed) == rooms() and len(listed) <= 20


def test_rooms_of_the_contract_stand_as_the_architecture_lists_them() -> None:
    """Rooms import only those above them in ARCHITECTURE.md; the contract's layers go downward."""
    project = (TOP / "pyproject.toml").read_text(encoding="utf-8")
    layers = re.findall(r'"(convscope\.[^"]+)"', project.split("layers = [")[1].split("]")[0])
    contract = [re.findall(r"convscope\.(\w+)", layer) for layer in layers]
    names = {room.removesuffix(".py").removesuffix("/") for room in rooms()}
    assert {room for layer in contract for room in layer} == names - {"__init__"}
    text = (TOP / "ARCHITECTURE.md").read_text(encoding="utf-8")
    tree = text.split("convscope/\n", 1)[1].split("```")[0]
    listed = [line.split()[0].rstrip("/").removesuffix(".py") for line in tree.splitlines()]
    place = {room: i for i, room in enumerate(listed)}
    for i, layer in enumerate(contract):
        for lower in contract[i + 1 :]:
            assert max(map(place.get, lower)) < min(map(place.get, layer)), (layer, lower)


@pytest.mark.parametrize(
    "name",
    [
        "README.md",
        "ARCHITECTURE.md",
        "CONTRIBUTING.md",
        *(f"docs/{p.name}" for p in (TOP / "docs").glob("*.md")),
    ],
)
def test_links_and_named_files_exist(name: str) -> None:
    text = (TOP / name).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        if "." in target and not target.startswith("http"):
            assert (TOP / name).parent.joinpath(target).exists(), target
    for target in re.findall(r"`((?:convscope|bench|docs|tests)/[\w/.]+)`", text):
        assert (TOP / target).exists(), target


def test_verdicts_are_defined() -> None:
    text = (TOP / "docs" / "concepts.md").read_text(encoding="utf-8")
    for word in (
        "overfits from epoch",
        "undertrained",
        "underfits",
        "fits",
        "still improving",
        "plateau from size",
        "non-monotone",
        "cannot tell",
    ):
        assert f"**{word}" in text, word


@pytest.mark.slow
def test_the_python_example_of_the_readme_runs(tmp_path: Path) -> None:
    text = (TOP / "README.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-c", example], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert "test loss" in done.stdout


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
@pytest.mark.parametrize(
    ("given", "flags"),
    [
        ((), "--preset quick --budget 12m"),
        (("BUDGET=1h",), "--preset quick --budget 1h"),
        (("BUDGET=", "ARGS=--seeds 3"), "--preset quick --seeds 3"),
        (("PRESET=standard",), "--preset standard"),
    ],
)
def test_make_study_keeps_the_preset_quick_to_a_time(given: tuple[str, ...], flags: str) -> None:
    # the tests themselves may run under make, whose own flags and variables are not meant
    own = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}
    own = {
        key: own[key] for key in own if key not in ("MFLAGS", "BUDGET", "PRESET", "ARGS", "DATA")
    }
    asked = subprocess.run(
        ["make", "-n", "study", *given],
        cwd=TOP,
        env=own,
        capture_output=True,
        text=True,
        check=True,
    )
    *_, command = asked.stdout.strip().splitlines()
    assert " ".join(command.split()).endswith(f"convscope study {flags}")
