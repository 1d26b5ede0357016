"""What was measured of this machine is kept for it, and for no other; what studies do with it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from convscope.data.alike import near_duplicates
from convscope.machine import remembering
from convscope.machine.measurement import Numerics
from convscope.machine.remembering import forget, keep, known_figures, place, recalled
from convscope.planning.context import Context
from convscope.recipe.recipe import Recipe
from convscope.studies import measuring
from convscope.studies.near_images import KEY, Looking, notes_of

BEST = Numerics("float32", "contiguous", "library", {"float32 contiguous": 100.0}, "why not")


def asked_for(asked: list[str]) -> Numerics:
    def measure() -> Numerics:
        asked.append("measured")
        return BEST

    return recalled("numerics", measure, lambda tree: Numerics(**tree))


def test_a_machine_is_measured_once() -> None:
    asked: list[str] = []
    assert asked_for(asked) == asked_for(asked) == BEST and asked == ["measured"]
    forget()
    assert asked_for(asked) == BEST and len(asked) == 2
    keep({"other": [1.0, 2.0]})
    assert asked_for(asked) == BEST and len(asked) == 2 and known_figures()["other"] == [1.0, 2.0]


@pytest.mark.parametrize("damage", ["{", "[]", '{"numerics": 3}', '{"numerics": {"x": 1}}', ""])
def test_a_file_that_cannot_be_used_is_as_good_as_none(damage: str) -> None:
    asked: list[str] = []
    asked_for(asked)
    remembering.place().write_text(damage)
    assert asked_for(asked) == BEST and len(asked) == 2
    assert asked_for(asked) == BEST and len(asked) == 2  # and is mended


def test_what_cannot_be_written_is_not_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(remembering, "place", lambda: tmp_path / "file" / "machine.json")
    asked: list[str] = []
    assert asked_for(asked) == asked_for(asked) == BEST and len(asked) == 2
    forget()


def test_another_machine_has_another_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONVSCOPE_CACHE", str(tmp_path))
    monkeypatch.setenv("CONVSCOPE_KERNELS", "")
    files = [place()]
    assert place() == files[0] and files[0].is_relative_to(tmp_path)
    monkeypatch.setattr(remembering, "cores", lambda: 64)
    files.append(place())
    monkeypatch.setattr(remembering, "quota", lambda: 1.5)
    files.append(place())
    monkeypatch.setenv("CONVSCOPE_KERNELS", "library")
    files.append(place())
    known = remembering.circumstances()
    assert {"processor", "torch", "kernels"} <= set(known)
    for name in ("processor", "torch", "kernels"):
        monkeypatch.setattr(remembering, "circumstances", lambda n=name: {**known, n: "another"})
        files.append(place())
    assert len(set(files)) == len(files)


def test_the_oldest_figures_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remembering, "MOST", 3)
    for i in range(5):
        keep({str(i): i})
    keep({"2": "new"})
    assert list(known_figures()) == ["3", "4", "2"] and known_figures()["2"] == "new"


def test_doctor_measures_once_and_again_when_told(
    cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr("convscope.machine.best_numerics", lambda d: asked.append(d) or BEST)
    monkeypatch.setenv("CONVSCOPE_KERNELS", "")
    first = json.loads(cli("doctor", "--json").out)
    assert json.loads(cli("doctor", "--json").out) == first and asked == ["cpu"]
    cli("doctor", "--again")
    assert asked == ["cpu", "cpu"]


def test_kinds_of_run_are_timed_once(tmp_path: Path) -> None:
    kinds = [Recipe(data="made", batch=batch) for batch in (16, 32)]
    assert measuring.kept_costs(kinds) == {}
    keep({f"seconds {kinds[0].id}": [0.5, 0.25], f"seconds {kinds[1].id}": [0.5, "no"]})
    assert measuring.kept_costs(kinds) == {kinds[0].id: (0.5, 0.25)}
    keep({f"seconds {kinds[1].id}": [0.0, 0.25]})
    assert list(measuring.kept_costs(kinds)) == [kinds[0].id]


def test_timing_ends_in_time_with_the_dearest_kinds_seen(
    cifar_slice: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import replace
    from types import SimpleNamespace

    from convscope import data
    from convscope.machine import cost_kind
    from convscope.recipe.networks import ConvNet

    kinds = [
        Recipe(data="made", epochs=1, lr=1.0, model=ConvNet(width, 2)) for width in range(1, 17)
    ]
    engine: Any = SimpleNamespace(workers=[0, 1])
    now = [0.0]

    def timed(_: object, some: list[Recipe]) -> dict[str, tuple[float, float]]:
        now[0] += 3.0
        return {kind.id: (0.1, 0.1) for kind in some}

    monkeypatch.setattr(measuring, "timed", timed)
    monkeypatch.setattr(measuring, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    kinds = [cost_kind(kind) for kind in kinds]
    recipes = [*kinds, replace(kinds[9], epochs=50)]
    order = measuring.dearest_first(kinds, recipes, data.load(cifar_slice))
    assert sorted(map(kinds.index, order)) == list(range(16))
    assert [kinds.index(kind) for kind in order[:4]] == [9, 0, 15, 14]
    assert len(measuring.timed_within(engine, order, 1e9)) == 16
    assert list(measuring.timed_within(engine, order, 5.0)) == [kind.id for kind in order[:8]]
    assert len(measuring.timed_within(engine, order, -1.0)) == 4  # some, whatever it takes


def test_what_was_kept_is_taken_at_today_s_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that was busy, or is: a kind or two tell how the others are."""
    from types import SimpleNamespace

    kinds = [Recipe(data="made", batch=batch) for batch in (16, 32, 64)]
    asked: list[list[int]] = []

    def timed(_: object, some: list[Recipe]) -> dict[str, tuple[float, float]]:
        asked.append([kind.batch for kind in some])
        return {kind.id: (0.4, 0.1) for kind in some}

    monkeypatch.setattr(measuring, "timed", timed)
    engine: Any = SimpleNamespace(workers=[0])
    kept = {kinds[1].id: (0.8, 0.2), kinds[2].id: (2.0, 0.6)}
    found = measuring.at_today_s_pace(engine, kinds, kept)
    assert asked == [[32]]  # the dearest of those that are kept
    assert found == {kinds[1].id: (0.4, 0.1), kinds[2].id: pytest.approx((1.0, 0.3))}


def test_what_runs_took_is_kept_for_the_next_study(
    cifar_slice: Path, make_run: Callable[..., Any]
) -> None:
    from dataclasses import replace

    from convscope import data
    from convscope.machine.costs import Costs, cost_kind
    from convscope.recipe.networks import ConvNet

    runs = [make_run(ConvNet(4, 2), [1.0], [1.0], seed=seed) for seed in (0, 1, 2)]
    kind = cost_kind(runs[0].recipe)
    costs = Costs(data.load(cifar_slice), {kind.id: (1e-4, 1e-5)}, [kind])
    expected = costs.run(runs[0].recipe)
    paced = [replace(run, seconds=p * expected) for run, p in zip(runs, (2, 3, 50), strict=True)]
    failed = replace(runs[0], status="failed", seconds=900.0 * expected)
    other = make_run(ConvNet(8, 1), [1.0], [1.0])  # of a kind that was not timed
    measuring.learn(costs, [*paced, failed, other])
    (pair,) = measuring.kept_costs([kind]).values()
    assert pair == pytest.approx((3e-4, 3e-5)) and len(known_figures()) == 1


def test_a_slow_step_is_timed_fewer_times() -> None:
    from convscope.machine import costs

    calls: list[int] = []
    assert costs.seconds_of(lambda: calls.append(1)) >= 0.0 and len(calls) == 7
    calls.clear()

    def slow() -> None:
        calls.append(1)
        torch.ones(1)
        import time

        time.sleep(0.12)

    assert 0.1 < costs.seconds_of(slow) < 1.0 and len(calls) == 5


def test_near_duplicates_are_looked_for_beside_the_study_and_kept(cifar_slice: Path) -> None:
    from convscope import data

    loaded = data.load(cifar_slice)
    base = Recipe(data=str(cifar_slice), data_hash=loaded.hash)
    context = Context(loaded, "quick", (0, 1), base)
    looking = Looking(context)
    assert KEY not in context.measured and notes_of(context) == loaded.notes
    threads = torch.get_num_threads()
    looking.begin()
    said = looking.end(wait=True)
    found = near_duplicates(loaded)
    assert said == tuple(map(str, found)) and notes_of(context) == (*loaded.notes, *said)
    assert torch.get_num_threads() == threads
    # the next study of the same images knows them
    again = Context(loaded, "quick", (0, 1), base)
    looking = Looking(again)
    assert again.measured == context.measured and looking.end(wait=True) == ()
    other = Context(loaded, "quick", (0, 1), Recipe(data_hash=loaded.hash, val=0.2))
    Looking(other)
    assert KEY not in other.measured  # another split


def test_what_goes_wrong_beside_is_said(cifar_slice: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from convscope import data

    def broken(_: object) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr("convscope.studies.near_images.near_duplicates", broken)
    looking = Looking(Context(data.load(cifar_slice), "quick", (0,), Recipe()))
    looking.begin()
    with pytest.raises(RuntimeError, match="broken"):
        looking.end(wait=True)
