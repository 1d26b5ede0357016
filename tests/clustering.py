"""A Ray cluster of a few nodes on this machine, for tests; nothing of it is left behind."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from pathlib import Path

BENCH = Path(__file__).parent.parent / "bench"
sys.path.insert(0, str(BENCH))

from own_cluster import OwnCluster  # noqa: E402

__all__ = ["OwnCluster", "nodes"]


@contextlib.contextmanager
def nodes(root: Path, count: int) -> Iterator[OwnCluster]:
    """A cluster of so many nodes of one core each; its processes have ended afterwards."""
    with OwnCluster(root) as cluster:
        for _ in range(count):
            cluster.add()
        yield cluster
    until = time.monotonic() + 20
    while (left := left_over(cluster.session)) and time.monotonic() < until:
        time.sleep(0.1)
    assert not left, left


def left_over(session: str) -> list[str]:
    """The command lines of processes that name a session of Ray."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            line = file.read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if session in line:
                found.append(line)
    return found
