"""docs/agents.md: its shell and its Python are executed as they stand, on a tiny data set."""

from __future__ import annotations

import io
import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path

import pytest
from commands import Cli

PAGE = Path(__file__).parent.parent / "docs" / "agents.md"
# a command that hands its arguments to the test's process, which has torch imported already
STAND_IN = """#!{python} -S
import json, socket, sys
with socket.socket(socket.AF_UNIX) as wire:
    wire.connect("wire")
    wire.sendall(json.dumps(sys.argv[1:]).encode())
    wire.shutdown(socket.SHUT_WR)
    code, out, err = json.loads(b"".join(iter(lambda: wire.recv(65536), b"")))
sys.stdout.write(out)
sys.stderr.write(err)
sys.exit(code)
"""


def example(language: str, data: Path) -> str:
    text = PAGE.read_text(encoding="utf-8")
    (found,) = re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)
    assert found.count('"shapes"') >= 1
    return found.replace('"shapes"', json.dumps(str(data)))


def executed(script: str, answer: Callable[[list[str]], tuple[int, str, str]]) -> str:
    """What a script prints in the current folder, where `convscope` is `answer`."""
    Path("bin").mkdir()
    Path("bin/convscope").write_text(STAND_IN.format(python=sys.executable))
    Path("bin/convscope").chmod(0o755)
    path = f"{Path('bin').absolute()}:{os.environ['PATH']}"
    with socket.socket(socket.AF_UNIX) as wire:
        wire.bind("wire")
        wire.listen()
        wire.settimeout(0.1)
        shell = subprocess.Popen(
            ["bash", "-c", script], env={**os.environ, "PATH": path}, stdout=subprocess.PIPE
        )
        while shell.poll() is None:
            try:
                connection, _ = wire.accept()
            except TimeoutError:
                continue
            with connection:
                connection.setblocking(True)
                with connection.makefile("rb") as file:
                    arguments = json.loads(file.read())
                connection.sendall(json.dumps(answer(arguments)).encode())
        assert shell.stdout is not None
        printed = shell.stdout.read().decode()
        shell.stdout.close()
    assert shell.returncode == 0, printed
    return printed


def test_the_shell_example_runs(
    cli: Cli, micro: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    calls: list[list[str]] = []

    def answer(arguments: list[str]) -> tuple[int, str, str]:
        calls.append(arguments)
        done = cli(*arguments)
        return done.code, done.out, done.err

    printed = executed(example("sh", micro), answer)
    tree = json.loads(Path("look.json").read_text())
    assert printed == f"on the validation images: {tree['verdict']}\n"
    assert tree["compared"]["a"]["given"] == "wide.json" and tree["differ"] == {
        "model.width": [8, 4]
    }
    assert calls[0][:3] == ["compare", "wide.json", "base.json"] and tree["looks"] == 2


@pytest.mark.parametrize("needed", [None, 5, 40])
def test_the_shell_example_takes_every_verdict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, needed: int | None
) -> None:
    """With answers that are made up: 5 seeds are trained, 40 are not, a winner is confirmed."""
    monkeypatch.chdir(tmp_path)
    calls: list[str] = []

    def answer(arguments: list[str]) -> tuple[int, str, str]:
        calls.append(f"{arguments[arguments.index('--split') + 1]} {arguments[-2]}")
        return 4 if len(calls) == 1 else 0, json.dumps({"seeds_needed": needed}), ""

    printed = executed(example("sh", tmp_path), answer)
    if needed == 5:
        assert calls == ["val 3", "val 5", "test 100-104"] and "better" in printed
    else:
        assert calls == ["val 3"] and "cannot tell" in printed


def test_the_python_example_runs(
    micro: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    out, names = io.StringIO(), dict[str, object]()
    with redirect_stdout(out):
        exec(compile(example("python", micro), str(PAGE), "exec"), names)
    assert str(names["found"]) in out.getvalue()
    assert len(list(Path("runs").iterdir())) >= 6


def test_the_page_has_the_numbers_that_there_are(cli: Cli) -> None:
    from convscope.cli.comparing import CODES
    from convscope.statistics.run_comparisons import ERROR, MARGINS

    text = PAGE.read_text(encoding="utf-8")
    assert CODES == {"better": 0, "worse": 1, "equivalent": 3, "cannot tell": 4}
    assert "| better, worse | 0, 1 |" in text and "| equivalent | 3 |" in text
    assert "| cannot tell | 4 |" in text and "| no verdict | 2 |" in text
    assert f"{100 * MARGINS['accuracy']:g} points of accuracy" in text
    assert f"{MARGINS['loss']:g} nats of loss" in text and f"at most {100 * ERROR:g} %" in text
    help_text = cli("compare", "--help").out
    for option in re.findall(r"`?(--[a-z]+)", text):
        assert option in help_text, option
