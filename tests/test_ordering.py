"""Flatten orders: equal logits under permuted columns, ids that stay, and a chapter whose sentences hold with whatever runs it is sent."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import driving
import numpy as np
import pytest
import torch
import vl_convert
from driving import Sent

from convscope import data, studies
from convscope.chapters import ordering
from convscope.data.dataset import Dataset, Split
from convscope.errors import UserError
from convscope.models import orders
from convscope.models.building import build
from convscope.models.convnet import ConvNetModule
from convscope.models.sizes import size_of
from convscope.planning import pilots as plans
from convscope.planning.context import Context, Fit
from convscope.recipe.json_form import to_json
from convscope.recipe.networks import ConvNet, Custom, SoftmaxRegression
from convscope.recipe.reading import recipe_from_json
from convscope.recipe.recipe import Recipe
from convscope.report.findings import Finding
from convscope.studies.driver import Driver
from convscope.studies.watcher import Watcher
from convscope.training.main_path import train
from convscope.training.runs import Run

ORDERS: tuple[Any, ...] = ("reversed", "random", "channel-last")


@pytest.fixture(autouse=True)
def _tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(
        ordering.PRESETS, "quick", ordering.Preset(ConvNet(3, 2), 1, (2e-3, 4e-3), 2, 60)
    )
    monkeypatch.setattr("convscope.chapters.ordering.analysis.STEPS", 10)
    monkeypatch.setattr("convscope.planning.epochs.MOST_EPOCHS", 1)


def context_of(path: Path, **more: Any) -> Context:
    loaded = data.load(str(path))
    base = Recipe(data=str(path), data_hash=loaded.hash, batch=8)
    return Context(loaded, "quick", (0, 1), base, ("ordering",), **more)


def drive(
    context: Context, made: Callable[[Recipe], Run], change: Sent = list
) -> tuple[Finding, list[list[str]]]:
    return driving.drive(ordering, context, made, change)


def drawn(finding: Finding) -> None:
    for chart in finding.charts:
        assert vl_convert.vegalite_to_svg(chart.spec).startswith("<svg")


# --- layers and networks


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("hidden", [(), (7,)])
def test_another_order_with_permuted_columns_gives_the_same_logits(
    order: Any, hidden: tuple[int, ...]
) -> None:
    spec, shape = ConvNet(5, 2, hidden=hidden), (3, 12, 8)
    natural, other = (
        build(replace(spec, order=name), shape, 4).double() for name in ("natural", order)
    )
    assert isinstance(natural, ConvNetModule) and isinstance(other, ConvNetModule)
    for a, b in zip(natural.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)  # the same seed, the same weights: only the order differs
    x = torch.randn(6, *shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    assert not torch.allclose(natural(x), other(x))
    columns = orders.ORDERS[order]((10, 3, 2), torch.Generator().manual_seed(0))
    assert not torch.equal(columns, torch.arange(60)) and torch.equal(
        columns.sort().values, torch.arange(60)
    )
    first = other.fc[0]
    assert isinstance(first, torch.nn.Linear)
    with torch.no_grad():
        first.weight.copy_(first.weight[:, columns])
    assert torch.allclose(natural(x), other(x), rtol=1e-12, atol=1e-14)


def test_channel_last_is_numpys_transposition() -> None:
    order = orders.ORDERS["channel-last"]((3, 4, 5), torch.Generator())
    assert (order.numpy() == np.arange(60).reshape(3, 4, 5).transpose(1, 2, 0).ravel()).all()
    assert (
        orders.ORDERS["reversed"]((3, 4, 5), torch.Generator()).numpy() == np.arange(60)[::-1]
    ).all()


def test_another_order_for_every_image_keeps_its_values_and_repeats_itself_in_evaluation() -> None:
    shuffle = orders.ShuffleEach()
    x = torch.arange(40.0).expand(9, 40)
    torch.manual_seed(0)
    first, second = shuffle.train()(x), shuffle(x)
    assert torch.equal(first.sort(1).values, x) and not torch.equal(first, second)
    assert len({tuple(row.tolist()) for row in first}) == 9
    first = shuffle.eval()(x)
    state = torch.random.get_rng_state()
    assert torch.equal(first, shuffle(x)) and torch.equal(first[:4], shuffle(x[:4]))
    assert (
        torch.equal(state, torch.random.get_rng_state())
        and len({tuple(row.tolist()) for row in first}) == 9
    )
    net = build(ConvNet(4, 1, order="per-sample"), (1, 8, 8), 3).eval()
    images = torch.randn(5, 1, 8, 8)
    assert torch.equal(net(images), net(images)) and torch.equal(net(images)[:2], net(images[:2]))


@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 6, 9)])
def test_permuted_pixels_move_together_and_come_back(shape: tuple[int, int, int]) -> None:
    layer = orders.PermutePixels(*shape[1:])
    x = torch.randn(2, *shape)
    moved = layer(x)
    for image, other in zip(x, moved, strict=True):  # the same for all images and channels
        assert torch.equal(image.flatten(1)[:, layer.order], other.flatten(1))
    back = torch.empty_like(x).flatten(2)
    back[..., layer.order] = moved.flatten(2)
    assert torch.equal(back.reshape(x.shape), x) and not torch.equal(moved, x)
    last = layer(x.to(memory_format=torch.channels_last))
    assert torch.equal(last, moved)
    plain, pixels = ConvNet(3, 1), ConvNet(3, 1, pixels="random")
    assert size_of(plain, shape, 4).parameters == size_of(pixels, shape, 4).parameters
    assert size_of(plain, shape, 4).flops == size_of(replace(plain, order="random"), shape, 4).flops
    nets = [build(spec, shape, 4) for spec in (plain, pixels)]
    assert torch.equal(nets[0](moved), nets[1](x))


def test_ids_of_recipes_have_not_changed_since_before_orders_were_known() -> None:
    """The ids that the release before `order`, `pixels` and norm "affine" (commit 94389bd) gave these recipes."""
    strong = ConvNet(16, 2, hidden=(64,), norm="batch", skip=True, block_depth=2)
    recipes = {
        "d3a0bf58b252": Recipe(),
        "b6cd7ebc0de5": Recipe(model=SoftmaxRegression(), seed=3),
        "5f3b086685e8": Recipe(
            data="shapes",
            data_hash="ab",
            model=strong,
            epochs=3,
            lr=2e-3,
            schedule="onecycle",
            optimizer="adamw",
            weight_decay=1e-2,
            flip=True,
            crop=2,
            limit=500,
        ),
        "6953d723e55d": Recipe(
            model=ConvNet(6, 1, pool="none", head="gap", activation="identity"),
            evaluate=("val",),
            precision="bfloat16",
        ),
        "b5722e1dbb44": Recipe(model=Custom("a.b:c", {"x": 1})),
    }
    for key, recipe in recipes.items():
        assert recipe.id == key
        assert recipe_from_json(json.loads(json.dumps(to_json(recipe)))) == recipe
    new = [replace(strong, order=order) for order in (*ORDERS, "per-sample")] + [
        replace(strong, pixels="random"),
        replace(strong, norm="affine"),
    ]
    assert len({Recipe(model=model).id for model in [strong, *new]}) == 7
    for model in new:
        assert recipe_from_json(json.loads(json.dumps(to_json(Recipe(model=model))))).model == model
    with pytest.raises(UserError, match="head = gap has none"):
        ConvNet(head="gap", order="reversed")


# --- the chapter, trained


def test_a_trained_chapter_with_list_there(micro: Path, tmp_path: Path) -> None:
    context = context_of(micro)
    finding, asked = drive(
        context, lambda recipe: train(recipe, tmp_path / "runs", data=context.data)
    )
    drawn(finding)
    numbers = finding.numbers
    assert (
        finding.verdict == "order does not matter"
        and "is equal under every fixed order" in finding.sentence
    )
    assert (
        numbers["largest_exact_difference"] <= ordering.EXACT
        and numbers["logits_difference"] <= 1e-12
    )
    assert set(numbers["exact"]) == set(ORDERS) and all(
        e["moved"] > 0 for e in numbers["exact"].values()
    )
    assert {t["optimizer"] for t in numbers["exact"]["random"]["trajectories"]} == {"sgd", "adam"}
    assert set(numbers["orders"]) == {*ORDERS, "per-sample", "pixels"} and numbers["seeds"] == 2
    for kind, found in numbers["orders"].items():
        low, high = found["interval"]
        assert low <= found["difference"] <= high
        assert found["difference"] == pytest.approx(found["accuracy"] - numbers["natural_accuracy"])
        assert (found["verdict"] is None) == (kind not in ORDERS)
    assert "can't be told" in finding.sentence  # 20 test images
    rates = {row["network"]: row["chosen"] for row in finding.tables[-1].rows}
    assert set(rates) == {ordering.NAMES[kind] for kind in ("natural", "per-sample", "pixels")}
    # written again, by the driver of studies: the same; without one pilot or one run: still a true finding
    again = rendered(context, tmp_path / "runs", asked)
    assert (again.sentence, again.numbers) == (finding.sentence, finding.numbers)
    for lost in (asked[0][0], asked[-1][0]):
        (tmp_path / "runs" / lost).rename(tmp_path / "runs" / f"gone-{lost}")
        driving.check(rendered(context, tmp_path / "runs", asked))
    assert rendered(context, tmp_path / "none", asked).verdict == "cannot tell"
    # the natural network's weights are gone: what is left is said
    for weights in (tmp_path / "runs").glob("*/best.safetensors"):
        weights.unlink()
    context = replace(context, measured={}, findings={})  # what was computed is kept in `measured`
    blind, _ = drive(context, lambda recipe: train(recipe, tmp_path / "runs", data=context.data))
    assert (
        "is equal under" not in blind.sentence and blind.numbers["largest_exact_difference"] is None
    )
    assert blind.verdict == "no difference found; exactness not checked"


def rendered(context: Context, root: Path, asked: list[list[str]]) -> Finding:
    driver = Driver(None, root, None, Watcher(), {"ordering": asked})
    return driver.collect(replace(context, live=False))["ordering"]


def test_grey_images_of_three_classes(grey: Path, tmp_path: Path) -> None:
    context = context_of(grey, fit=Fit(seeds=1))
    finding, _ = drive(
        replace(context, seeds=(0,)), lambda recipe: train(recipe, tmp_path, data=context.data)
    )
    assert finding.numbers["chance"] == pytest.approx(1 / 3) and finding.numbers["seeds"] == 1
    assert (
        "(1 seed)" in finding.sentence
        and "(one seed an arm: the intervals leave out" in finding.sentence
    )
    assert {finding.numbers["orders"][kind]["verdict"] for kind in ORDERS} == {"cannot tell"}


@pytest.fixture
def grey(tmp_path: Path) -> Path:
    draw = np.random.default_rng(0)
    x, labels = draw.integers(0, 256, (150, 8, 8, 1), dtype=np.uint8), np.arange(150) % 3
    np.savez(
        tmp_path / "grey.npz",
        x_train=x[:90],
        y_train=labels[:90],
        x_test=x[90:],
        y_test=labels[90:],
    )
    return tmp_path / "grey.npz"


# --- the chapter, with runs that are made up


def images(shape: tuple[int, int, int] = (3, 32, 32)) -> Dataset:
    def split(count: int) -> Split:
        return Split(torch.zeros(count, *shape, dtype=torch.uint8), torch.arange(count) % 10)

    name = "na\x1bme\nwith\x00more"
    return Dataset(
        name,
        split(90),
        split(100),
        split(10_000),
        tuple(map(str, range(10))),
        "0" * 64,
        "made",
        "none",
        (),
    )


def made_context(**more: Any) -> Context:
    return Context(
        images(),
        "quick",
        (0, 1, 2),
        Recipe(data="made", data_hash="0" * 64, batch=8),
        ("ordering",),
        **more,
    )


def runs_of(
    accuracies: dict[str, float], status: Callable[[Recipe], str] = lambda _: "finished"
) -> Callable[[Recipe], Run]:
    """Runs without weights whose test accuracy is that of their order, one hundredth of a point apart by seed."""

    def make(recipe: Recipe) -> Run:
        kind = ordering.arm_of(recipe.model) or ""
        row: dict[str, Any] = {"epoch": 1, "lr": recipe.lr, "seconds": 1.0}
        for name in recipe.evaluate:
            accuracy = accuracies.get(kind, 0.7) + 1e-4 * recipe.seed
            row |= {
                f"{name}_loss": 1.0 + recipe.lr,
                f"{name}_accuracy": accuracy,
                f"{name}_loss_sd": 1.0,
            }
        size = size_of(recipe.model, (3, 32, 32), 10)
        counts = {"filters": size.filters, "parameters": size.parameters, "flops": size.flops}
        return Run(Path("/nowhere") / recipe.id, recipe, (row,), status(recipe), counts, 1.0)

    return make


@pytest.mark.parametrize(
    ("accuracies", "verdict", "said"),
    [
        (
            {"per-sample": 0.2, "pixels": 0.5},
            "no difference found; exactness not checked",
            "3 of 3 other orders are equivalent",
        ),
        ({"reversed": 0.5}, "a difference was found", "2 of 3 other orders are equivalent"),
        ({"reversed": 0.5}, "a difference was found", ", reversed differ"),
        ({"channel-last": 0.97}, "a difference was found", ", channel-last differ"),
        (
            {"per-sample": 0.2},
            "no difference found; exactness not checked",
            "another order for every image costs 50.0 points",
        ),
        (
            {"pixels": 0.9},
            "no difference found; exactness not checked",
            "before the convolutions buys 20.0 points",
        ),
    ],
)
def test_the_sentence_says_what_the_accuracies_are(
    accuracies: dict[str, float], verdict: str, said: str
) -> None:
    finding, asked = drive(made_context(), runs_of(accuracies))
    assert (
        finding.verdict == verdict
        and said in finding.sentence
        and "na\\x1bme\\nwith\\x00more" in finding.sentence
    )
    assert len(asked[-1]) == 6 * 3 and finding.numbers["seeds"] == 3


def only(*kinds: str) -> Sent:
    return lambda runs: [
        run for run in runs if plans.is_pilot(run) or ordering.arm_of(run.recipe.model) in kinds
    ]


@pytest.mark.parametrize(
    ("sent", "verdict"),
    [
        (lambda _: [], "cannot tell"),
        (only(), "cannot tell"),
        (only("natural"), "cannot tell"),
        (only("reversed", "pixels"), "cannot tell"),
        (only("natural", "pixels"), "no difference found; exactness not checked"),
        (only("natural", "reversed"), "no difference found; exactness not checked"),
        (
            lambda runs: [run for run in runs if not plans.is_pilot(run)],
            "no difference found; exactness not checked",
        ),
        (lambda runs: runs[:1], "cannot tell"),
        (lambda runs: runs[::-1], "no difference found; exactness not checked"),
    ],
)
@pytest.mark.parametrize("live", [True, False])
def test_any_runs_may_be_missing(sent: Sent, verdict: str, live: bool) -> None:
    finding, _ = drive(made_context(live=live), runs_of({}), sent)
    assert finding.verdict == verdict
    if verdict == "cannot tell":
        assert (
            "too few of the networks were trained to the end" in finding.sentence
            and finding.numbers == {}
        )


@pytest.mark.parametrize("bad", ["failed", "diverged", "out_of_memory"])
def test_runs_that_did_not_finish_are_no_evidence(bad: str) -> None:
    finding, _ = drive(
        made_context(),
        runs_of(
            {"random": 0.1}, lambda r: bad if ordering.arm_of(r.model) == "random" else "finished"
        ),
    )
    assert "random" not in finding.numbers["orders"] and "2 of 2 other orders" in finding.sentence
    finding, _ = drive(made_context(), runs_of({}, lambda r: bad if r.seed else "finished"))
    assert (
        finding.numbers["seeds"] == 1
        and "(one seed an arm" in finding.sentence
        and "0 of 3" in finding.sentence
    )
    assert drive(made_context(), runs_of({}, lambda _: bad))[0].verdict == "cannot tell"


def test_learning_rates_come_from_validation_alone() -> None:
    def asked_with(test: float) -> list[list[str]]:
        return drive(made_context(), runs_of(dict.fromkeys(ordering.NAMES, test)))[1]

    assert asked_with(0.1) == asked_with(0.9)


def test_the_plan_has_every_arm_with_equal_parameters_and_leaves_the_flattened_map_room() -> None:
    context = made_context()
    recipes = ordering.recipes_of(context)
    sizes = {
        (size_of(r.model, (3, 32, 32), 10).parameters, r.limit, r.epochs, r.schedule)
        for r in recipes.values()
    }
    assert len(recipes) == 6 and len(sizes) == 1
    assert [ordering.arm_of(r.model) for r in recipes.values()] == list(recipes)
    assert set(studies.forecast(context)) >= {replace(r, lr=2e-3, seed=2) for r in recipes.values()}
    small = replace(context, data=images((1, 4, 5)))
    model = ordering.recipes_of(small)["natural"].model
    assert (
        isinstance(model, ConvNet) and model.depth == 1
    )  # of 1×1 maps channel last would be the natural order
    assert ordering.seeds_of(replace(context, seeds=(5,))) == (5, 0)
    assert ordering.seeds_of(replace(context, seeds=(0,), fit=Fit(seeds=1))) == (0,)
