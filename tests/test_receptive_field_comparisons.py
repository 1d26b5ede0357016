"""What the receptive field chapter trains and compares: one thing at a time, tests, names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import made
import numpy as np
import pytest

from convscope import studies
from convscope.chapters import receptive_field
from convscope.chapters.receptive_field import Arms, arms_of, matched, question_of, word_of
from convscope.chapters.receptive_field.arms import NEAR, apart, is_single
from convscope.chapters.receptive_field.comparisons import OWN, comparisons_of, heads_of
from convscope.chapters.receptive_field.fields import FeatureField
from convscope.chapters.receptive_field.plan import FALLBACK, shared_rate
from convscope.data.dataset import Dataset
from convscope.models.building import build
from convscope.models.sizes import Size, size_of
from convscope.planning.context import Context
from convscope.probes.fields import receptive_field as fields_of
from convscope.recipe.networks import ConvNet, Model, SoftmaxRegression
from convscope.report.findings import CapacityResult
from convscope.statistics.comparisons import accuracy_difference
from convscope.statistics.configuration import Configuration, configurations, grouped
from convscope.statistics.crossed_factors import Difference

SHAPE = (3, 16, 16)
CIFAR = (3, 32, 32)


def made_context(dataset: Dataset | None = None, **more: Any) -> Context:
    return made.context("receptive_field", dataset or made.images(SHAPE), **more)


def field_of(model: ConvNet, shape: tuple[int, int, int] = CIFAR) -> int:
    *_, row = (r for r in fields_of(build(model, shape, 10), shape) if r.name.startswith("blocks"))
    return max(row.sizes)


def planned(preset: str) -> tuple[Arms, dict[ConvNet, Size]]:
    context = replace(made_context(made.images(CIFAR)), preset=preset)
    arms = receptive_field.planned_arms(context)
    return arms, {model: size_of(model, CIFAR, 10) for model in arms.models}


# --- the plan


@pytest.mark.parametrize("preset", ["quick", "standard", "full"])
def test_every_field_comparison_has_equal_parameters_filters_and_flops(preset: str) -> None:
    arms, sizes = planned(preset)
    steps = [step for step in arms.steps if step.factor == "field"]
    singles = [step for step in steps if is_single(step.a)]
    assert len(steps) > len(singles) > 6
    for step in steps:
        a, b = sizes[step.a], sizes[step.b]
        assert (a.filters, a.parameters, a.flops) == (b.filters, b.parameters, b.flops)
        assert replace(step.a, dilations=()) == step.b  # and nothing else differs
        assert field_of(step.a) > field_of(step.b)
    assert arms_of(ConvNet(2, 2), (3, 5), CIFAR, 10).series[0][0].dilations == ()
    for part in arms.series[:2]:
        assert [field_of(model) for model in part][:3] == [3, 5, 7] and field_of(part[-1]) == 15
        assert sizes[part[0]].parameters in (61_618, 618)  # the course's


@pytest.mark.parametrize("preset", ["quick", "standard", "full"])
def test_depth_pooling_and_heads_are_compared_at_matched_parameters(preset: str) -> None:
    arms, sizes = planned(preset)
    by_factor = {step.factor: step for step in arms.path}
    assert [s.factor for s in arms.path] == ["filters", "field", "depth", "field", "pooling"]
    for one, other in zip(arms.path, arms.path[1:], strict=False):
        assert one.a == other.b  # each step begins where the one before it ends
    depth, pooling = by_factor["depth"], by_factor["pooling"]
    assert apart(sizes[depth.a].parameters, sizes[depth.b].parameters) <= NEAR
    assert field_of(depth.a) == field_of(depth.b)
    assert sizes[pooling.a].parameters == sizes[pooling.b].parameters
    assert sizes[pooling.a].filters == sizes[pooling.b].filters
    assert field_of(pooling.a) - field_of(pooling.b) == 1  # 2×2 pooling makes fields even
    heads = [step for step in arms.steps if step.factor == "head"]
    ratios = [apart(sizes[step.a].parameters, sizes[step.b].parameters) for step in heads]
    assert min(ratios) <= NEAR and {step.b.head for step in heads} == {"gap"}
    assert {step.a.head for step in heads} == {"flatten"}


@pytest.mark.parametrize("depth", [2, 3, 4])
def test_dilations_give_the_field_of_pooling_less_a_pixel_without_holes(depth: int) -> None:
    shape = (3, 64, 64)
    arms = arms_of(ConvNet(2, depth, head="gap"), (1, 2), shape, 10)
    pooling = arms.path[-1]
    assert field_of(pooling.a, shape) == 3 * 2**depth - 2
    assert field_of(pooling.b, shape) == 3 * 2**depth - 3
    seen = {0}
    for dilation in pooling.b.dilations:
        seen = {place + tap for place in seen for tap in (-dilation, 0, dilation)}
    reach = max(seen)
    assert seen == set(range(-reach, reach + 1)) and 2 * reach + 1 == 3 * 2**depth - 3


@pytest.mark.parametrize("target", [1, 100, 618, 5_000, 61_618, 1_000_000])
@pytest.mark.parametrize(
    "model",
    [ConvNet(6, 1, pool="none"), ConvNet(6, 1, pool="none", head="gap", kernel=7), ConvNet(4, 2)],
)
def test_the_matched_width_is_the_nearest(model: ConvNet, target: int) -> None:
    found = matched(model, target, SHAPE, 10)
    assert replace(found, width=model.width) == model

    def off(width: int) -> int:
        return abs(size_of(replace(model, width=width), SHAPE, 10).parameters - target)

    assert all(
        off(found.width) <= off(width) for width in range(max(1, found.width - 3), found.width + 4)
    )


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 5, 9), (3, 4, 4), (1, 2, 2), (3, 64, 48)])
def test_any_images_have_a_plan(shape: tuple[int, int, int]) -> None:
    context = made_context(dataset=made.images(shape, 3))
    for recipe in studies.forecast(context):
        size_of(recipe.model, shape, 3)
        assert isinstance(recipe.model, ConvNet)
        if is_single(recipe.model):
            assert 2 * recipe.model.block_dilations[0] + 1 <= max(7, min(shape[1:]))
    assert {r.seed for r in studies.forecast(context)} == {0, 1, 2}


def test_networks_that_differ_in_dilation_alone_share_a_rate() -> None:
    context = made_context()
    near, far = ConvNet(6, 1, pool="none"), ConvNet(6, 1, pool="none", dilations=(7,))
    losses = {near: {1e-3: 1.0, 4e-3: 1.1, 8e-3: 0.9}, far: {1e-3: 1.5, 4e-3: 1.2}}
    pilots = [
        made.run(
            replace(context.base, model=model, lr=lr, evaluate=("val",)),
            SHAPE,
            {"val": (loss, 0.5)},
        )
        for model, by_rate in losses.items()
        for lr, loss in by_rate.items()
    ]
    assert shared_rate(pilots, (near, far)) == 4e-3  # 8e-3 was tried by one of them only
    assert shared_rate(pilots, (near, near)) == 8e-3
    assert shared_rate(pilots, (near, ConvNet())) is None


def test_the_network_of_question_1(monkeypatch: pytest.MonkeyPatch) -> None:
    context = made_context(chapters=("capacity", "best", "receptive_field"))
    context = replace(context, needs=receptive_field.NEEDS)
    found = receptive_field.network_of_question_1
    assert found(context) == (FALLBACK, "own")
    run = made.run(context.base, SHAPE, dict.fromkeys(("train", "val", "test"), (1.0, 0.5)))
    context.given["capacity"] = CapacityResult(ConvNet(8, 2), (run,))
    assert found(context) == (ConvNet(8, 2), "capacity")
    winner = replace(context.base, model=ConvNet(64, 3))
    affordable = replace(context.base, model=ConvNet(16, 3, norm="batch"))
    for best, expected in [
        (SimpleNamespace(winner=winner, affordable=affordable), affordable.model),
        (SimpleNamespace(winner=winner, affordable=None), winner.model),
    ]:
        monkeypatch.setattr(Context, "best", property(lambda _, best=best: best))
        assert found(context) == (expected, "best")


# --- tests and answers


def arms_with(
    accuracy: Callable[[ConvNet], float],
    models: list[ConvNet],
    val: Callable[[ConvNet], tuple[float, float]] = lambda _: (1.0, 0.5),
    seeds: int = 3,
) -> dict[Model, Configuration]:
    """Configurations without weights; seeds lie a tenth of a point apart."""
    context = made_context(made.images(CIFAR))
    runs = []
    for model in models:
        for seed in range(seeds):
            test = (1.5, accuracy(model) + 1e-3 * seed)
            values = {"train": (1.0, 0.5), "val": val(model), "test": test}
            runs.append(made.run(replace(context.base, model=model, seed=seed), CIFAR, values))
    groups = grouped(runs, lambda run: run.recipe.model)
    return configurations(groups, context.data, receptive_field.name_of)


def test_what_differs_beside_the_factor_is_named() -> None:
    arms, _ = planned("quick")
    found = arms_with(lambda _: 0.5, arms.models)
    sides: dict[Model, int | None] = {model: field_of(model) for model in arms.models}
    comparisons = comparisons_of(arms, found, sides)
    assert len(comparisons) == len(arms.steps)
    named = {(c.factor, c.a.model): c.confounded for c in comparisons}
    for c in comparisons:
        assert OWN[c.factor] not in c.confounded
        assert c.factor != "field" or not c.confounded
    path = {step.factor: named[step.factor, step.a] for step in arms.path}
    assert set(path["depth"]) == {"filters", "FLOPs"} and path["depth"]["filters"] == (45, 28)
    assert set(path["pooling"]) == {"FLOPs"}
    assert set(path["filters"]) == {"parameters", "FLOPs"}
    heads = heads_of(comparisons)
    assert heads is not None and heads.by == "cost"
    assert "parameters" not in heads.comparison.confounded
    assert heads.chosen.flops < heads.other.flops
    course = [c for c in comparisons if c.factor == "head" and "parameters" in c.confounded]
    assert heads_of(course) is None  # 61,618 against 618 parameters is no comparison of heads


@pytest.mark.parametrize(
    ("difference", "word"),
    [
        (Difference(0.10, 0.01, 0.08, 0.12, 4, (2, 2), 4), "better"),
        (Difference(-0.10, 0.01, -0.12, -0.08, 4, (2, 2), 4), "worse"),
        (Difference(0.001, 0.002, -0.004, 0.006, 4, (2, 2), 4), "equivalent"),
        (Difference(0.01, 0.02, -0.04, 0.06, 4, (2, 2), 4), "cannot tell"),
        (Difference(0.10, 0.01, 0.08, 0.12, 0, (1, 1), 0), "cannot tell"),  # one seed
    ],
)
def test_words_are_what_the_test_says(difference: Difference, word: str) -> None:
    one, other, chance = ConvNet(2, 1), ConvNet(3, 1), ConvNet(4, 1)
    found = arms_with(
        lambda _: 0.5, [one, other, chance], lambda m: (1.0, 0.1 if m is chance else 0.5)
    )
    assert word_of(difference, found[one], found[other]) == word
    assert word_of(difference, found[one], found[chance]) == "cannot tell"  # it did not learn
    assert word_of(difference, found[chance], found[one]) == "cannot tell"


NET = ConvNet(16, 3)
SINGLES = [ConvNet(6, 1, pool="none"), ConvNet(16, 1, pool="none", head="gap")]


@pytest.mark.parametrize(
    ("accuracies", "word", "worse"),
    [
        ((0.30, 0.40, 0.60), "no", True),
        ((0.60, 0.600, 0.60), "no", False),  # none is better by more than the margin
        ((0.30, 0.605, 0.60), "no", False),
        ((0.30, 0.640, 0.60), "yes", False),
        ((0.30, 0.615, 0.60), "cannot tell", False),
    ],
)
def test_a_plain_answer(accuracies: tuple[float, ...], word: str, worse: bool) -> None:
    models = [*SINGLES, NET]
    found = arms_with(dict(zip(models, accuracies, strict=True)).__getitem__, models)
    answer = question_of(found[NET], list(found.values()))
    assert (answer.word, answer.worse) == (word, worse)
    assert answer.net is found[NET] and answer.shallow is not None
    assert question_of(None, list(found.values())).word == "cannot tell"
    assert question_of(found[NET], [found[NET]]).word == "cannot tell"
    if word == "yes":
        assert answer.shallow is found[SINGLES[1]]


def test_no_answer_from_one_seed_or_from_networks_that_did_not_learn() -> None:
    models = [*SINGLES, NET]
    by_model = dict(zip(models, (0.3, 0.4, 0.6), strict=True))

    def answer(learned: set[ConvNet], seeds: int = 3) -> Any:
        found = arms_with(
            by_model.__getitem__, models, lambda m: (1.0, 0.5 if m in learned else 0.1), seeds
        )
        return question_of(found[NET], list(found.values()))

    assert answer({*models}).word == "no"
    assert answer({*models}, seeds=1).word == "cannot tell"
    assert answer({*SINGLES}).word == "cannot tell"
    assert answer({NET}).word == "cannot tell"
    assert answer({NET, SINGLES[0]}).shallow.model == SINGLES[0]


def test_the_answer_carries_its_replication() -> None:
    """Of right answers by image, paired: the difference of each pair, and one bootstrap of all."""
    draw = np.random.default_rng(0)
    easy = draw.random(1_000)  # how hard the images are
    levels = {SINGLES[0]: 0.4, SINGLES[1]: 0.5, NET: 0.7}
    arms = arms_with(levels.__getitem__, list(levels))
    for model, arm in arms.items():
        assert isinstance(model, ConvNet)
        right = tuple(
            (easy + 0.1 * draw.standard_normal(1_000) < levels[model]).astype(float)
            for _ in arm.runs
        )
        vars(arm)["right"] = right
    found = list(arms.values())
    answer = question_of(arms[NET], found)
    assert (answer.word, answer.worse) == ("no", True)
    assert answer.replication is not None and answer.replication > 0.95
    assert answer.shallow is not None and answer.difference is not None
    pair = accuracy_difference(answer.shallow, arms[NET], found)
    assert answer.difference.mean == pytest.approx(pair.mean)
    assert answer.difference.se == pytest.approx(pair.se, rel=0.01)
    assert answer.numbers()["replication"] == answer.replication


# --- fields and names


@pytest.mark.parametrize(
    ("untrained", "trained", "change"),
    [
        ([[9.0, 9.1], [9.2, 9.1]], [[12.0, 12.1], [12.1, 12.2]], "wider"),
        ([[12.0, 12.1], [12.1, 12.2]], [[9.0, 9.1], [9.2, 9.1]], "narrower"),
        ([[9.0, 9.1], [9.2, 9.1]], [[12.0, 12.1], [9.5, 9.3]], "cannot tell"),  # seeds disagree
        ([[9.0, 9.0], [9.0, 9.0]], [[10.0, 14.0], [10.0, 14.0]], "cannot tell"),  # images do
        ([[9.0]], [[12.0]], "cannot tell"),  # one seed
        ([], [], "cannot tell"),
    ],
)
def test_what_training_does_to_a_field(
    untrained: list[list[float]], trained: list[list[float]], change: str
) -> None:
    field = FeatureField(21, untrained, trained, None, None)
    assert field.change == change
    assert (field.difference is None) == (len(trained) < 2)


def test_names_of_networks() -> None:
    name = receptive_field.name_of
    assert name(ConvNet(6, 1, pool="none")) == "one 3×3 convolution, 6 filters → FC"
    dilated = ConvNet(16, 1, pool="none", head="gap", dilations=(7,))
    assert name(dilated) == "one 3×3 convolution, dilation 7, 16 filters → GAP → FC"
    means = ConvNet(9, 1, pool="avg", pool_sizes=(8,))
    assert name(means) == "one 3×3 convolution, 9 filters → means of 8×8 → FC"
    flat = ConvNet(4, 3, head="gap", pool="none", dilations=(1, 2, 7))
    assert name(flat) == "cascade of 3, width 4, no pooling, dilation 1+2+7 → GAP → FC"
    assert name(ConvNet(6, 3, hidden=(64, 32))) == "cascade of 3, width 6 → 64+32 → FC"
    assert name(ConvNet(6, 3, 2, norm="batch")) == "width 6, depth 3×2, batch norm"
    assert name(SoftmaxRegression()) == "softmax regression"
    arms, _ = planned("quick")
    assert len({name(model) for model in arms.models}) == len(arms.models)
