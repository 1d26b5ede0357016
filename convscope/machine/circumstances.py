"""What is unusual about the place where this process runs, and what follows from it."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from convscope.data import cache_folder
from convscope.engines import BINDING
from convscope.errors import one_line
from convscope.machine.limits import memory_limit, physical_memory, quota, usable_cores
from convscope.training import has_locks
from convscope.words import count


def what_is_unusual() -> list[str]:
    """What is unusual here, a sentence each; [] on a plain machine."""
    return [*of_cores(), *of_memory(), *of_folders(), *of_streams(), *of_processes()]


def of_cores() -> Iterator[str]:
    there, usable = os.cpu_count() or 1, usable_cores()
    if usable < there:
        yield f"{count(usable, 'core')} of {there} may be used: by affinity or PYTHON_CPU_COUNT"
    limit = quota()
    if limit is not None:
        yield f"the container's quota is {limit:g} cores' worth of time"
    bound = [name for name in BINDING if name in os.environ]
    if bound:
        yield f"{', '.join(bound)} binds threads to cores; workers start without it"


def of_memory() -> Iterator[str]:
    limit, there = memory_limit(), physical_memory()
    if limit is not None and (not there or limit < there):
        yield f"the container may use {limit / 2**30:.1f} GB of {there / 2**30:.1f} GB of memory"


def of_folders() -> Iterator[str]:
    if not home_is_known():
        yield "no home folder is known: $HOME is not set, and the user has no entry"
    cache = cache_folder()
    if not is_writable(cache):
        yield f"the cache {one_line(cache)} is read-only; $CONVSCOPE_CACHE names another one"
    elif cache.is_relative_to(tempfile.gettempdir()):
        yield f"the cache {one_line(cache)} lies in the folder for temporary files"
    here = Path.cwd()
    if not is_writable(here):
        yield f"the working folder {one_line(here)} is read-only: give --out"
    elif not has_locks(here):
        yield (
            f"the file system of {one_line(here)} has no locks: a file stands in for them, "
            "and one that a process of another machine leaves behind must be removed by hand"
        )


def of_streams() -> Iterator[str]:
    for name in ("stdout", "stderr"):
        encoding = (getattr(getattr(sys, name), "encoding", None) or "utf-8").lower()
        if encoding.replace("-", "") not in ("utf8", "utf8sig"):
            yield f"{name} is written as {encoding}: signs that it lacks are replaced"


def of_processes() -> Iterator[str]:
    if not sys.platform.startswith("linux"):
        yield "a worker in a loop of C outlives a parent that is killed: Linux alone ends it"


def home_is_known() -> bool:
    """Whether the user has a home folder."""
    with contextlib.suppress(RuntimeError):
        return Path.home() != Path("~")
    return False


def is_writable(folder: Path) -> bool:
    """Whether a file could be made in the folder, or where it would be made."""
    there = next((path for path in (folder, *folder.parents) if path.exists()), None)
    return there is not None and os.access(there, os.W_OK)
