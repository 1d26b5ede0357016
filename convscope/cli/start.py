"""The command's first steps, which import nothing that takes time: streams, then Ctrl-C.

Whoever presses Ctrl-C while the rest is imported sees one line, not where the import was.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import sys
import time

from convscope.cli.streams import drop_what_is_unwritten, settle_streams

INTERRUPTED = 130

BEGAN = time.perf_counter()  # a time budget counts from here

_interrupts: list[int] = []


def main() -> None:
    """Run the command that sys.argv names, and exit."""
    settle_streams()
    with contextlib.suppress(ValueError):  # in a thread, which is told of no signal
        signal.signal(signal.SIGTERM, interrupt)
        # a job in the background, which ignores it, goes on doing so
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, interrupt)
    _interrupts.clear()
    try:
        from convscope.cli.entry import run

        run()
    except SystemExit:
        drop_what_is_unwritten()
        raise
    except BaseException as error:
        # an import that is broken off may raise whatever its libraries make of it
        if not isinstance(error, KeyboardInterrupt) and not _interrupts:
            raise
        with contextlib.suppress(OSError, ValueError):
            print(f"convscope: {interrupted_message()}", file=sys.stderr, flush=True)
        if "convscope.cli.entry" not in sys.modules:
            os._exit(INTERRUPTED)  # half-imported libraries may fail while the process ends
        sys.exit(INTERRUPTED)


def interrupt(number: int, _frame: object) -> None:
    """Ctrl-C, and SIGTERM, which ends as it does."""
    _interrupts.append(number)
    raise KeyboardInterrupt


def typed() -> str:
    """The command as it was typed, for the report and for going on after an interruption."""
    return shlex.join(["convscope", *sys.argv[1:]])


def interrupted_message() -> str:
    return f"interrupted; what is finished is kept, go on with: {typed()}"
