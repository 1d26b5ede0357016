"""A Ray cluster of a few nodes on this machine, for tests; nothing of it is left behind."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

BENCH = Path(__file__).parent.parent / "bench"

if TYPE_CHECKING:
    from own_cluster import OwnCluster


@contextlib.contextmanager
def cluster(root: Path, nodes: int, head_cores: int = 0) -> Iterator[OwnCluster]:
    """A cluster of so many nodes of one core each; its processes have ended afterwards."""
    if str(BENCH) not in sys.path:
        sys.path.append(str(BENCH))
    from own_cluster import OwnCluster, descendants, start_of

    with OwnCluster(root, head_cores=head_cores) as made:
        for _ in range(nodes):
            made.add()
        yield made
        begun = descendants(made.process.pid)
    assert begun or made.ended
    until = time.monotonic() + 20
    while True:
        left = [pid for pid, start in begun.items() if start_of(pid) == start]
        if not left:
            return
        assert time.monotonic() < until, left
        time.sleep(0.1)
