"""The cores that this process may use, although an OpenMP library has bound it to one of them.

With OMP_PROC_BIND or one of its like, the library that comes with torch binds the thread that
imports it to a single core, and processes that start later inherit that.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from collections.abc import Iterator

BINDING = ("OMP_PROC_BIND", "OMP_PLACES", "GOMP_CPU_AFFINITY", "KMP_AFFINITY")


def allowed_cores() -> frozenset[int]:
    """The numbers of the cores that this process was started on; empty where none are told."""
    if not hasattr(os, "sched_getaffinity"):
        return frozenset()
    now = frozenset(os.sched_getaffinity(0))
    if "torch" in sys.modules and any(name in os.environ for name in BINDING):
        return now | cores_of_openmp()
    return now


def cores_of_openmp() -> frozenset[int]:
    """The cores of all places that a loaded OpenMP library distributes its threads over.

    It took them from the affinity that the process had when it was loaded (OpenMP 4.5, 3.2.24).
    """
    try:
        library = ctypes.CDLL(None)
        found: set[int] = set()
        for place in range(library.omp_get_num_places()):
            numbers = (ctypes.c_int * library.omp_get_place_num_procs(place))()
            library.omp_get_place_proc_ids(place, numbers)
            found.update(numbers)
    except (OSError, AttributeError):  # no such library, or an older one
        return frozenset()
    return frozenset(found)


@contextlib.contextmanager
def unbound() -> Iterator[None]:
    """Processes that start inside may use all cores: neither do they inherit a single one,
    nor do their libraries bind each of them to the same first core."""
    if not any(name in os.environ for name in BINDING):
        yield
        return
    kept = {name: os.environ.pop(name) for name in BINDING if name in os.environ}
    before, wanted = frozenset[int](), frozenset[int]()
    try:
        with contextlib.suppress(AttributeError, OSError):
            before = frozenset(os.sched_getaffinity(0))
            wanted = before | cores_of_openmp()
            if "torch" in sys.modules and wanted != before:
                os.sched_setaffinity(0, wanted)
        yield
    finally:
        os.environ.update(kept)
        if wanted != before:
            with contextlib.suppress(AttributeError, OSError):
                os.sched_setaffinity(0, before)


def without_binding(environment: dict[str, str]) -> dict[str, str]:
    """An environment for processes side by side, which must not all bind to the first core."""
    return {name: value for name, value in environment.items() if name not in BINDING}
