"""The receptive field chapter: matched sizes, comparisons, selection by validation, texts.

Its sentences hold with whatever runs it is sent.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import driving
import made
import numpy as np
import pytest
from driving import Sent

from convscope import data
from convscope.chapters import receptive_field
from convscope.planning.context import Context
from convscope.planning.requests import Answer, Wait
from convscope.recipe.networks import ConvNet, Model
from convscope.recipe.recipe import Recipe
from convscope.report.findings import CapacityResult, Finding
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
    driving.check_lengths(finding)
    for row in finding.numbers.get("comparisons", []):
        assert row["low"] <= row["difference"] <= row["high"] and row["from"] != row["to"]
        if row["factor"] in ("field", "depth", "pooling"):  # at matched parameters
            most = max(row["parameters_from"], row["parameters_to"])
            assert abs(row["parameters_from"] - row["parameters_to"]) <= receptive_field.NEAR * most
    return finding, asked


def made_context(seeds: int = 3, **more: Any) -> Context:
    return made.context("receptive_field", made.images(SHAPE), seeds, **more)


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
    driving.drawn(finding)
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
        and "With one seed per network the intervals leave out" in finding.sentence
    )


# --- the chapter, with runs that are made up


def runs_of(
    test: Callable[[ConvNet], float],
    val: Callable[[ConvNet], float] | None = None,
    status: Callable[[Recipe], str] = lambda _: "finished",
) -> Callable[[Recipe], Run]:
    """Runs without weights.

    `test` is a network's accuracy on the test images (a tenth of a point apart by seed), `val` its
    validation loss.
    """

    def make(recipe: Recipe) -> Run:
        assert isinstance(recipe.model, ConvNet)
        accuracy = test(recipe.model) + 1e-3 * recipe.seed
        loss = (val or (lambda model: 2 - test(model)))(recipe.model) + recipe.lr
        other = (loss, 0.5)
        values = {"train": other, "val": other, "test": (2 - accuracy, accuracy)}
        return made.run(recipe, SHAPE, values, status(recipe))

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
        "Widening its kernel at matched parameters from 3×3 to 7×7 buys 4.0 points"
        in finding.sentence
    )
    assert (
        "A cascade in place of the best single layer of its size buys 26.0 points"
        in finding.sentence
    )
    assert "Pooling between the layers of the cascade buys 20.0 points" in finding.sentence
    assert (
        "Of the single layers one 7×7 convolution" in finding.sentence
        and "→ FC is best by validation" in finding.sentence
    )
    assert (
        "a cascade buys 26.0 points" in finding.brief
        and "The one with FC is better than the one with GAP:" in finding.paragraphs[-1]
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
        "As far as these seeds tell, neither is better than the other: the difference is 0.0 points"
        in same.paragraphs[-1]
    )


def test_selection_looks_at_validation_only() -> None:
    """Test figures are exchanged among networks: what is quoted changes, not what is chosen."""

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
    # a cascade is compared with the single layer of lowest validation loss among those of its size
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
        and "With one seed per network" in finding.sentence
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
