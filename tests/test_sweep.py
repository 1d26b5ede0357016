"""In which order a sweep trains what it is asked for."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from convscope import data
from convscope.engines.jobs import Event
from convscope.engines.local import LocalEngine
from convscope.machine.costs import Costs, cost_kind
from convscope.planning.requests import Request
from convscope.recipe.networks import ConvNet
from convscope.recipe.recipe import Recipe
from convscope.studies import run_queue
from convscope.studies.engines import IMPORTED
from convscope.studies.run_queue import Sweep
from convscope.studies.watcher import Watcher


class Order(Watcher):
    def __init__(self) -> None:
        self.seen: list[str] = []

    def started(self, recipe: Recipe) -> None:
        self.seen.append(recipe.id)


@contextmanager
def sweep_in(folder: Path, base: Recipe, order: Watcher) -> Iterator[Sweep]:
    """A sweep with one worker."""
    with LocalEngine(1, IMPORTED, copied=True) as engine:
        kind = cost_kind(base)
        costs = Costs(data.load(base.data), {kind.id: (1e-3, 1e-4)}, [kind])
        yield Sweep(engine, folder / "runs", costs, order)


def base_of(images: Path) -> Recipe:
    key = data.load(str(images)).hash
    return Recipe(data=str(images), data_hash=key, model=ConvNet(2, 1), epochs=1, batch=16)


def test_pilots_first_then_chapter_after_chapter_the_longest_first(
    micro: Path, tmp_path: Path
) -> None:
    base = base_of(micro)
    late, short, long = (
        replace(base, seed=1, epochs=3),
        replace(base, seed=2),
        replace(base, seed=3, epochs=2),
    )
    pilot, shared = replace(base, seed=4, evaluate=("val",)), replace(base, seed=5)
    order = Order()
    with sweep_in(tmp_path, base, order) as sweep:
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


def results(folder: Path) -> int:
    return len(list((folder / "runs").glob("*/result.json")))


def ended(sweep: Sweep) -> int:
    """How many runs have ended beside the caller's work."""
    return sum(event.kind == "done" for event in tuple(sweep.unseen))


def until(so: Callable[[], bool]) -> None:
    """Compute nothing until it is so; two minutes are plenty on a busy machine."""
    end = time.monotonic() + 120
    while not so() and time.monotonic() < end:
        time.sleep(0.05)


def test_jobs_are_given_out_while_the_caller_computes(micro: Path, tmp_path: Path) -> None:
    base, order = base_of(micro), Order()
    recipes = [replace(base, seed=seed) for seed in range(6)]
    with sweep_in(tmp_path, base, order) as sweep:
        sweep.ask(Request(recipes, "final"))
        assert sweep.wait()
        known = len(sweep.runs)
        with sweep.going_on():
            until(lambda: results(tmp_path) == len(recipes))
        assert results(tmp_path) == len(recipes), "as many as were asked for, without a wait"
        # what happened meanwhile has not been told yet, and is told run by run
        assert len(sweep.runs) == known and len(order.seen) <= known + 1
        for _ in recipes[known:]:
            assert sweep.wait()
        assert sweep.idle and len(order.seen) == len(recipes)
        # the engine had come to its end; what is asked for now begins beside the caller, too
        sweep.ask(Request([replace(base, seed=9)], "final"))
        with sweep.going_on():
            until(lambda: ended(sweep) == 1)
        assert results(tmp_path) == len(recipes) + 1
        sweep.settle()  # as before workers are ended
        assert sweep.idle and not sweep.wait()
        with pytest.raises(ZeroDivisionError), sweep.going_on():
            raise ZeroDivisionError


def test_an_end_of_time_is_not_noticed_before_what_has_happened_is_told(
    micro: Path, tmp_path: Path
) -> None:
    base = base_of(micro)

    def late() -> None:
        raise TimeoutError

    with sweep_in(tmp_path, base, Order()) as sweep:
        sweep.ask(Request([base, replace(base, seed=1)], "final"))
        with sweep.going_on():
            until(lambda: ended(sweep) == 2)
        assert sweep.wait(late), "the first has ended, and the second is still to be told"
        with pytest.raises(TimeoutError):
            sweep.wait(late)
        assert len(sweep.runs) == 2


def test_what_ends_the_engine_meanwhile_is_raised_by_the_next_wait(
    micro: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = base_of(micro)
    with sweep_in(tmp_path, base, Order()) as sweep:

        def lost() -> Iterator[Event | None]:
            yield None
            raise RuntimeError("the cluster is lost")

        sweep.ask(Request([base], "final"))
        monkeypatch.setattr(sweep, "rounds", lost())
        with sweep.going_on():
            until(lambda: sweep.broken is not None)
        with pytest.raises(RuntimeError, match="the cluster is lost"):
            sweep.wait()


def test_files_of_another_machine_are_written_at_once(
    micro: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job may be given out again while the caller computes: then it goes on from them."""
    base = base_of(micro)
    kept: list[object] = []
    monkeypatch.setattr(run_queue, "receive", lambda recipe, root, files: kept.append(files))
    with sweep_in(tmp_path, base, Order()) as sweep:

        def told() -> Iterator[Event | None]:
            yield Event(base.id, "progress", ({"epoch": 1}, {"checkpoint": b"1"}))
            while True:
                time.sleep(0.01)
                yield None

        monkeypatch.setattr(sweep.engine, "elsewhere", True)
        monkeypatch.setattr(sweep, "rounds", told())
        monkeypatch.setitem(sweep.recipes, base.id, base)
        with sweep.going_on():
            until(lambda: len(sweep.unseen) > 0)
        assert kept == [{"checkpoint": b"1"}]
        assert [event.value for event in sweep.unseen] == [({"epoch": 1}, {})]
