"""Plans that choose by validation, and names that tell networks apart."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from convscope.data.dataset import Dataset, Split
from convscope.models.sizes import size_of
from convscope.planning.context import BudgetFit, Context
from convscope.planning.epochs import (
    MOST_EPOCHS,
    epochs_of,
    epochs_to_turn,
    leaves_room,
    nested_subsets,
    shallower,
    smallest_of_capacity,
    training_images,
)
from convscope.planning.pilots import (
    HIGHEST_RATE,
    beyond_the_grid,
    chosen_rates,
    pilot_of,
    pilots_of,
    rates_table,
    transferred,
    tuned_rates,
    vertex,
)
from convscope.planning.reference import REFERENCES, reference_recipe
from convscope.planning.requests import Answer, Give, Step, Wait
from convscope.recipe.labels import hidden_of, label_of
from convscope.recipe.networks import ConvNet, Custom, Model, SoftmaxRegression
from convscope.recipe.recipe import Recipe
from convscope.report.findings import CapacityResult
from convscope.training.runs import Run

A, B = ConvNet(4, 2), ConvNet(8, 2)


def images(shape: tuple[int, int, int] = (3, 8, 8), train: int = 90) -> Dataset:
    def split(count: int) -> Split:
        return Split(torch.zeros(count, *shape, dtype=torch.uint8), torch.arange(count) % 10)

    return Dataset(
        "made",
        split(train),
        split(10),
        split(400),
        tuple(f"class {i}" for i in range(10)),
        "0" * 64,
        "made",
        "none",
        (),
    )


def context_of(dataset: Dataset | None = None, **more: Any) -> Context:
    return Context(
        dataset or images(),
        "quick",
        (0, 1),
        Recipe(data="made", data_hash="0" * 64, batch=8),
        **more,
    )


def run_of(
    recipe: Recipe,
    loss: float = 1.0,
    accuracy: float = 0.5,
    status: str = "finished",
    train_accuracy: float = 0.6,
) -> Run:
    """A run without weights."""
    row = {"epoch": 1, "lr": recipe.lr, "seconds": 1.0}
    for name in recipe.evaluate:
        row |= {
            f"{name}_loss": loss,
            f"{name}_accuracy": train_accuracy if name == "train" else accuracy,
            f"{name}_loss_sd": 0.5,
        }
    size = size_of(recipe.model, (3, 8, 8), 10)
    counts = {"filters": size.filters, "parameters": size.parameters, "flops": size.flops}
    return Run(Path("/nowhere") / recipe.id, recipe, (row,), status, counts, 1.0)


# --- plans


def sent(
    generator: Generator[Step, Answer, Any], *answers: Callable[[Recipe], Run | None]
) -> tuple[Any, list[Sequence[Recipe]]]:
    """What a generator returns, and what it asked for; the last answer serves for all others."""
    step, asked = next(generator), []
    for turn in range(20):
        assert not isinstance(step, Wait | Give)
        (request,) = step
        asked.append(request.recipes)
        made = (answers[min(turn, len(answers) - 1)](recipe) for recipe in request.recipes)
        try:
            step = generator.send(Answer({request.role: [run for run in made if run is not None]}))
        except StopIteration as end:
            return end.value, asked
    raise AssertionError("it never ends")


def best_at(rate: float) -> Callable[[Recipe], Run]:
    return lambda recipe: run_of(recipe, abs(math.log(recipe.lr / rate)))


def test_fewer_images_are_seen_more_often_and_a_budget_takes_away() -> None:
    assert epochs_of(context_of(images((1, 1, 1), 45_000)), 8) == 8
    assert epochs_of(context_of(images((1, 1, 1), 60_000)), 8) == 8  # never fewer than the preset's
    assert epochs_of(context_of(images((1, 1, 1), 11_250)), 8) == 16
    assert epochs_of(context_of(), 8) == MOST_EPOCHS
    for share in (0.5, 0.01):
        assert epochs_of(
            context_of(images((1, 1, 1), 45_000), fit=BudgetFit(epochs=share)), 8
        ) == max(1, int(8 * share))
    assert training_images(context_of()) is None
    assert training_images(context_of(fit=BudgetFit(images=0.5))) == 45
    assert (
        training_images(context_of(fit=BudgetFit(images=0.02))) == context_of().base.batch == 8
    )  # a batch at least, else no run would start


def test_networks_are_made_to_fit_the_images() -> None:
    deep = ConvNet(4, 4, pool_sizes=(2, 2, 2, 2))
    assert not leaves_room(deep, (3, 8, 8)) and leaves_room(deep, (3, 16, 17))
    assert shallower(deep, (3, 8, 9)) == ConvNet(4, 3, pool_sizes=(2, 2, 2))
    assert shallower(deep, (3, 16, 16)) is deep
    assert shallower(replace(A, depth=5, pool="none"), (3, 4, 4)).depth == 5
    for preset in REFERENCES:
        strong = reference_recipe(replace(context_of(images((1, 8, 8))), preset=preset))
        assert (
            isinstance(strong.model, ConvNet)
            and leaves_room(strong.model, (1, 8, 8))
            and strong.seed == 0
        )


def test_a_budget_leaves_the_nearest_number_of_epochs() -> None:
    def left(epochs: int, share: float) -> int:
        context = context_of(images((1, 1, 1), 45_000), fit=BudgetFit(epochs=share))
        return epochs_of(context, epochs)

    assert [left(epochs, 0.85) for epochs in (3, 4, 7, 1)] == [3, 3, 6, 1]
    assert [left(epochs, 0.67) for epochs in (3, 4, 7, 1)] == [2, 3, 5, 1]
    assert left(3, 0.5) == 2 and left(3, 0.01) == 1


def test_pilots_look_at_validation_alone_on_a_part_of_many_images() -> None:
    context = context_of(images((1, 1, 1), 45_000))
    recipes = [replace(context.base, model=m, epochs=8) for m in (SoftmaxRegression(), A)]
    pilots = pilots_of(context, recipes, (1e-3, 2e-3))
    assert len({p.id for p in pilots}) == 4 and all(p.evaluate == ("val",) for p in pilots)
    assert {(p.limit, p.epochs, p.seed) for p in pilots} == {(11_250, 1, 0)}
    small = pilots_of(context_of(), [replace(recipes[0], epochs=9)], (1e-3,))
    assert [(p.limit, p.epochs) for p in small] == [(None, 2)]


@pytest.mark.parametrize(
    ("best", "chosen", "requests"),
    [(2e-3, 2e-3, 1), (8e-3, 8e-3, 3), (0.5, 1.6e-2, 3), (1e-9, 2.5e-4, 3), (4.1e-3, 4e-3, 2)],
)
def test_the_grid_of_rates_is_extended_where_the_best_lies_at_its_end(
    best: float, chosen: float, requests: int
) -> None:
    context = context_of()
    recipes = [replace(context.base, model=A)]
    found, asked = sent(tuned_rates(context, recipes, (1e-3, 2e-3, 4e-3)), best_at(best))
    assert found.rate(A) == pytest.approx(chosen) and len(asked) == requests
    assert found.rate(B) == 1e-3 and len(found.pilots) == 3 + requests - 1
    assert all(len(more) == 1 for more in asked[1:])
    table = rates_table(found.pilots)
    assert table.rows[0]["chosen"] == pytest.approx(chosen)
    assert (
        "1 of 1 best rates lie" in table.caption
        if chosen in (1.6e-2, 2.5e-4)
        else "No best rate lies" in table.caption
    )


def test_a_rate_falls_as_the_root_of_the_width() -> None:
    sweep = [replace(A, width=width) for width in (4, 1, 2, 16, 8)]
    assert pilot_of(sweep).width == 16 and pilot_of(sweep[:3]).width == 4
    assert pilot_of([replace(A, width=width) for width in (8, 32)]).width == 8  # as near: narrower
    rates = transferred({sweep[3]: 2e-3, SoftmaxRegression(): 1.0}, sweep)
    assert [rates[m] for m in sorted(sweep, key=lambda m: m.width)] == [
        8e-3,
        5.7e-3,
        4e-3,
        2.8e-3,
        2e-3,
    ]
    two = transferred({sweep[3]: 2e-3, sweep[1]: 1e-2}, sweep)  # each by the nearest
    assert two[sweep[2]] == 7.1e-3 and two[sweep[4]] == 2.8e-3 and two[sweep[3]] == 2e-3
    assert transferred({SoftmaxRegression(): 1.0}, sweep) == {}


def test_narrow_networks_and_small_sets_have_more_epochs_to_turn() -> None:
    context = context_of(images((1, 1, 1), 45_000))

    def epochs(count: int, width: int, **more: Any) -> int:
        return epochs_to_turn(replace(context, **more), 8, count, width)

    assert [epochs(45_000, width) for width in (64, 16, 8, 4, 1)] == [8, 8, 11, 16, 16]
    assert [epochs(count, 16) for count in (15_000, 5_000, 2_000)] == [11, 14, 20]
    assert epochs(5_000, 2) == 28 and epochs(10, 16) == 2 * MOST_EPOCHS == epochs(1, 1)
    assert epochs(45_000, 16, fit=BudgetFit(epochs=0.5)) == 4
    assert epochs(45_000, 16, fit=BudgetFit(epochs=0.01)) == 1


def test_subsets_are_a_ninth_or_a_quarter_of_the_images_or_none() -> None:
    def numbers(count: int, **more: Any) -> tuple[int, ...]:
        return nested_subsets(replace(context_of(images((1, 1, 1), count)), **more))

    assert context_of().base.batch == 8
    assert numbers(45_000) == (5_000, 15_000, 45_000) and numbers(144) == (16, 48, 144)
    assert numbers(143) == (35, 71, 143) and numbers(63) == (63,)
    assert numbers(45_000, fit=BudgetFit(images=0.1)) == (500, 1_500, 4_500)


def test_rates_stay_within_their_bounds_and_failed_pilots_choose_nothing() -> None:
    context = context_of()
    high = [run_of(replace(context.base, model=A, lr=HIGHEST_RATE, evaluate=("val",)))]
    assert [r.lr for r in beyond_the_grid(high)] == [HIGHEST_RATE / 2]
    low = [
        run_of(replace(context.base, model=A, lr=rate, evaluate=("val",)), rate)
        for rate in (1e-5, 1e-4)
    ]
    assert beyond_the_grid(low) == []
    failed = [replace(low[0], status="diverged"), low[1]]
    assert chosen_rates(failed) == {A: 1e-4} and chosen_rates([failed[0]]) == {}
    assert rates_table([failed[0]]).rows[0]["chosen"] is None
    found, asked = sent(
        tuned_rates(context, [replace(context.base, model=A)], (1e-3, 2e-3)), lambda _: None
    )
    assert len(asked) == 1 and found.rate(A) == 1e-3 and found.pilots == ()


@pytest.mark.parametrize(
    ("losses", "chosen"),
    [
        # pilots of four studies of CIFAR-10, whose lowest losses lie a factor of four apart
        ({1e-3: 1.411, 2e-3: 1.4105, 4e-3: 1.376, 8e-3: 1.436}, 2.6e-3),
        ({5e-4: 1.4277, 1e-3: 1.344, 2e-3: 1.3492, 4e-3: 1.3564}, 1.9e-3),
        ({1e-3: 1.3658, 2e-3: 1.3583, 4e-3: 1.3459, 8e-3: 1.4551}, 2.1e-3),
        ({1e-3: 1.404, 2e-3: 1.3472, 4e-3: 1.3473}, 2.8e-3),
        ({1e-3: 1.0, 2e-3: 0.9, 4e-3: 1.0}, 2e-3),
        ({1e-3: 1.0, 2e-3: 0.98, 4e-3: 1.0, 8e-3: 9.0}, 2e-3),  # what diverges does not bend it
        ({1e-3: 1.0, 2e-3: 0.9, 4e-3: 0.8}, 4e-3),  # no bottom among them
        ({1e-3: 1.0, 2e-3: 2.0}, 1e-3),
        ({1e-3: 1.0}, 1e-3),
    ],
)
def test_a_rate_lies_at_the_bottom_of_a_parabola_through_its_pilots(
    losses: dict[float, float], chosen: float
) -> None:
    assert vertex(losses) == chosen


def test_the_smallest_of_capacity_is_read_by_those_that_need_it() -> None:
    found = CapacityResult(A, (run_of(replace(context_of().base, model=A)),))
    assert smallest_of_capacity(context_of(given={"capacity": found}, needs=("capacity",))) == A
    assert smallest_of_capacity(context_of(given={"capacity": None}, needs=("capacity",))) is None
    assert smallest_of_capacity(context_of()) is None
    with pytest.raises(AssertionError, match="NEEDS"):
        smallest_of_capacity(context_of(given={"capacity": found}))


# --- names


def test_names_say_what_differs_from_the_plain_network() -> None:
    assert (
        label_of(ConvNet(16, 3)) == "width 16, depth 3"
        and label_of(SoftmaxRegression()) == "softmax regression"
    )
    assert label_of(Custom("mine.nets:make")) == "mine.nets:make"
    full = ConvNet(16, 3, 2, 1.5, 5, "gelu", "avg", norm="batch", skip=True, hidden=(256, 128))
    assert (
        label_of(full)
        == "width 16, depth 3×2, growth 1.5, 5×5, batch norm, skip, gelu, average pooling"
    )
    assert (hidden_of(full), hidden_of(A)) == ("256 and 128", "none")
    plain = ConvNet(16, 3, block_depth=2)
    changes: Sequence[dict[str, Any]] = (
        {"width": 8},
        {"depth": 2},
        {"block_depth": 3},
        {"growth": 1.0},
        {"kernel": 5},
        {"activation": "identity"},
        {"pool": "none"},
        {"pool": "stride"},
        {"norm": "affine"},
        {"norm": "group"},
        {"skip": True},
        {"head": "gap"},
        {"order": "reversed"},
        {"order": "per-sample"},
        {"pixels": "random"},
    )
    names: list[Model] = [plain, *(replace(plain, **change) for change in changes)]
    assert len({label_of(model) for model in names}) == len(names)
