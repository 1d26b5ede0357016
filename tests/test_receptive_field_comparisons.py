"""What the receptive field chapter trains, compares and concludes: sizes, verdicts and names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import made
import pytest

from convscope import studies
from convscope.chapters import receptive_field
from convscope.chapters.receptive_field import Comparison, matched, verdict_of
from convscope.data.dataset import Dataset
from convscope.models.sizes import size_of
from convscope.planning.context import Context
from convscope.recipe.labels import label_of
from convscope.recipe.networks import ConvNet, SoftmaxRegression
from convscope.statistics.comparisons import Difference
from convscope.statistics.configuration import configurations, grouped

SHAPE = (3, 16, 16)


@pytest.fixture(autouse=True)
def _tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    preset = receptive_field.Preset(1, (2e-3, 4e-3), (3, 7), ConvNet(3, 2, head="gap"), 60)
    monkeypatch.setitem(receptive_field.PRESETS, "quick", preset)
    monkeypatch.setattr("convscope.planning.epochs.MOST_EPOCHS", 1)


def made_context(dataset: Dataset | None = None, **more: Any) -> Context:
    return made.context("receptive_field", dataset or made.images(SHAPE), **more)


# --- the plan


def test_the_courses_sizes_are_those_of_its_report() -> None:
    cifar = made.images((3, 32, 32))
    for preset in ("standard", "full"):
        models = receptive_field.models_of(replace(made_context(dataset=cifar), preset=preset))
        sizes = {model: size_of(model, cifar.in_shape, 10).parameters for model in models}
        assert {61_618, 618} <= set(sizes.values())
        assert len(sizes) == len(models) and all(
            model.depth > 1 or model.pool == "none" for model in models
        )
        for head in ("flatten", "gap"):
            deep = [m for m in models if m.head == head and m.depth > 1 and m.pool == "max"]
            assert len(deep) == 1
            equals = [
                m
                for m in models
                if m.head == head
                and m.depth == 1
                and abs(sizes[m] - sizes[deep[0]]) <= 0.25 * sizes[deep[0]]
            ]
            assert {m.kernel for m in equals} >= set(receptive_field.PRESETS[preset].kernels)


@pytest.mark.parametrize("target", [1, 100, 618, 5_000, 61_618, 1_000_000])
@pytest.mark.parametrize(
    "model",
    [ConvNet(6, 1, pool="none"), ConvNet(6, 1, pool="none", head="gap", kernel=7), ConvNet(4, 2)],
)
def test_the_matched_width_is_the_nearest(model: ConvNet, target: int) -> None:
    dataset = made.images(SHAPE)
    found = matched(model, target, dataset)
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
        assert isinstance(recipe.model, ConvNet) and recipe.model.kernel <= max(3, min(shape[1:]))
    assert {r.seed for r in studies.forecast(context)} == {0, 1, 2}


# --- verdicts on made-up comparisons


def compared(*given: tuple[str, float, float, float], degrees: int = 4) -> Sequence[Comparison]:
    context = made_context()
    value = dict.fromkeys(context.base.evaluate, (1.5, 0.5))
    recipes = [replace(context.base, model=ConvNet(w, 1, pool="none")) for w in (2, 3)]
    runs = [made.run(recipe, SHAPE, value) for recipe in recipes]
    a, b = configurations(
        grouped(runs, lambda run: run.recipe.model), context.data, label_of
    ).values()
    return [
        Comparison(f, "flatten", a, b, Difference(mean, 0.01, low, high, degrees, (2, 2)))
        for f, mean, low, high in given
    ]


@pytest.mark.parametrize(
    ("given", "verdict"),
    [
        (
            (("depth", 0.2, 0.19, 0.21), ("field", 0.1, 0.09, 0.11), ("size", 0.0, -0.1, 0.1)),
            "depth buys most",
        ),
        ((("depth", 0.2, 0.1, 0.3), ("field", 0.15, 0.05, 0.25)), "depth or field buys most"),
        # the third by mean is uncertain: it may be the first
        (
            (("depth", 0.2, 0.19, 0.21), ("field", 0.1, 0.09, 0.11), ("size", 0.05, -0.2, 0.3)),
            "depth or size buys most",
        ),
        # the highest mean is uncertain, but another factor buys accuracy for certain
        ((("depth", 0.2, -0.1, 0.5), ("field", 0.1, 0.09, 0.11)), "depth or field buys most"),
        (
            (("depth", -0.2, -0.3, -0.1), ("field", -0.1, -0.3, 0.1)),
            "none of them buys accuracy for certain",
        ),
        ((("pooling", 0.2, 0.1, 0.3),), "cannot tell"),
        ((), "cannot tell"),
    ],
)
def test_verdicts_on_comparisons(
    given: tuple[tuple[str, float, float, float], ...], verdict: str
) -> None:
    assert verdict_of(compared(*given)) == verdict
    assert verdict_of(compared(*given, degrees=0)) == "cannot tell"


def test_names_of_networks() -> None:
    assert (
        receptive_field.name_of(ConvNet(6, 1, pool="none")) == "one 3×3 convolution, 6 filters → FC"
    )
    assert (
        receptive_field.name_of(ConvNet(16, 1, pool="none", head="gap", kernel=5))
        == "one 5×5 convolution, 16 filters → GAP → FC"
    )
    assert (
        receptive_field.name_of(ConvNet(6, 3, 2, head="gap", pool="none"))
        == "cascade of 6, width 6, no pooling → GAP → FC"
    )
    assert (
        receptive_field.name_of(ConvNet(6, 3, hidden=(64, 32)))
        == "cascade of 3, width 6 → 64+32 → FC"
    )
    assert receptive_field.name_of(SoftmaxRegression()) == "softmax regression"
