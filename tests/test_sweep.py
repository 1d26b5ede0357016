"""In which order a sweep trains what it is asked for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from convscope import data
from convscope.engines.local import LocalEngine
from convscope.machine.costs import Costs, cost_kind
from convscope.planning.requests import Request
from convscope.recipe.networks import ConvNet
from convscope.recipe.recipe import Recipe
from convscope.studies.engines import IMPORTED
from convscope.studies.run_queue import Sweep
from convscope.studies.watcher import Watcher


class Order(Watcher):
    def __init__(self) -> None:
        self.seen: list[str] = []

    def started(self, recipe: Recipe) -> None:
        self.seen.append(recipe.id)


def test_pilots_first_then_chapter_after_chapter_the_longest_first(
    micro: Path, tmp_path: Path
) -> None:
    loaded = data.load(str(micro))
    base = Recipe(data=str(micro), data_hash=loaded.hash, model=ConvNet(2, 1), epochs=1, batch=16)
    late, short, long = (
        replace(base, seed=1, epochs=3),
        replace(base, seed=2),
        replace(base, seed=3, epochs=2),
    )
    pilot, shared = replace(base, seed=4, evaluate=("val",)), replace(base, seed=5)
    order = Order()
    with LocalEngine(1, IMPORTED, copied=True) as engine:
        kind = cost_kind(base)
        sweep = Sweep(
            engine, tmp_path / "runs", Costs(loaded, {kind.id: (1e-3, 1e-4)}, [kind]), order
        )
        sweep.ask(Request([late, shared], "final"), rank=1)
        sweep.ask(Request([short, long], "final"), rank=0)
        sweep.ask(Request([shared], "final"), rank=0)  # what was asked for keeps its place
        sweep.ask(Request([pilot], "pilot"), rank=1)
        while sweep.wait():
            pass
        assert sweep.idle and [run.recipe for run in sweep.answer([short, pilot]) or ()] == [
            short,
            pilot,
        ]
    assert order.seen == [recipe.id for recipe in (pilot, long, short, late, shared)]
