"""Studies that meet another launcher, lose a worker, or are interrupted."""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from studying import CHAPTER, Listener, again, results, runs_of, stamps

from convscope import studies
from convscope.errors import UserError
from convscope.recipe.recipe import Recipe
from convscope.studies import progress as screen
from convscope.studies.folder import StudyFolder
from convscope.training.runs import Run

pytestmark = pytest.mark.usefixtures("tiny_preset")


# --- two at once, and failures


def test_a_second_launcher_is_sent_away(finished_study: Path, small_images: Path) -> None:
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
            lambda: again(finished_study, small_images),
            lambda: studies.render(finished_study),
        ):
            with pytest.raises(UserError, match="another convscope is working there") as error:
                call()
            assert str(finished_study) in str(error.value)
        assert {path: path.read_bytes() for path in known} == known
        holder.kill()
    assert again(finished_study, small_images)[1].trained == []  # the lock died with its owner


@pytest.mark.slow
def test_a_killed_worker_fails_its_run_only(
    finished_study: Path,
    small_images: Path,
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

    monkeypatch.setattr(screen, "watcher", lambda quiet: Killer())
    arguments = (
        "study",
        small_images,
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


class Presser(Listener):
    """Presses Ctrl-C when a run has ended."""

    def ended(self, recipe: Recipe, run: Run) -> None:
        raise KeyboardInterrupt


@pytest.mark.slow
def test_an_interrupted_study_reports_what_is_there_and_goes_on(
    finished_study: Path, small_images: Path
) -> None:
    known, lost = results(finished_study), set()
    for run in known["runs"][-3:]:
        shutil.rmtree(finished_study / "runs" / run["id"])
        lost.add(run["id"])
    with pytest.raises(KeyboardInterrupt):
        studies.study(small_images, CHAPTER, out=finished_study, workers=2, watcher=Presser())
    tree = results(finished_study)
    assert 0 < len(known["runs"]) - len(tree["runs"]) < 3
    page = (finished_study / "report.html").read_text()
    assert "This study was interrupted" in page
    assert not json.loads((finished_study / "study.json").read_text())["about"]["complete"]
    before = stamps(finished_study)
    _, listener = again(finished_study, small_images)
    assert 0 < len(listener.trained) < 3 and set(listener.trained) < lost
    assert stamps(finished_study).items() > before.items()
    assert results(finished_study)["chapters"] == known["chapters"]


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Wait for an event of a process that is alive; the limit is against hanging."""
    for _ in range(12_000):
        if condition():
            return
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    pytest.fail("nothing happened for two minutes")


@pytest.mark.slow
def test_ctrl_c_leaves_the_report_and_the_same_command_goes_on(micro: Path, tmp_path: Path) -> None:
    """The real quick preset; the terminal sends the signal to all processes of the group."""
    root = tmp_path / "study"
    command = [
        sys.executable,
        "-m",
        "convscope.cli",
        "study",
        str(micro),
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
