"""The receptive field chapter: trained for real, and its words with whatever runs it is sent."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import driving
import made
import numpy as np
import pytest
import torch
from driving import Sent

from convscope import data
from convscope.chapters import receptive_field
from convscope.chapters.receptive_field.arms import is_single, sees_means
from convscope.chapters.receptive_field.fields import effective, untrained
from convscope.chapters.receptive_field.plan import FALLBACK
from convscope.errors import UserError
from convscope.models.building import build
from convscope.planning.context import Context
from convscope.planning.epochs import shallower
from convscope.planning.requests import Answer, Give, Request, Wait
from convscope.recipe.networks import ConvNet
from convscope.recipe.recipe import Recipe
from convscope.report.findings import CapacityResult, Finding
from convscope.statistics.replication import replication
from convscope.training.main_path import train
from convscope.training.runs import Run
from convscope.training.trained import network

SHAPE = (3, 16, 16)
FACTORS = {"field", "filters", "depth", "pooling", "head"}


@pytest.fixture(autouse=True)
def _tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    preset = receptive_field.Preset(1, (2e-3, 4e-3), (1, 2), ConvNet(5, 2, head="gap"), 60)
    monkeypatch.setitem(receptive_field.PRESETS, "quick", preset)
    monkeypatch.setattr("convscope.planning.epochs.MOST_EPOCHS", 1)


def drive(
    context: Context, made: Callable[[Recipe], Run], change: Sent = list
) -> tuple[Finding, list[list[str]]]:
    finding, asked = driving.drive(receptive_field, context, made, change)
    for row in finding.numbers.get("comparisons", []):
        assert row["low"] <= row["difference"] <= row["high"] and row["from"] != row["to"]
        assert row["factor"] != "field" or not row["confounded"]
        assert row["word"] in ("better", "worse", "equivalent", "cannot tell")
        if row["factor"] in ("field", "pooling"):
            assert row["parameters_from"] == row["parameters_to"]
    assert not re.search(r"buys|costs", " ".join(finding.texts()))
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


@pytest.fixture
def _one_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("convscope.planning.pilots.MOST_EXTENSIONS", 0)
    preset = replace(receptive_field.PRESETS["quick"], rates=(4e-3,))
    monkeypatch.setitem(receptive_field.PRESETS, "quick", preset)
    few = functools.partial(replication, draws=10)  # how sure words are is not tested here
    for module in ("statistics", "chapters.receptive_field"):
        monkeypatch.setattr(f"convscope.{module}.comparisons.replication", few)


@pytest.mark.usefixtures("_one_rate")
@pytest.mark.slow
def test_a_trained_chapter_with_list_there(
    micro: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context, root = context_of(micro), tmp_path / "runs"
    finding, asked = drive(context, lambda recipe: train(recipe, root, data=context.data))
    driving.drawn(finding)
    arms = finding.numbers["arms"]
    for arm in arms:
        if arm["depth"] == 1:
            assert arm["theoretical_field"] == 2 * arm["dilations"][0] + 1
            assert arm["effective_field"] is None
    # two 3×3 convolutions: 5; with dilations 1 and 3: 9; with two 2×2 poolings 3, 4, 8, 10
    assert {arm["theoretical_field"] for arm in arms if arm["depth"] == 2} == {5, 9, 10}
    for arm in arms:
        if arm["depth"] == 2:
            for side in (arm["effective_field"], arm["effective_field_untrained"]):
                assert 0 < side <= min(8, arm["theoretical_field"])
            assert len(arm["effective_field_change"]) == 3
    assert {row["factor"] for row in finding.numbers["comparisons"]} == FACTORS
    assert finding.numbers["seeds"] == 2 and finding.galleries[0].items
    assert [chart.name for chart in finding.charts] == ["effects", "accuracy_field", "sides"]
    again = rendered(context, root, asked)
    assert (again.sentence, again.numbers) == (finding.sentence, finding.numbers)
    for lost in (asked[0][0], asked[1][0], asked[-1][0]):
        (root / lost).rename(root / f"gone-{lost}")

    def unreadable(*_: object, **__: object) -> None:
        raise UserError("weights that cannot be read")

    # what was computed once stays, and what was not is left out
    some = {key: value for i, (key, value) in enumerate(context.measured.items()) if i % 2}
    monkeypatch.setattr("convscope.chapters.receptive_field.fields.network", unreadable)
    blind = rendered(replace(context, measured=some), root, asked)
    known = [arm for arm in blind.numbers["arms"] if arm["effective_field"]]
    assert known and all(arm["depth"] > 1 for arm in known) and blind.numbers["comparisons"]
    assert "effective field of run" in " ".join(blind.missing)
    assert rendered(context, tmp_path / "none", asked).verdict == "cannot tell"


@pytest.mark.usefixtures("_one_rate")
@pytest.mark.slow
def test_grey_images_of_three_classes_and_one_seed(tmp_path: Path) -> None:
    context = replace(context_of(made.grey_file(tmp_path / "grey.npz", 7)), seeds=(0,))
    finding, _ = drive(context, lambda recipe: train(recipe, tmp_path / "runs", data=context.data))
    assert finding.verdict == "cannot tell"
    assert "With one seed per network the intervals leave out" in finding.sentence
    assert {row["word"] for row in finding.numbers["comparisons"]} == {"cannot tell"}


def test_effective_fields_before_training_are_those_of_the_same_seed(
    micro: Path, tmp_path: Path
) -> None:
    context = context_of(micro)
    model = ConvNet(4, 1, 2, norm="batch", stem="whiten", head="gap")
    recipe = replace(context.base, model=model, seed=5, epochs=1)
    run = train(recipe, tmp_path, data=context.data)
    trained = network(run, data=context.data)
    fresh = untrained(run, trained, context.data).state_dict()
    begun = build(model, context.data.in_shape, context.data.num_classes, 5).state_dict()
    for name, value in fresh.items():
        if name.startswith("stem."):  # it is made from the images, and stays
            assert torch.equal(value, trained.state_dict()[name])
        else:
            assert torch.equal(value, begun[name])
    found = effective(run, context.data)
    assert found is not None and found["trained"] != found["untrained"]
    assert len(found["trained"]) == 4 and found["after"] != found["before"]


# --- the chapter, with runs that are made up


def runs_of(
    test: Callable[[ConvNet], float],
    val: Callable[[ConvNet], float] | None = None,
    status: Callable[[Recipe], str] = lambda _: "finished",
    learns: Callable[[ConvNet], bool] = lambda _: True,
) -> Callable[[Recipe], Run]:
    """Runs without weights.

    `test` is a network's accuracy on the test images (a tenth of a point apart by seed), `val` its
    validation loss. What does not learn has a validation accuracy of chance.
    """

    def make(recipe: Recipe) -> Run:
        assert isinstance(recipe.model, ConvNet)
        accuracy = test(recipe.model) + 1e-3 * recipe.seed
        loss = (val or (lambda model: 2 - test(model)))(recipe.model) + recipe.lr
        other = (loss, 0.5 if learns(recipe.model) else 0.1)
        values = {"train": other, "val": other, "test": (2 - accuracy, accuracy)}
        return made.run(recipe, SHAPE, values, status(recipe))

    return make


NET = shallower(FALLBACK, SHAPE)


def steps(model: ConvNet) -> float:
    """Depth gains 10 points and pooling 5, a larger field of one convolution with FC 4."""
    if model == NET:
        return 0.7
    field = 0.04 if model.head == "flatten" and model.dilations else 0.0
    depth = 0.1 if model.depth > 1 else 0.0
    return 0.3 + field + depth + (0.05 if model.depth > 1 and model.pool == "max" else 0.0)


def test_no_with_the_reasons() -> None:
    finding, _ = drive(made_context(), runs_of(steps))
    assert finding.verdict == "no"
    told = re.split(r"(?<=\.) (?=[A-Z])", finding.sentence)
    place = next(i for i, text in enumerate(told) if text.startswith("Choose "))
    first, figures, *why = told[:place]
    choice, *rest = told[place:]
    assert first == (
        "No: on na\\x1bme\\nwith\\x00more one convolution does not do better than "
        "the chosen network."
    )
    assert figures.startswith(
        "Trained alike, that network (cascade of 3, width 16 → FC) reaches 70.1"
    )
    assert "36.0 points" in figures and figures.endswith("below it.")
    assert why[0].startswith("Why: of the training and the test images a single layer with FC gets")
    assert (
        "Changed one at a time from a single layer towards a cascade, depth and pooling raise"
        in (" ".join(why))
    )
    assert why[-1].startswith("These changes lead to a cascade of ")
    assert choice.startswith("Choose FC: of two single layers at matched parameters (")
    assert "filters → means of" in choice and "filters → GAP → FC" in choice
    assert choice.endswith("they are equivalent within ± 2 points.")
    field, same = rest
    assert "a field of 5 instead of 3 pixels raises test accuracy by" in field
    assert ", with FC, a field" in field
    assert same.startswith("With GAP → FC it leaves test accuracy equivalent within ± 2 points: 0.")
    (net,) = [one for one in finding.paragraphs if one.startswith("The chosen network. ")]
    assert "this chapter's own" in net and "it reaches 70.1 %" in net
    assert finding.brief.startswith("one convolution does worse than the chosen network")
    assert finding.numbers["question_1"]["every_single_layer_worse"]
    assert finding.numbers["head_choice"]["by"] == "cost"


def test_yes_and_no_better_and_cannot_tell() -> None:
    better, _ = drive(made_context(), runs_of(lambda m: 0.6 if is_single(m) else 0.3))
    assert better.verdict == "yes" and better.sentence.startswith("Yes: on ")
    assert "this layer is 30.0 points" in better.sentence and "above it" in better.sentence
    assert "depth lowers accuracy" in better.sentence
    same, _ = drive(made_context(), runs_of(lambda _: 0.3, lambda _: 1.0))
    assert same.verdict == "no"
    assert "no single layer is better by more than 2 points" in same.sentence
    assert (
        "No change of one thing alone, from a single layer towards a cascade, shows"
        in same.sentence
    )
    near, _ = drive(made_context(), runs_of(lambda m: 0.317 if is_single(m) else 0.3))
    assert near.verdict == "cannot tell" and "differs from it by 1.7 points" in near.sentence
    assert near.brief == "whether one convolution does better than a cascade cannot be told"


def test_the_head_is_chosen_by_accuracy_where_the_test_tells() -> None:
    def accuracy(model: ConvNet) -> float:
        return 0.5 if sees_means(model) else 0.7 if model == NET else 0.3

    better, _ = drive(made_context(), runs_of(accuracy))
    assert re.search(
        r"Choose FC: .* FC is better than \d+ filters → GAP → FC by 20\.0 p", better.sentence
    )
    worse, _ = drive(made_context(), runs_of(lambda m: 0.2 if sees_means(m) else accuracy(m)))
    assert re.search(
        r"Choose GAP: .* GAP → FC is better than \d+ filters → means .* by 10\.0 p", worse.sentence
    )
    assert "about as many" not in worse.sentence
    parameters = worse.numbers["head_choice"]["parameters"]
    assert abs(parameters[0] - parameters[1]) <= receptive_field.NEAR * max(parameters)


def test_networks_that_did_not_learn_are_no_evidence() -> None:
    finding, _ = drive(made_context(), runs_of(steps, learns=lambda m: m != NET))
    assert finding.verdict == "cannot tell" and "did not learn" in finding.sentence
    finding, _ = drive(made_context(), runs_of(steps, learns=lambda m: not is_single(m)))
    assert finding.verdict == "cannot tell" and "did not learn" in finding.sentence
    words = {row["factor"]: row["word"] for row in finding.numbers["comparisons"]}
    assert words["filters"] == words["head"] == words["depth"] == "cannot tell"
    assert words["pooling"] == "better"
    assert any(text.startswith("Not learned. ") for text in finding.paragraphs)


def test_selection_looks_at_validation_only() -> None:
    """Test figures are exchanged among networks: what is quoted changes, not what is chosen."""

    def val(model: ConvNet) -> float:
        return 1.0 + 0.001 * model.width + (0.1 if model.head == "flatten" else 0.0)

    def shuffled(seed: int) -> Callable[[ConvNet], float]:
        models = [*receptive_field.planned_arms(made_context()).models, NET]
        values = np.random.default_rng(seed).permutation(np.linspace(0.2, 0.6, len(models)))
        return {**dict(zip(models, values.tolist(), strict=True)), NET: 0.7}.__getitem__

    found = [drive(made_context(), runs_of(shuffled(seed), val)) for seed in range(3)]
    for finding, asked in found[1:]:
        assert asked == found[0][1]
        for key, name in (("choice", "network"), ("question_1", "single_layer")):
            assert finding.numbers[key][name] == found[0][0].numbers[key][name]
        for a, b in zip(
            finding.numbers["comparisons"], found[0][0].numbers["comparisons"], strict=True
        ):
            assert (a["factor"], a["from"], a["to"]) == (b["factor"], b["from"], b["to"])
    assert len({finding.sentence for finding, _ in found}) == 3


def only(keep: Callable[[ConvNet], bool]) -> Sent:
    return lambda runs: [
        r
        for r in runs
        if driving.is_pilot(r) or (isinstance(r.recipe.model, ConvNet) and keep(r.recipe.model))
    ]


@pytest.mark.parametrize(
    ("sent", "factors", "answer"),
    [
        (lambda _: [], set(), "cannot tell"),
        (only(lambda _: False), set(), "cannot tell"),
        (only(lambda m: m == NET), set(), "cannot tell"),
        (only(lambda m: m.depth > 1), {"field", "pooling"}, "cannot tell"),
        (only(is_single), {"field", "filters", "head"}, "cannot tell"),
        (only(lambda m: m.head == "gap"), FACTORS - {"head"}, "cannot tell"),
        (only(lambda m: m.head == "flatten"), {"field", "filters"}, "no"),
        (only(lambda m: not m.dilations), {"filters", "head"}, "no"),
        (lambda runs: [run for run in runs if not driving.is_pilot(run)], FACTORS, "no"),
        (lambda runs: runs[::-1], FACTORS, "no"),
    ],
)
@pytest.mark.parametrize("live", [True, False])
def test_any_runs_may_be_missing(sent: Sent, factors: set[str], answer: str, live: bool) -> None:
    finding, _ = drive(made_context(live=live), runs_of(steps), sent)
    assert {row["factor"] for row in finding.numbers.get("comparisons", [])} == factors
    assert finding.verdict == answer


@pytest.mark.parametrize("bad", ["failed", "diverged", "out_of_memory"])
def test_runs_that_did_not_finish_are_no_evidence(bad: str) -> None:
    finding, _ = drive(
        made_context(), runs_of(steps, None, lambda r: bad if r.model == NET else "finished")
    )
    assert finding.verdict == "cannot tell"
    assert "That network was not trained to the end" in finding.sentence
    finding, _ = drive(
        made_context(), runs_of(steps, None, lambda r: bad if r.seed else "finished")
    )
    assert finding.verdict == "cannot tell" and finding.numbers["seeds"] == 1
    assert "There are too few seeds to know" in finding.sentence
    assert drive(made_context(), runs_of(lambda _: 0.5, None, lambda _: bad))[0].numbers == {}


def test_the_network_of_question_1_is_trained_like_the_single_layers() -> None:
    context = made_context(chapters=("capacity", "receptive_field"))
    chapter = receptive_field.chapter(replace(context, needs=receptive_field.NEEDS))
    asked: list[Request] = []
    make = runs_of(steps)
    step = next(chapter)
    while not isinstance(step, Wait | Give):  # single layers do not wait for other chapters
        asked += step
        answer = {part.role: [make(recipe) for recipe in part.recipes] for part in step}
        step = chapter.send(Answer(answer))
    assert step == Wait(needs=("capacity", "best"))
    model = ConvNet(12, 1, 2, norm="batch")  # one block of two convolutions: no single layer
    run = make(replace(context.base, model=model))
    context.given["capacity"] = CapacityResult(model, (run,))
    finding, _ = drive(context, runs_of(lambda m: 0.9 if m == model else steps(m)))
    assert finding.verdict == "no"
    assert "the smallest as good as the capacity sweep's best" in " ".join(finding.paragraphs)
    assert finding.numbers["choice"]["network"].startswith("one ")
    arm = next(a for a in finding.numbers["arms"] if a["network"].startswith("width 12"))
    assert arm["test_accuracy"] == pytest.approx(0.901)
    (finals,) = [request for request in asked if request.role == "final"]
    alike = {(r.epochs, r.limit, r.schedule, r.optimizer, r.batch) for r in finals.recipes}
    assert len(alike) == 1
