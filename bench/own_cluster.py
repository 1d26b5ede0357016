"""A Ray cluster of several nodes on this machine, in a process of its own, for tests and benches.

Each node has a cache and temporary files of its own, as if no disk were shared. Nodes are killed as
a power cut would.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Self

STORE = 80 * 1024 * 1024  # bytes of a node's object store, about the least that Ray takes


class OwnCluster:
    """A head without cores, and nodes that come and go; use it in a with statement.

    root: a folder for the nodes' caches.
    cores: of each node.
    """

    def __init__(self, root: Path, cores: int = 1) -> None:
        self.root, self.cores = root, cores
        self.nodes: list[str] = []
        self.count = 0
        quiet = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_DEDUP_LOGS": "0"}
        self.process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=os.environ | quiet,
        )
        self.address, self.session = self.ask("head")

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
        """Kill the head and all nodes."""
        if self.process.poll() is None:
            self.ask("end")
            self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()


def serve() -> None:
    """The process of the cluster: it obeys lines of JSON."""
    from ray.cluster_utils import Cluster

    cluster = Cluster()
    nodes: dict[str, Any] = {}
    for line in sys.stdin:
        asked = json.loads(line)
        answer: Any = None
        if asked["what"] == "head":
            cluster.add_node(num_cpus=0, include_dashboard=False, object_store_memory=STORE)
            answer = cluster.address, cluster.head_node.get_session_dir_path()
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
