"""Chapters are driven: who waits for whom, and how a report written again finds its runs."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from convscope.data.dataset import Dataset, Split
from convscope.planning.context import Context
from convscope.planning.pilots import beyond_the_grid, pilots_of, tuned_rates
from convscope.planning.requests import Answer, Chapter, Give, Request, Role, Wait
from convscope.recipe.networks import ConvNet
from convscope.recipe.recipe import Recipe
from convscope.report.findings import BestResult, CapacityResult, Finding
from convscope.studies import driver as driving
from convscope.studies.driver import Driver
from convscope.studies.records import RecordedRequests
from convscope.studies.study_json import RunIds, requests_from, requests_json
from convscope.studies.watcher import Watcher
from convscope.training.runs import Run

A = ConvNet(4, 1)
RATES = (1e-3, 2e-3, 4e-3)


def context_of(*chapters: str) -> Context:
    def split(count: int) -> Split:
        return Split(torch.zeros(count, 1, 8, 8, dtype=torch.uint8), torch.arange(count) % 2)

    names = ("a", "b")
    images = Dataset("made", split(90), split(10), split(20), names, "0" * 64, "made", "none", ())
    base = Recipe(data="made", data_hash="0" * 64, batch=8)
    return Context(images, "quick", (0,), base, chapters, live=False)


def made(recipe: Recipe, loss: float = 1.0) -> Run:
    row = {"epoch": 1, "val_loss": loss}
    return Run(Path(recipe.id), recipe, (row,), "finished", {}, 1.0)


def found(name: str, **more: object) -> Finding:
    return Finding(name, name, "?", "known", "It is known.", {}, **more)


def drive(
    monkeypatch: pytest.MonkeyPatch,
    **chapters: tuple[tuple[str, ...], Callable[[Context], Chapter]],
) -> Driver:
    modules = {
        name: SimpleNamespace(NEEDS=needs, TITLE=name, QUESTION="?", chapter=chapter)
        for name, (needs, chapter) in chapters.items()
    }
    monkeypatch.setattr(driving, "CHAPTERS", modules)
    driver = Driver(None, Path("nowhere"), None, Watcher())
    driver.collect(context_of(*chapters))
    return driver


# --- who waits for whom


def test_a_result_is_there_before_the_finding_and_quiet_comes_last(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    order: list[str] = []
    run = made(Recipe())

    def best(context: Context) -> Chapter:
        yield Wait(needs=("capacity",))
        assert context.capacity is not None and context.capacity.smallest == A
        yield Give(BestResult(run.recipe, run, run.recipe, run.recipe))
        order.append("best has given")
        yield Wait(quiet=True)
        order.append("best")
        return found("best")

    def convolution(context: Context) -> Chapter:
        yield Wait(needs=("best",))
        assert context.best is not None and context.best.run is run
        order.append("convolution")
        return found("convolution")

    def capacity(context: Context) -> Chapter:
        for _ in range(3):
            yield [Request([Recipe()], "sweep")]
        order.append("capacity")
        return found("capacity", gives=CapacityResult(A, ()))

    # told in this order, worked on in another
    drive(
        monkeypatch,
        convolution=(("best",), convolution),
        best=(("capacity",), best),
        capacity=((), capacity),
    )
    assert order == ["capacity", "best has given", "convolution", "best"]


def test_what_is_not_in_the_study_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def alone(context: Context) -> Chapter:
        yield Wait(needs=("capacity",))
        assert context.capacity is None
        return found("alone")

    assert drive(monkeypatch, alone=(("capacity",), alone)).broken == {}


def test_a_chapter_waits_only_for_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    def careless(context: Context) -> Chapter:
        yield Wait(needs=("capacity",))
        return found("careless")

    with pytest.raises(AssertionError, match="not in its NEEDS"):
        drive(monkeypatch, careless=((), careless))


def test_a_chapter_that_fails_gives_nothing_and_stops_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def capacity(context: Context) -> Chapter:
        yield [Request([Recipe()], "sweep")]
        raise ZeroDivisionError("no one foresaw this")

    def other(context: Context) -> Chapter:
        yield Wait(needs=("capacity",))
        assert context.capacity is None
        return found("other")

    driver = drive(monkeypatch, other=(("capacity",), other), capacity=((), capacity))
    assert driver.broken == {"capacity": "ZeroDivisionError: no one foresaw this"}


# --- a report that is written again


def test_requests_are_answered_by_role_in_their_recorded_order() -> None:
    steps: list[RunIds] = [
        {"pilot": ["p"]},
        {"pilot": ["q"]},
        {"reference": ["r"], "sweep": ["s", "t"]},
    ]
    pilots, ends = [Request([], "pilot")], [Request([], "reference"), Request([], "sweep")]
    records = RecordedRequests({"capacity": steps})
    assert [records.take("capacity", asked) for asked in (pilots, pilots, ends)] == steps
    assert records.take("capacity", ends) == {} == records.take("best", pilots)
    # an extension that is not asked for today comes with what follows, one that is new finds none
    records = RecordedRequests({"capacity": steps})
    records.take("capacity", pilots)
    assert records.take("capacity", ends) == {"pilot": ["q"], **steps[2]}
    records = RecordedRequests({"capacity": steps[1:]})
    records.take("capacity", pilots)
    assert records.take("capacity", pilots) == {}
    assert records.take("capacity", ends) == steps[2]


@pytest.mark.parametrize("lost", range(8))
def test_final_runs_are_found_although_pilots_were_lost(lost: int) -> None:
    """Whatever subset of the grid is left, and whether its best rate lies at an end of it."""
    context = context_of()
    recipes = [replace(context.base, model=A)]
    grid = pilots_of(context, recipes, RATES)
    left = [recipe for i, recipe in enumerate(grid) if not lost >> i & 1]
    finals = [replace(recipes[0], seed=seed) for seed in (0, 1)]
    for best, extended in itertools.product(RATES, (False, True)):
        runs = {recipe.id: made(recipe, abs(recipe.lr - best)) for recipe in (*left, *finals)}
        steps: list[RunIds] = [{"pilot": [recipe.id for recipe in grid]}]
        if extended:
            outside = beyond_the_grid([made(grid[0]), made(grid[1], 2.0)])
            runs |= {recipe.id: made(recipe, 9.0) for recipe in outside}
            steps.append({"pilot": [recipe.id for recipe in outside]})
        steps.append({"final": [recipe.id for recipe in finals]})
        pilots, sent = replay(context, recipes, finals, steps, runs)
        assert [run.recipe for run in sent] == finals
        assert {run.recipe.evaluate for run in pilots} <= {("val",)}


def replay(
    context: Context,
    recipes: Sequence[Recipe],
    finals: Sequence[Recipe],
    steps: list[RunIds],
    runs: dict[str, Run],
) -> tuple[Sequence[Run], Sequence[Run]]:
    """The pilots and the other runs that a chapter gets, from what is left of a study's runs."""

    def chapter() -> Chapter:
        tuned = yield from tuned_rates(context, recipes, RATES)
        answer = yield [Request(finals, "final")]
        return replace(found("any"), numbers={"pilots": tuned.pilots, "finals": answer.of("final")})

    records, generator = RecordedRequests({"any": steps}), chapter()
    step = next(generator)
    try:
        for _ in range(6):
            assert not isinstance(step, Wait | Give)
            taken = records.take("any", step)
            step = generator.send(
                Answer({role: [runs[k] for k in ids if k in runs] for role, ids in taken.items()})
            )
    except StopIteration as end:
        return end.value.numbers["pilots"], end.value.numbers["finals"]
    raise AssertionError("the chapter never ends")


def test_roles_are_written_beside_the_ids_and_read_again(tmp_path: Path) -> None:
    requests: dict[str, list[RunIds]] = {
        "capacity": [{"pilot": ["a"]}, {"reference": ["b"], "sweep": ["c", "d"]}],
        "best": [{"trial": ["e"]}, {"final": ["b"]}],
    }
    tree = requests_json(requests)
    assert tree["requests"]["capacity"] == [["a"], ["b", "c", "d"]]  # as version 0.1.0 reads it
    assert requests_from(tree, tmp_path) == requests
    # without roles those come from recipes, and runs without one are left out
    assert requests_from({"requests": tree["requests"]}, tmp_path) == {
        "capacity": [{}, {}],
        "best": [{}, {}],
    }


@pytest.mark.parametrize(
    ("chapter", "recipe", "role"),
    [
        ("capacity", Recipe(evaluate=("val",)), "pilot"),
        ("capacity", Recipe(schedule="constant"), "sweep"),
        ("capacity", Recipe(schedule="linear"), "reference"),
        ("best", Recipe(evaluate=("val",)), "trial"),
        ("best", Recipe(), "final"),
        ("ordering", Recipe(evaluate=("val",)), "pilot"),
        ("ordering", Recipe(schedule="constant"), "final"),
    ],
)
def test_roles_of_version_0_1_0_come_from_recipes(
    chapter: str, recipe: Recipe, role: Role, tmp_path: Path
) -> None:
    from convscope.training.run_folder import RunFolder

    RunFolder(tmp_path / recipe.id).begin(recipe)
    tree = {"requests": {chapter: [[recipe.id, "lost"]]}}
    assert requests_from(tree, tmp_path) == {chapter: [{role: [recipe.id]}]}
