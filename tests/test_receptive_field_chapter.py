"""The receptive field chapter: matched sizes, comparisons told from the networks, selection by validation, and sentences that hold with whatever runs it is sent."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
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
from convscope.chapters import receptive_field
from convscope.chapters.receptive_field import Comparison, matched, verdict_of
from convscope.data.dataset import Dataset, Split
from convscope.models.sizes import size_of
from convscope.planning import arms as experiment
from convscope.planning.context import Context
from convscope.planning.requests import Answer, Wait
from convscope.recipe.networks import ConvNet, Model, SoftmaxRegression
from convscope.recipe.recipe import Recipe
from convscope.report.findings import CapacityResult, Finding
from convscope.statistics.comparisons import Difference
from convscope.training.main_path import train
from convscope.training.runs import Run

SHAPE = (3, 16, 16)


@pytest.fixture(autouse=True)
def _tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    preset = receptive_field.Preset(1, (2e-3, 4e-3), (3, 7), ConvNet(3, 2, head="gap"), 60)
    monkeypatch.setitem(receptive_field.PRESETS, "quick", preset)
    monkeypatch.setattr("convscope.planning.epochs.MOST_EPOCHS", 1)


def drive(
    context: Context, made: Callable[[Recipe], Run], change: Sent = list
) -> tuple[Finding, list[list[str]]]:
    finding, asked = driving.drive(receptive_field, context, made, change)
    for row in finding.numbers.get("comparisons", []):
        assert row["low"] <= row["difference"] <= row["high"] and row["from"] != row["to"]
        if row["factor"] in ("field", "depth", "pooling"):  # at matched parameters
            most = max(row["parameters_from"], row["parameters_to"])
            assert abs(row["parameters_from"] - row["parameters_to"]) <= receptive_field.NEAR * most
    return finding, asked


def drawn(finding: Finding) -> None:
    for chart in finding.charts:
        assert vl_convert.vegalite_to_svg(chart.spec).startswith("<svg")
    for gallery in finding.galleries:
        assert all(
            picture.startswith(b"\x89PNG") and words.isprintable()
            for picture, words in gallery.items
        )


def images(shape: tuple[int, int, int] = SHAPE, classes: int = 10) -> Dataset:
    def split(count: int) -> Split:
        return Split(
            torch.zeros(1, dtype=torch.uint8).expand(count, *shape), torch.arange(count) % classes
        )

    names = tuple(map(str, range(classes)))
    return Dataset(
        "na\x1bme\nwith\x00more",
        split(90),
        split(100),
        split(10_000),
        names,
        "0" * 64,
        "made",
        "none",
        (),
    )


def made_context(seeds: int = 3, dataset: Dataset | None = None, **more: Any) -> Context:
    base = Recipe(data="made", data_hash="0" * 64, batch=8)
    return Context(
        dataset or images(),
        "quick",
        tuple(range(seeds)),
        base,
        more.pop("chapters", ("receptive_field",)),
        **more,
    )


# --- the plan


def test_the_courses_sizes_are_those_of_its_report() -> None:
    cifar = images((3, 32, 32))
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
    dataset = images()
    found = matched(model, target, dataset)
    assert replace(found, width=model.width) == model

    def off(width: int) -> int:
        return abs(size_of(replace(model, width=width), SHAPE, 10).parameters - target)

    assert all(
        off(found.width) <= off(width) for width in range(max(1, found.width - 3), found.width + 4)
    )


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 5, 9), (3, 4, 4), (1, 2, 2), (3, 64, 48)])
def test_any_images_have_a_plan(shape: tuple[int, int, int]) -> None:
    context = made_context(dataset=images(shape, 3))
    for recipe in studies.forecast(context):
        size_of(recipe.model, shape, 3)
        assert isinstance(recipe.model, ConvNet) and recipe.model.kernel <= max(3, min(shape[1:]))
    assert {r.seed for r in studies.forecast(context)} == {0, 1, 2}


# --- the chapter, trained


def context_of(path: Path, **more: Any) -> Context:
    loaded = data.load(str(path))
    return Context(
        loaded,
        "quick",
        (0, 1),
        Recipe(data=str(path), data_hash=loaded.hash, batch=8),
        ("receptive_field",),
        **more,
    )


def rendered(context: Context, root: Path, asked: list[list[str]]) -> Finding:
    return driving.check(driving.rendered("receptive_field", context, root, asked))


def test_a_trained_chapter_with_list_there(micro: Path, tmp_path: Path) -> None:
    context, root = context_of(micro), tmp_path / "runs"
    finding, asked = drive(context, lambda recipe: train(recipe, root, data=context.data))
    drawn(finding)
    arms = finding.numbers["arms"]
    for arm in arms:
        if arm["depth"] == 1:
            assert arm["theoretical_field"] == arm["kernel"]
        assert arm["effective_field"] is None or 0 < arm["effective_field"] <= 8
        assert (
            arm["depth"] > 1
            or arm["effective_field"] is None
            or arm["effective_field"] <= arm["kernel"]
        )
    # two 3×3 convolutions and two 2×2 poolings: 3, 4, 8, 10; without pooling 5
    assert {arm["theoretical_field"] for arm in arms if arm["depth"] == 2} == {10, 5}
    assert {row["factor"] for row in finding.numbers["comparisons"]} >= {
        "field",
        "depth",
        "pooling",
    }
    assert finding.numbers["seeds"] == 2 and finding.galleries[0].items
    again = rendered(context, root, asked)
    assert (again.sentence, again.numbers) == (finding.sentence, finding.numbers)
    for lost in (asked[0][0], asked[-1][0], asked[-1][3]):
        (root / lost).rename(root / f"gone-{lost}")
        rendered(context, root, asked)
    for weights in root.glob("*/best.safetensors"):
        weights.unlink()
    kept = rendered(context, root, asked)  # effective fields were computed once
    assert any(arm["effective_field"] for arm in kept.numbers["arms"])
    blind = rendered(replace(context, measured={}), root, asked)
    assert all(
        arm["effective_field"] is None and arm["theoretical_field"] for arm in blind.numbers["arms"]
    )
    assert blind.galleries == [] and blind.numbers["comparisons"]
    assert rendered(context, tmp_path / "none", asked).verdict == "cannot tell"


def test_grey_images_of_three_classes(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    x, labels = draw.integers(0, 256, (150, 8, 7, 1), dtype=np.uint8), np.arange(150) % 3
    np.savez(
        tmp_path / "grey.npz",
        x_train=x[:90],
        y_train=labels[:90],
        x_test=x[90:],
        y_test=labels[90:],
    )
    context = replace(context_of(tmp_path / "grey.npz"), seeds=(0,))
    finding, _ = drive(context, lambda recipe: train(recipe, tmp_path / "runs", data=context.data))
    assert (
        finding.verdict == "cannot tell"
        and "(one seed an arm: the intervals leave out" in finding.sentence
    )


# --- the chapter, with runs that are made up


def runs_of(
    test: Callable[[ConvNet], float],
    val: Callable[[ConvNet], float] | None = None,
    status: Callable[[Recipe], str] = lambda _: "finished",
) -> Callable[[Recipe], Run]:
    """Runs without weights: `test` is a network's accuracy on the test images (a tenth of a point apart by seed), `val` its validation loss."""

    def make(recipe: Recipe) -> Run:
        assert isinstance(recipe.model, ConvNet)
        row: dict[str, Any] = {"epoch": 1, "lr": recipe.lr, "seconds": 1.0}
        accuracy = test(recipe.model) + 1e-3 * recipe.seed
        loss = (val or (lambda model: 2 - test(model)))(recipe.model) + recipe.lr
        for name in recipe.evaluate:
            quality = 2 - accuracy if name == "test" else loss
            row |= {
                f"{name}_loss": quality,
                f"{name}_accuracy": accuracy if name == "test" else 0.5,
                f"{name}_loss_sd": 1.0,
            }
        size = size_of(recipe.model, SHAPE, 10)
        counts = {"filters": size.filters, "parameters": size.parameters, "flops": size.flops}
        return Run(Path("/nowhere") / recipe.id, recipe, (row,), status(recipe), counts, 1.0)

    return make


def deep(model: Model) -> bool:
    return isinstance(model, ConvNet) and model.depth > 1


def test_the_sentence_says_what_the_accuracies_are() -> None:
    def accuracy(model: ConvNet) -> float:
        depth = 0.3 if model.depth > 1 and model.pool == "max" else 0.1 if model.depth > 1 else 0.0
        return 0.3 + depth + 0.01 * model.kernel + (0.1 if model.head == "flatten" else 0.0)

    finding, _ = drive(made_context(), runs_of(accuracy))
    assert finding.verdict == "depth buys most" and finding.sentence.startswith(
        "On na\\x1bme\\nwith\\x00more "
    )
    assert (
        "widening its kernel at equal parameters (from 3×3 to 7×7) buys 4.0 points"
        in finding.sentence
    )
    assert (
        "a cascade in place of the best single layer of its size buys 26.0 points"
        in finding.sentence
    )
    assert "pooling between the layers of the cascade buys 20.0 points" in finding.sentence
    assert (
        "of the single layers one 7×7 convolution" in finding.sentence
        and "→ FC is best by validation" in finding.sentence
    )
    assert (
        "a cascade buys 26.0 points" in finding.brief
        and "is better than the best with GAP" in finding.paragraphs[-1]
    )
    share = re.search(r"weights of its own: (\d+) % of its parameters", finding.paragraphs[-1])
    assert share is not None and 50 < int(share[1]) <= 100

    worse, _ = drive(made_context(), runs_of(lambda model: 0.3 - 0.2 * deep(model)))
    assert (
        worse.verdict == "none of them buys accuracy for certain"
        and "costs 20.0 points" in worse.sentence
    )
    same, _ = drive(made_context(), runs_of(lambda model: 0.3, lambda model: 1.0))
    assert same.verdict == "none of them buys accuracy for certain"
    assert (
        "neither better nor worse, as far as these seeds tell, than the best with GAP"
        in same.paragraphs[-1]
    )


def test_selection_looks_at_validation_only() -> None:
    """The test figures of all networks are exchanged: what is quoted changes, what is chosen does not."""

    def val(model: ConvNet) -> float:
        return (
            1.0
            + 0.01 * model.kernel
            + 0.001 * model.width
            + (0.1 if model.head == "flatten" else 0.0)
        )

    def shuffled(seed: int) -> Callable[[ConvNet], float]:
        models = receptive_field.models_of(made_context())
        values = np.random.default_rng(seed).permutation(np.linspace(0.2, 0.8, len(models)))
        return dict(zip(models, values.tolist(), strict=True)).__getitem__

    found = [drive(made_context(), runs_of(shuffled(seed), val)) for seed in range(4)]
    for finding, asked in found[1:]:
        assert asked == found[0][1]
        assert finding.numbers["choice"]["network"] == found[0][0].numbers["choice"]["network"]
        for a, b in zip(
            finding.numbers["comparisons"], found[0][0].numbers["comparisons"], strict=True
        ):
            assert (a["factor"], a["head"], a["from"], a["to"]) == (
                b["factor"],
                b["head"],
                b["from"],
                b["to"],
            )
    assert len({finding.sentence for finding, _ in found}) == 4
    # the single layer that a cascade is compared with is the one of lowest validation loss among those of its size
    arms = {arm["network"]: arm for arm in found[0][0].numbers["arms"]}
    for row in found[0][0].numbers["comparisons"]:
        if row["factor"] == "depth":
            head = arms[row["to"]]["head"]
            equals = [
                arm
                for arm in arms.values()
                if arm["depth"] == 1
                and arm["head"] == head
                and abs(arm["parameters"] - row["parameters_to"])
                <= 0.25 * max(arm["parameters"], row["parameters_to"])
            ]
            assert row["from"] == min(equals, key=lambda arm: arm["val_loss"])["network"]


def only(keep: Callable[[ConvNet], bool]) -> Sent:
    return lambda runs: [
        r
        for r in runs
        if driving.is_pilot(r) or (isinstance(r.recipe.model, ConvNet) and keep(r.recipe.model))
    ]


@pytest.mark.parametrize(
    ("sent", "factors"),
    [
        (lambda _: [], set()),
        (only(lambda _: False), set()),
        (only(lambda m: m.depth > 1), {"pooling"}),  # no size, field or depth to speak of
        (only(lambda m: m.depth > 1 and m.pool == "none"), set()),
        (only(lambda m: m.depth == 1 and m.kernel == 7), set()),
        (
            only(lambda m: m.depth > 1 or m.kernel == 3),
            {"size", "depth", "pooling"},
        ),  # one kernel is no field
        (only(lambda m: m.depth > 1 or m.kernel == 7), {"depth", "pooling"}),
        (only(lambda m: m.head == "flatten"), {"field", "depth"}),
        (only(lambda m: m.head == "gap"), {"size", "field", "depth", "pooling"}),
        (
            lambda runs: [run for run in runs if not driving.is_pilot(run)],
            {"size", "field", "depth", "pooling"},
        ),
        (lambda runs: runs[::-1], {"size", "field", "depth", "pooling"}),
    ],
)
@pytest.mark.parametrize("live", [True, False])
def test_any_runs_may_be_missing(sent: Sent, factors: set[str], live: bool) -> None:
    finding, _ = drive(
        made_context(live=live), runs_of(lambda model: 0.3 + 0.3 * deep(model)), sent
    )
    assert {row["factor"] for row in finding.numbers.get("comparisons", [])} == factors
    assert ("too few of the networks were trained to the end" in finding.sentence) == (not factors)
    assert (finding.verdict == "cannot tell") == (not factors & {"size", "field", "depth"})


@pytest.mark.parametrize("bad", ["failed", "diverged", "out_of_memory"])
def test_runs_that_did_not_finish_are_no_evidence(bad: str) -> None:
    finding, _ = drive(
        made_context(), runs_of(lambda _: 0.5, None, lambda r: bad if deep(r.model) else "finished")
    )
    assert {row["factor"] for row in finding.numbers["comparisons"]} == {
        "size"
    } and "cascade " not in finding.brief
    finding, _ = drive(
        made_context(),
        runs_of(lambda m: 0.3 + 0.3 * deep(m), None, lambda r: bad if r.seed else "finished"),
    )
    assert (
        finding.verdict == "cannot tell"
        and finding.numbers["seeds"] == 1
        and "(one seed an arm" in finding.sentence
    )
    assert drive(made_context(), runs_of(lambda _: 0.5, None, lambda _: bad))[0].numbers == {}


def test_the_studys_own_network_is_set_beside_a_single_layer_of_its_size() -> None:
    context = made_context(chapters=("capacity", "receptive_field"))
    chapter = receptive_field.chapter(replace(context, needs=receptive_field.NEEDS))
    assert next(chapter) == Wait(needs=("capacity",))
    model = ConvNet(12, 1, 2, norm="batch")  # one block of two convolutions: no single layer
    run = runs_of(lambda _: 0.99)(replace(context.base, model=model))
    context.given["capacity"] = CapacityResult(model, (run,))
    (request,) = chapter.send(Answer())
    assert model in {recipe.model for recipe in request.recipes}
    finding, _ = drive(
        context, runs_of(lambda m: 0.9 if m == model else 0.3, lambda m: 0.1 if m == model else 1.0)
    )
    assert finding.numbers["choice"]["network"].startswith(
        "one "
    )  # it is no single layer, and not chosen as one
    arm = next(
        arm
        for arm in finding.numbers["arms"]
        if arm["network"].startswith("cascade of 2, width 12")
    )
    assert arm["test_accuracy"] == pytest.approx(0.901)
    other = replace(model, depth=2, block_depth=1, norm="none")
    context.given["capacity"] = CapacityResult(other, (run,))
    finding, _ = drive(context, runs_of(lambda m: 0.9 if m == other else 0.3))
    beside = [
        row
        for row in finding.numbers["comparisons"]
        if row["to"].startswith("cascade of 2, width 12 ")
    ]
    assert [row["factor"] for row in beside] == ["depth"] and beside[0][
        "difference"
    ] == pytest.approx(0.6)


# --- verdicts on made-up comparisons


def compared(*given: tuple[str, float, float, float], degrees: int = 4) -> Sequence[Comparison]:
    context = made_context()
    runs = [
        runs_of(lambda _: 0.5)(replace(context.base, model=ConvNet(w, 1, pool="none")))
        for w in (2, 3)
    ]
    a, b = experiment.arms_of(context, runs).values()
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
        receptive_field.name_of(ConvNet(6, 3, 2, head="gap", pool="none"))
        == "cascade of 6, width 6, no pooling → GAP → FC"
    )
    assert (
        receptive_field.name_of(ConvNet(6, 3, hidden=(64, 32)))
        == "cascade of 3, width 6 → 64+32 → FC"
    )
    assert receptive_field.name_of(SoftmaxRegression()) == "softmax regression"
