"""A tracker that writes down what it is told, and fails, dies or hangs where it is told to."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from convscope.errors import UserError
from convscope.studies.trackers import Begun, Found, Tracker

FILE = "told.jsonl"


def told(folder: Path) -> list[list[Any]]:
    """What was told by now: [method, run, …] each."""
    file = folder / FILE
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


class Memory(Tracker):
    """In the method MEMORY_BROKEN, for the run MEMORY_ONLY (or all), it does MEMORY_FAULT.

    It has the first MEMORY_HAS epochs of each run.
    """

    def __init__(self, folder: Path) -> None:
        self.file = folder / FILE
        if os.environ.get("MEMORY_BROKEN") == "refused":
            raise UserError("track memory: no account")
        self.note("made", "")

    def note(self, method: str, run: str, *rest: Any) -> None:
        there = os.environ.get("MEMORY_ONLY", "") in ("", run)
        if method == os.environ.get("MEMORY_BROKEN") and there:
            fault = os.environ.get("MEMORY_FAULT", "raises")
            if fault == "dies":
                os.kill(os.getpid(), signal.SIGKILL)
            if fault == "hangs":
                time.sleep(1000)
            if fault == "times out":
                time.sleep(1.5)
            if fault == "prints":
                print("a library that prints")
                os.write(2, b"and complains")
            else:
                raise ConnectionError("the network\nis down")
        with self.file.open("a") as file:
            file.write(json.dumps([method, run, *rest]) + "\n")

    def started(self, begun: Begun) -> int:
        self.note("started", begun.run, asdict(begun))
        return int(os.environ.get("MEMORY_HAS", "0"))

    def epoch(self, run: str, epoch: int, values: Mapping[str, float]) -> None:
        self.note("epoch", run, epoch, dict(values))

    def ended(self, run: str, status: str, summary: Mapping[str, Any]) -> None:
        self.note("ended", run, status, dict(summary))

    def found(self, found: Found) -> None:
        self.note("found", "", asdict(found))

    def report(self, sentence: str, files: Sequence[Path]) -> None:
        self.note("report", "", sentence, [path.name for path in files])

    def close(self) -> None:
        self.note("close", "")
