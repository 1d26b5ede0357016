"""The process that a tracker runs in: calls come as lines of JSON, and each gets a line back.

What the tracker's library prints goes nowhere, and its atexit hooks, signal handlers and threads
are this process's own.
"""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from convscope.errors import UserError, one_line
from convscope.studies.trackers.names import HAD
from convscope.studies.trackers.tracker import Begun, Found, Tracker

MOST_FAILURES = 3  # then the tracker is told nothing more: each attempt may take a time-out
NICENESS = 2  # training goes first


class Session:
    """A tracker, the runs that are open in it, and how often it has failed.

    tracker: what is told.
    had: the file that is given the id of each run that has ended there.
    """

    def __init__(self, tracker: Tracker, had: Path) -> None:
        self.tracker, self.had, self.failures = tracker, had, 0
        self.sent: dict[str, int] = {}  # open runs -> the last epoch that the tracker has

    def call(self, what: str, run: str, given: Mapping[str, Any]) -> str:
        """Tell the tracker; returns why that failed, or an empty text.

        A run for which it fails is lost, and after MOST_FAILURES all are.
        """
        known = what in ("started", "close") or not run or run in self.sent
        if not known or (self.failures >= MOST_FAILURES and what != "close"):
            return ""
        try:
            self.do(what, run, given)
        except Exception as error:
            self.sent.pop(run, None)
            self.failures += 1
            return f"{type(error).__name__}: {one_line(error)}"
        return ""

    def do(self, what: str, run: str, given: Mapping[str, Any]) -> None:
        tracker = self.tracker
        if what == "started":
            self.sent[run] = tracker.started(Begun(**given))
        elif what == "epoch":
            if given["epoch"] > self.sent[run]:
                tracker.epoch(run, given["epoch"], given["values"])
                self.sent[run] = given["epoch"]
        elif what == "ended":
            tracker.ended(run, given["status"], given["summary"])
            del self.sent[run]
            if given["status"] != "interrupted":
                with self.had.open("a") as file:
                    file.write(f"{run}\n")
        elif what == "found":
            tracker.found(Found(**given))
        elif what == "report":
            tracker.report(given["sentence"], [Path(file) for file in given["files"]])
        else:
            assert what == "close", what
            tracker.close()

    def break_off(self) -> None:
        """The study is gone: what is open has been interrupted."""
        for run in list(self.sent):
            self.call("ended", run, {"status": "interrupted", "summary": {}})
        self.call("close", "", {})


def own_streams() -> tuple[IO[str], IO[str]]:
    """The calls and the replies; what anyone else reads or prints here is nothing."""
    calls, replies = os.fdopen(os.dup(0), encoding="utf-8"), os.fdopen(os.dup(1), "w")
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(nothing, number)
    return calls, replies


def lines_of(calls: IO[str]) -> Iterator[dict[str, Any]]:
    """The calls up to the end; the last line may be cut off where the study was killed."""
    for line in calls:
        if line.endswith("\n"):
            yield json.loads(line)


def main(name: str, home: str, folder: str) -> None:
    """Make the tracker `home` ("module:class"), and pass calls on to it until they end.

    name: of the tracker; folder: of the study.
    """
    calls, replies = own_streams()
    if hasattr(os, "nice"):
        os.nice(NICENESS)

    def reply(**tree: Any) -> None:
        replies.write(json.dumps(tree) + "\n")
        replies.flush()

    module, _, kind = home.partition(":")
    place = Path(folder)
    try:
        tracker = getattr(importlib.import_module(module), kind)(place)
        session = Session(tracker, place / HAD.format(name))
    except UserError as error:
        reply(refused=str(error))
        return
    except Exception as error:  # the study goes on without it
        reply(failed=f"{type(error).__name__}: {one_line(error)}", lost=True)
        return
    reply(ready=True)
    try:
        for call in lines_of(calls):
            reply(failed=session.call(call["call"], call["run"], call["given"]))
            if call["call"] == "close":
                return
    except BrokenPipeError:  # nobody reads the replies any more
        pass
    session.break_off()
