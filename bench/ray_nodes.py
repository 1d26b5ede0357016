"""A Ray cluster on this machine: nodes killed while they train, and what each run costs an engine.

Nodes: runs of a small network on generated images, on a cluster of three nodes with a cache each.
Nodes are killed at random moments of the clock, and others join. Told are runs lost, runs recorded
twice, and whether results are those of the local engine, to the bit but for seconds.

Overhead: runs that sleep and send files as a tiny network's does, through each engine and the
queue of a study, against the sum of their work over the slots.

Command: python bench/ray_nodes.py [nodes|overhead] [--kills 20] [--runs 10000] [--slots 40]
"""

from __future__ import annotations

import argparse
import contextlib
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from figures import machine_line, markdown
from own_cluster import OwnCluster

from convscope import data
from convscope.engines import Engine, Job, LocalEngine, RayEngine
from convscope.machine import Costs, cost_kind
from convscope.recipe import ConvNet, Recipe
from convscope.studies.run_queue import run_all
from convscope.studies.watcher import Watcher
from convscope.training import Run, read_run, read_tensors

NODES, EPOCHS, LIMIT = 3, 10, 300
BATCH = 24  # runs that are asked for at once, again and again until all nodes are killed
PAUSE = (3.0, 12.0)  # seconds between two kills
FILES = {"checkpoint.safetensors": 30_000, "best.safetensors": 15_000, "metrics.jsonl": 2_000}


class Killer(Watcher):
    """Kills a node at random moments of the clock, and lets another one join."""

    def __init__(self, cluster: OwnCluster, kills: int) -> None:
        self.cluster, self.left, self.chance = cluster, kills, random.Random(0)
        self.lost = 0
        self.ends: Counter[str] = Counter()
        self.thread = threading.Thread(target=self.kill, daemon=True)
        self.thread.start()

    def kill(self) -> None:
        while self.left:
            time.sleep(self.chance.uniform(*PAUSE))
            self.cluster.kill(self.chance.choice(self.cluster.nodes))
            self.left -= 1
            self.cluster.add()

    def say(self, text: str) -> None:
        self.lost += "was lost" in text
        print(text, file=sys.stderr, flush=True)

    def ended(self, recipe: Recipe, run: Run) -> None:
        self.ends[recipe.id] += 1


def recipes(first: int) -> list[Recipe]:
    loaded = data.load("shapes")
    base = Recipe(
        data="shapes",
        data_hash=loaded.hash,
        model=ConvNet(4, 2),
        epochs=EPOCHS,
        limit=LIMIT,
        evaluate=("val",),
    )
    return [replace(base, seed=first + i) for i in range(BATCH)]


def trained(engine: Engine, asked: list[Recipe], root: Path, watcher: Watcher) -> list[Run]:
    kind = cost_kind(asked[0])
    costs = Costs(data.load(asked[0].data), {kind.id: (1e-4, 1e-4)}, [kind])
    return run_all(engine, asked, root, costs, watcher)


def is_same(one: Run, other: Run) -> bool:
    """Whether two runs are the same to the bit, but for seconds."""
    a, b = read_run(one.path), read_run(other.path)
    clock = {"seconds", "train_seconds"}
    rows = [[{k: v for k, v in row.items() if k not in clock} for row in x.rows] for x in (a, b)]
    same = rows[0] == rows[1] and a.status == b.status == "finished"
    for name in ("best.safetensors", "checkpoint.safetensors"):
        (x, _), (y, _) = read_tensors(a.path / name), read_tensors(b.path / name)
        same = same and set(x) == set(y) and all(x[key].equal(y[key]) for key in x)
    losses = "val_losses.f16"
    return same and (a.path / losses).read_bytes() == (b.path / losses).read_bytes()


def killed(root: Path, kills: int) -> None:
    """Train through a cluster whose nodes die, and on this machine; tell what differs."""
    asked: list[Recipe] = []
    found: list[Run] = []
    with OwnCluster(root / "nodes") as cluster:
        for _ in range(NODES):
            cluster.add()
        killer = Killer(cluster, kills)
        with RayEngine(NODES, address=cluster.address) as engine:
            while killer.left:
                more = recipes(len(asked))
                found += trained(engine, more, root / "ray", killer)
                asked += more
                print(f"{len(found)} runs, {killer.left} kills left", file=sys.stderr, flush=True)
        killer.thread.join()
    with LocalEngine(2, copied=True) as engine:
        here = trained(engine, asked, root / "local", Watcher())
    lost = sum(run.status != "finished" for run in found) + len(asked) - len(found)
    twice = sum(count != 1 for count in killer.ends.values())
    other = sum(not is_same(one, two) for one, two in zip(found, here, strict=False))
    heads = ("runs", "nodes killed", "jobs begun anew", "runs lost", "recorded twice", "differ")
    row = [len(asked), kills, killer.lost, lost, twice, other]
    print(markdown(heads, [[f"{value:,}" for value in row]]))


# --- what a run costs an engine


def sleeps(report: Callable[[Any], None], seconds: float) -> dict[str, bytes]:
    """A run as far as an engine sees it: a row half-way, and files at its end."""
    time.sleep(seconds / 2)
    report({"epoch": 1, "val_loss": 1.0})
    time.sleep(seconds / 2)
    return {name: bytes(size) for name, size in FILES.items()}


def overhead(engine: Engine, runs: int, seconds: float, slots: int) -> list[str]:
    """Run jobs that sleep; the time that is more than their work over the slots."""
    while True:  # until all slots have started
        engine.gather([Job(f"warm {i}", sleeps, (0.5,)) for i in range(slots)])
        if all(getattr(worker, "ready", True) for worker in engine.workers):
            break
    started, busy = time.perf_counter(), time.process_time()
    done: Counter[str] = Counter()
    for event in engine.run([Job(str(i), sleeps, (seconds,)) for i in range(runs)]):
        assert event.kind != "failed", event
        if event.kind == "done":
            done[event.key] += 1
    assert len(done) == runs and set(done.values()) == {1}
    took, spent = time.perf_counter() - started, time.process_time() - busy
    work = runs * seconds / slots
    name = type(engine).__name__
    return [
        name,
        f"{took:.1f}",
        f"{work:.1f}",
        f"{took / work - 1:.1%}",
        f"{1e3 * spent / runs:.2f}",
    ]


@contextlib.contextmanager
def engines(root: Path, slots: int) -> Iterator[Sequence[Callable[[], Engine]]]:
    nodes = 2
    with OwnCluster(root / "nodes", cores=slots // nodes) as cluster:
        for _ in range(nodes):
            cluster.add()
        here = str(Path(__file__).parent)
        code = [f"{here}/{name}.py" for name in ("ray_nodes", "figures", "own_cluster")]
        yield (
            lambda: LocalEngine(slots, copied=True),
            lambda: RayEngine(slots, address=cluster.address, code=code),
        )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", nargs="?", choices=("nodes", "overhead"))
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--slots", type=int, default=40)
    given = parser.parse_args(arguments)
    print(machine_line(), "\n")
    with tempfile.TemporaryDirectory() as place:
        if given.what != "overhead":
            killed(Path(place), given.kills)
        if given.what != "nodes":
            rows = []
            with engines(Path(place), given.slots) as both:
                for make in both:
                    with make() as engine:
                        rows.append(overhead(engine, given.runs, given.seconds, given.slots))
                        print(*rows[-1], file=sys.stderr, flush=True)
            print(f"\n{given.runs:,} runs of {given.seconds:g} s on {given.slots} slots\n")
            heads = ("engine", "seconds", "work over slots", "more", "driver ms a run")
            print(markdown(heads, rows))


if __name__ == "__main__":
    import ray_nodes  # jobs are named by their module, which workers import

    ray_nodes.main()
