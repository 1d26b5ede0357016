"""Jobs of the tests of engines: run in workers, which import this module."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Report = Callable[[Any], None]


def square(report: Report, number: int) -> int:
    report("began")
    return number * number


def count(report: Report, upto: int) -> str:
    for i in range(upto):
        report(i)
    return "counted"


def has_imported(report: Report, module: str) -> bool:
    return module in sys.modules


def reads(report: Report, variable: str) -> str | None:
    return os.environ.get(variable)


def breaks(report: Report, text: str) -> None:
    raise ValueError(text)


def exits(report: Report, code: int | str) -> None:
    sys.exit(code)


def exits_at_once(report: Report, code: int) -> None:
    os._exit(code)


def aborts(report: Report) -> None:
    os.abort()


def reads_nowhere(report: Report) -> None:
    ctypes.string_at(0)


def kills_itself(report: Report) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def dies_on_its_way(report: Report) -> None:
    report("half")
    os.kill(os.getpid(), signal.SIGKILL)


def unpicklable(report: Report) -> object:
    return lambda: None


def reports_unpicklable(report: Report) -> None:
    report(lambda: None)


def leaves_a_child(report: Report, ended: Path) -> None:
    """The child holds the pipe open after the worker's death, and says when it ends."""
    child = os.fork()
    if child == 0:
        time.sleep(10)
        ended.touch()
        os._exit(0)
    report(child)
    os.kill(os.getpid(), signal.SIGKILL)


def own_pid(report: Report) -> int:
    return os.getpid()


def touches(report: Report, path: Path) -> None:
    path.touch()


def sleeps(report: Report) -> None:
    report(os.getpid())
    time.sleep(600)


def broken_kernel(report: Report) -> None:
    raise RuntimeError("CUDA error: device-side assert triggered\nCUDA kernel errors might be …")
