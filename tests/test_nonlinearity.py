"""The nonlinearity chapter: a factorial of equal parameters, linear networks that collapse, texts.

Its sentences hold with whatever runs it is sent.
"""

from __future__ import annotations

import functools
import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import driving
import made
import numpy as np
import pytest
import torch
from made import SMALL

from convscope import data
from convscope.chapters import nonlinearity
from convscope.chapters.nonlinearity import (
    ACTIVATION,
    NORMALISATION,
    POOLING,
    kinds_of,
    removed_from,
    split,
    without,
)
from convscope.data import shapes
from convscope.models import layers
from convscope.models.building import build
from convscope.models.sizes import size_of
from convscope.planning.context import Context
from convscope.probes import probe
from convscope.recipe.networks import ConvNet, SoftmaxRegression
from convscope.recipe.recipe import Recipe
from convscope.report.findings import Finding
from convscope.training.main_path import train

# how sure words are is not tested here
pytestmark = pytest.mark.usefixtures("few_draws", "small_nonlinearity")

NORMED = ConvNet(4, 2, 2, norm="batch", skip=True)

drive = functools.partial(driving.drive, nonlinearity)


# --- layers, and what is replaced by what


GROUPED = ConvNet(4, 3, norm="group", activation="gelu", kernel=5, head="gap")
COLOUR, GREY = (3, 8, 8), (1, 9, 8)


@pytest.mark.parametrize(
    ("base", "shape"),
    [
        (SMALL, GREY),
        (NORMED, COLOUR),
        pytest.param(GROUPED, COLOUR, marks=pytest.mark.slow),
        pytest.param(SMALL, COLOUR, marks=pytest.mark.slow),
        pytest.param(NORMED, GREY, marks=pytest.mark.slow),
        pytest.param(GROUPED, GREY, marks=pytest.mark.slow),
    ],
)
def test_every_arm_of_the_factorial_has_the_same_parameters(
    base: ConvNet, shape: tuple[int, int, int]
) -> None:
    kinds = kinds_of(base)
    arms = [m for m in nonlinearity.arms_of(base, ()) if isinstance(m, ConvNet)]
    assert arms[0] == base and len(set(arms)) == 2 ** len(kinds)
    assert len({size_of(model, shape, 3).parameters for model in arms}) == 1
    for chosen in itertools.chain.from_iterable(
        itertools.combinations(kinds, n) for n in range(len(kinds) + 1)
    ):
        model = without(base, chosen)
        assert removed_from(base, model) == chosen and set(kinds_of(model)) == set(kinds) - set(
            chosen
        )
        measured = nonlinearity.measured_parts(model, made.images(shape))
        found = {
            nonlinearity.KINDS.get(part.kind, part.kind) for part in measured if not part.affine
        }
        assert found == set(
            kinds_of(model)
        )  # what a recipe can take out is what is measured to be nonlinear
    linear = build(without(base, kinds), shape, 3)
    assert probe(linear, shape).linearity in ("linear", "affine")


def test_kinds_are_those_that_can_be_taken_out() -> None:
    assert kinds_of(SMALL) == (ACTIVATION, POOLING) and kinds_of(NORMED) == (
        ACTIVATION,
        POOLING,
        NORMALISATION,
    )
    assert kinds_of(ConvNet(pool="avg", norm="affine", activation="identity")) == ()
    assert (
        kinds_of(ConvNet(pool="stride"))
        == (ACTIVATION,)
        == kinds_of(ConvNet(2, 2, pool_sizes=(1, 1)))
    )
    assert without(SMALL, ()) == SMALL


def test_affine_in_place_of_normalisation() -> None:
    for shape in ((3, 8, 8), (1, 4, 6)):
        batch, affine = (
            size_of(replace(NORMED, norm=norm), shape, 3).parameters for norm in ("batch", "affine")
        )
        assert batch == affine > size_of(replace(NORMED, norm="none"), shape, 3).parameters
    layer = layers.ChannelAffine(3)
    x = torch.randn(2, 3, 4, 5)
    assert torch.equal(layer(x), x)
    torch.nn.init.normal_(layer.weight)
    torch.nn.init.normal_(layer.bias)
    expected = torch.nn.functional.batch_norm(
        x, torch.zeros(3), torch.ones(3), layer.weight, layer.bias, eps=0.0
    )
    assert torch.allclose(layer(x), expected, atol=1e-6)
    assert probe(layer, (3, 8, 8)).linearity == "affine"


def test_networks_are_told_apart_by_what_they_are() -> None:
    enlarged = replace(without(SMALL, kinds_of(SMALL)), width=6)
    arms = nonlinearity.arms_of(SMALL, (2,))
    assert split(arms) == {SMALL: [m for m in arms if isinstance(m, ConvNet)]} and enlarged in arms
    assert split(reversed(arms)).keys() == {SMALL}
    # two ablated networks that differ only in width and normalisation are two, in the order given
    other = ConvNet(6, 2, hidden=(6,), norm="batch")
    for first, second in ((SMALL, other), (other, SMALL)):
        found = split([*nonlinearity.arms_of(first, (2,)), *nonlinearity.arms_of(second, (2,))])
        assert list(found) == [first, second]
        for base in (first, second):
            assert set(found[base]) == {
                m for m in nonlinearity.arms_of(base, (2,)) if isinstance(m, ConvNet)
            }
    assert split([]) == {} == split([SoftmaxRegression()])


# --- the chapter, trained


def context_of(path: Path, **more: Any) -> Context:
    loaded = data.load(str(path))
    base = Recipe(data=str(path), data_hash=loaded.hash, batch=8)
    return Context(loaded, "quick", (0, 1), base, ("nonlinearity",), **more)


def rendered(context: Context, root: Path, asked: list[list[str]]) -> Finding:
    return driving.check(driving.rendered("nonlinearity", context, root, asked))


@pytest.mark.slow
def test_a_trained_chapter_with_list_there(micro: Path, tmp_path: Path) -> None:
    context, root = context_of(micro), tmp_path / "runs"
    finding, asked = drive(context, lambda recipe: train(recipe, root, data=context.data))
    driving.drawn(finding)
    numbers = finding.numbers
    nonlinear = [part["kind"] for part in numbers["components"] if not part["affine"]]
    assert sorted(nonlinear) == [ACTIVATION] * 3 + [POOLING] * 2
    assert set(numbers["collapses"]) <= set(asked[-1]) and len(numbers["collapses"]) == 4
    for found in numbers["collapses"].values():
        assert (
            found["max_error"] < 1e-12
            and found["agreement"] == 1.0
            and found["images"] == len(context.data.test)
        )
        assert 1 <= found["rank"] <= 10
    assert numbers["collapse_max_error"] < 1e-12 and numbers["collapse_agreement"] == 1.0
    low, high = numbers["drop_interval"]
    assert low <= numbers["drop"] <= high
    assert numbers["drop"] == pytest.approx(numbers["full_accuracy"] - numbers["linear_accuracy"])
    assert (
        set(numbers["drops_alone"]) == {ACTIVATION, POOLING}
        and len(numbers["against_softmax"]) == 2
    )
    assert (
        finding.verdict == "did not learn"
        and numbers["size_helps"] == "cannot tell"
        and "is not shown to beat the most frequent class: it did not learn" in finding.sentence
    )  # 20 test images
    tables = {table.name: table for table in finding.tables}
    assert set(tables) == {"parts", "effects", "arms", "collapse", "learning_rates"}
    assert not any(row["kind"] == "Identity" for row in tables["parts"].rows)
    optimum, losses = numbers["softmax_regression_optimum"], numbers["training_losses"]
    assert optimum["images"] == len(context.data.train) and optimum["lower"] <= optimum["loss"]
    assert min(losses.values()) >= optimum["lower"] and len(losses) == 4
    taken = [row["removed"] for row in tables["arms"].rows]
    assert taken == [
        "nothing",
        "activation",
        "max pooling",
        "activation and max pooling",
        "activation and max pooling, 2 × the width",
        "one affine layer",
    ]
    assert [g.name for g in finding.galleries] == ["linear_templates", "softmax_templates"]
    check_what_is_lost(context, root, asked, finding)


def check_what_is_lost(
    context: Context, root: Path, asked: list[list[str]], finding: Finding
) -> None:
    """Written again from what is left on disk."""
    again = rendered(context, root, asked)
    assert (again.sentence, again.numbers) == (finding.sentence, finding.numbers)
    for lost in (asked[0][0], asked[-1][0], asked[-1][6]):
        (root / lost).rename(root / f"gone-{lost}")
        rendered(context, root, asked)
    for weights in root.glob("*/best.safetensors"):
        weights.unlink()
    # what does not agree with its hash is set aside: runs without weights are no evidence
    bare = rendered(context, root, asked)
    assert (bare.verdict, bare.numbers, bare.galleries) == ("cannot tell", {}, [])
    assert "was not trained to the end" in bare.sentence
    assert rendered(context, root / "none", asked).verdict == "cannot tell"


@pytest.fixture
def few_shapes(tmp_path: Path) -> Path:
    (x, y), (x_test, y_test) = shapes.generate(300), shapes.generate(60, split=1)
    path = tmp_path / "few-shapes.npz"
    np.savez(path, x_train=x, y_train=y, x_test=x_test, y_test=y_test)
    return path


@pytest.mark.slow
def test_a_factorial_on_shapes(
    few_shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Effects are those of the arms' accuracies; collapses are checked on as many images as set."""
    context, most = context_of(few_shapes), 20
    monkeypatch.setitem(
        nonlinearity.PRESETS, "quick", replace(nonlinearity.PRESETS["quick"], checked=most)
    )
    finding, _ = drive(context, lambda recipe: train(recipe, tmp_path / "runs", data=context.data))
    numbers = finding.numbers
    assert {found["images"] for found in numbers["collapses"].values()} == {most}
    (table,) = [table for table in finding.tables if table.name == "collapse"]
    assert f"on {most:,} test images" in table.caption
    both, pooling, relu, neither, larger, _ = (arm["test_accuracy"] for arm in numbers["arms"])
    effects = {kind: found["difference"] for kind, found in numbers["main_effects"].items()}
    assert effects[ACTIVATION] == pytest.approx((both - pooling + relu - neither) / 2)
    assert effects[POOLING] == pytest.approx((both - relu + pooling - neither) / 2)
    interaction = numbers["interaction"]
    assert interaction["difference"] == pytest.approx(both - relu - pooling + neither)
    low, high = interaction["interval"]
    assert low <= interaction["difference"] <= high and interaction["se"] > 0
    assert numbers["sizes"]["2"]["difference"] == pytest.approx(larger - neither)
    optimum, losses = numbers["softmax_regression_optimum"], numbers["training_losses"]
    assert optimum["lower"] <= optimum["loss"] and min(losses.values()) >= optimum["lower"]
    assert any(text.startswith("Bound.") for text in finding.paragraphs)


@pytest.mark.slow
def test_grey_images_of_three_classes(tmp_path: Path) -> None:
    names = np.array(["a\x1b[31mb", "c" * 300, "ü\n"])
    grey = made.grey_file(tmp_path / "grey.npz", 7, classes=names)
    context = replace(context_of(grey), seeds=(0,))
    finding, _ = drive(context, lambda recipe: train(recipe, tmp_path / "runs", data=context.data))
    assert all(found["rank"] <= 3 for found in finding.numbers["collapses"].values())
    assert (
        finding.verdict == "did not learn"
        and "is not shown to beat the most frequent class" in finding.sentence
    )
    assert any("a W of 3 × 56," in text for text in finding.paragraphs)
    assert [len(g.items) for g in finding.galleries] == [3, 3]
