"""A study's end of a tracker: calls are put down, and go to the tracker's process by themselves.

Nothing here waits for a tracker but `ready` and `close`, and these only for so long. What goes
wrong is kept as one line for the user.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from convscope.errors import UserError
from convscope.studies.trackers.child import MOST_FAILURES
from convscope.studies.trackers.names import TRACKERS, had_by

# seconds without an answer, after which a tracker hangs: while a study trains, and while it waits;
# wandb's own wait is 60 s, and MLflow's first file takes half a minute beside training
PATIENCE, LAST_PATIENCE = 300.0, 75.0
LONGEST_END = 300.0  # seconds that a study waits for all that a slow tracker has not got yet
AFTER_FAILURE = 15.0  # the same, for a tracker that has failed: it may run into time-outs only
LAST_WAIT = 10.0  # seconds for a process that has answered everything
SOON = 15.0  # seconds after which a user wonders

# the package may lie where only this process finds it
PROGRAM = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from convscope.studies.trackers.child import main; main(*sys.argv[2:])"
)
WHOLE = "training goes on, and its records are whole"


class Mirror:
    """A tracker in its process.

    `lost` says why nothing goes there any more; `had` are the runs that it had before.
    """

    def __init__(self, name: str, folder: Path) -> None:
        """name: of the tracker; folder: of the study, which exists."""
        self.name, self.lost, self.trouble, self.named = name, "", "", False
        self.told = self.answered = 0
        self.had = had_by(name, folder)
        self.closing, self.ended = False, ""  # how its process ended
        self.since = time.monotonic()  # when it last answered, or was told something while idle
        self.calls: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self.first: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self.news = threading.Event()
        home = TRACKERS[name].home
        path = json.dumps([entry or str(Path.cwd()) for entry in sys.path])
        self.process: subprocess.Popen[bytes] | None = None
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-c", PROGRAM, path, name, home, str(folder)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is for the study, which then says what it means
            )
        except OSError as error:
            self.lose(f"could not be started ({error.strerror})")
            return
        for work in (self.write, self.read):
            threading.Thread(target=work, args=(self.process,), daemon=True).start()

    def ready(self) -> None:
        """Wait until it can be told something. Raises UserError where it refuses."""
        if self.lost:
            return
        try:
            first = self.first.get(timeout=LAST_PATIENCE)
        except queue.Empty:
            self.lose(f"has not answered for {LAST_PATIENCE:.0f} s")
            return
        if "refused" in first:
            self.end()
            raise UserError(first["refused"])

    def tell(self, call: str, run: str = "", given: Mapping[str, Any] | None = None) -> None:
        """Put a call down; what it is given is plain data."""
        if self.ended and not self.lost:
            self.lose(f"its process ended ({self.ended})")
        if self.stalled(PATIENCE) or self.lost:
            return
        if self.told == self.answered:
            self.since = time.monotonic()
        self.told += 1
        tree = {"call": call, "run": run, "given": given or {}}
        self.calls.put(json.dumps(tree).encode() + b"\n")

    def stalled(self, patience: float) -> bool:
        """Whether it has not answered for so many seconds; then it is lost."""
        silent = time.monotonic() - self.since
        if self.told > self.answered and silent > patience:
            self.lose(f"has not answered for {silent:.0f} s")
            return True
        return False

    def to_say(self) -> str:
        """What went wrong, the first time that it is asked for; else an empty text."""
        if self.named or not self.trouble:
            return ""
        self.named = True
        return self.trouble

    def lose(self, why: str) -> None:
        self.lost = why
        self.trouble = (
            self.trouble or f"track {self.name}: {why}: nothing more is mirrored; {WHOLE}"
        )
        self.news.set()

    def close(self, say: Callable[[str], None]) -> None:
        """Wait for what it has not got yet, as long as it answers, and end it."""
        try:
            self.closing = True
            self.tell("close")
            began, said = time.monotonic(), False
            while self.answered < self.told and not self.lost:
                self.news.wait(0.1)
                self.news.clear()
                waited = time.monotonic() - began
                if self.stalled(LAST_PATIENCE):
                    break
                if waited > (AFTER_FAILURE if self.trouble else LONGEST_END):
                    left = self.told - self.answered
                    self.lose(f"lacks {left:,} of {self.told:,} messages after {waited:.0f} s")
                elif waited > SOON and not said:
                    said = True
                    say(f"track {self.name}: passing on what is left …")
        finally:
            self.end()

    def end(self) -> None:
        """End the process: it has nothing to do any more, or hangs."""
        self.calls.put(None)
        if self.process is None:
            return
        gone = bool(self.lost) or self.answered < self.told
        with contextlib.suppress(subprocess.TimeoutExpired):
            if not gone:
                self.process.wait(LAST_WAIT)
        if self.process.poll() is None:
            with contextlib.suppress(OSError):
                # processes that the library has started hang with it
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    # in threads of their own

    def write(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdin is not None
        with contextlib.suppress(OSError), process.stdin as pipe:
            while (line := self.calls.get()) is not None:
                pipe.write(line)
                if self.calls.empty():
                    pipe.flush()

    def read(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        begun = False
        with process.stdout as pipe:
            for line in pipe:
                reply = json.loads(line)
                if not begun:
                    begun = True
                    self.first.put(reply)
                else:
                    self.answered += 1
                    self.since = time.monotonic()
                if reply.get("lost"):
                    self.lose(f"failed ({reply['failed']})")
                elif reply.get("failed"):
                    self.trouble = self.trouble or (
                        f"track {self.name}: failed ({reply['failed']}): what it was told of is no "
                        f"longer mirrored, after {MOST_FAILURES} failures nothing is; {WHOLE}"
                    )
                self.news.set()
        self.ended = ending(process.wait())
        if not begun or not self.closing or self.answered < self.told:
            self.lose(f"its process ended ({self.ended})")
            self.first.put({})


def ending(code: int) -> str:
    """How a process ended."""
    if code < 0:
        known = {member.value: member.name for member in signal.Signals}
        return known.get(-code, f"signal {-code}")
    return f"exit code {code}"
