"""A Ray cluster of several nodes on this machine, in a process of its own, for tests and benches.

Each node has a cache and temporary files of its own, as if no disk were shared. Nodes are killed as
a power cut would.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Self

STORE = 80 * 1024 * 1024  # bytes of a node's object store, about the least that Ray takes


class OwnCluster:
    """A head, and nodes that come and go; use it in a with statement.

    root: a folder for the nodes' caches.
    cores: of each node.
    head_cores: of the head, which has this process's cache.
    """

    def __init__(self, root: Path, cores: int = 1, head_cores: int = 0) -> None:
        self.root, self.cores = root, cores
        self.nodes: list[str] = []
        self.count, self.ended = 0, False
        quiet = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_DEDUP_LOGS": "0"}
        self.process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=os.environ | quiet,
        )
        self.address: str = self.ask("head", cores=head_cores)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def ask(self, what: str, **rest: Any) -> Any:
        assert self.process.stdin is not None and self.process.stdout is not None
        print(json.dumps({"what": what, **rest}), file=self.process.stdin, flush=True)
        for line in self.process.stdout:
            if line.startswith("ANSWER "):
                return json.loads(line.removeprefix("ANSWER "))
        raise RuntimeError(f"the cluster's process ended with {self.process.wait()}")

    def add(self) -> str:
        """Start a node; returns its name."""
        self.count += 1
        name = f"node{self.count}"
        self.cache(name).mkdir(parents=True)
        (self.root / name / "tmp").mkdir()
        places = {"CONVSCOPE_CACHE": str(self.cache(name)), "TMPDIR": str(self.root / name / "tmp")}
        self.ask("add", name=name, cores=self.cores, environment=places)
        self.nodes.append(name)
        return name

    def kill(self, name: str) -> None:
        """Kill all processes of a node."""
        self.nodes.remove(name)
        self.ask("kill", name=name)

    def cache(self, name: str) -> Path:
        return self.root / name / "cache"

    def end(self) -> None:
        """Kill the head and all nodes, and what they started."""
        self.ended = True
        if self.process.poll() is None:
            begun = descendants(self.process.pid)
            self.ask("end")
            self.process.wait()
            for pid, start in begun.items():
                if start_of(pid) == start:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()


def start_of(pid: int) -> str:
    """When a process began, in the system's ticks; "" where there is none, or a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return "" if fields[0] == "Z" else fields[19]


def descendants(pid: int) -> dict[int, str]:
    """All processes below one: id -> when it began."""
    children: dict[int, list[int]] = {}
    for place in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parent = (place / "stat").read_text().rpartition(")")[2].split()[1]
            children.setdefault(int(parent), []).append(int(place.name))
    found: dict[int, str] = {}
    waiting = [pid]
    while waiting:
        for child in children.get(waiting.pop(), ()):
            found[child] = start_of(child)
            waiting.append(child)
    return {one: start for one, start in found.items() if start}


def serve() -> None:
    """The process of the cluster: it obeys lines of JSON."""
    from ray.cluster_utils import Cluster

    cluster = Cluster()
    nodes: dict[str, Any] = {}
    for line in sys.stdin:
        asked = json.loads(line)
        answer: Any = None
        if asked["what"] == "head":
            cluster.add_node(
                num_cpus=asked["cores"], include_dashboard=False, object_store_memory=STORE
            )
            answer = cluster.address
        elif asked["what"] == "add":
            nodes[asked["name"]] = cluster.add_node(
                num_cpus=asked["cores"],
                object_store_memory=STORE,
                env_vars=asked["environment"],
            )
        elif asked["what"] == "kill":
            cluster.remove_node(nodes.pop(asked["name"]), allow_graceful=False)
        else:
            for node in nodes.values():
                cluster.remove_node(node, allow_graceful=False)
            cluster.remove_node(cluster.head_node, allow_graceful=False)
        print("ANSWER", json.dumps(answer), flush=True)
        if asked["what"] == "end":
            return


if __name__ == "__main__":
    serve()
