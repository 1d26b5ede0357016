"""The nonlinearity chapter's verdicts and sentences hold with whatever runs it is sent."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import driving
import made
import numpy as np
import pytest
from driving import Sent
from made import SMALL

from convscope import studies
from convscope.chapters import nonlinearity
from convscope.chapters.nonlinearity import ACTIVATION, POOLING, kinds_of, removed_from, without
from convscope.planning.context import BudgetFit, Context
from convscope.planning.requests import Answer, Give, Wait
from convscope.recipe.networks import ConvNet, Model
from convscope.recipe.recipe import Recipe
from convscope.report.findings import BestResult, CapacityResult
from convscope.training.runs import Run

# how sure words are is not tested here
pytestmark = pytest.mark.usefixtures("few_draws", "small_nonlinearity")

SHAPE = (3, 8, 8)

drive = functools.partial(driving.drive, nonlinearity)


def made_context(seeds: int = 3, **more: Any) -> Context:
    return made.context("nonlinearity", made.images(SHAPE), seeds, **more)


def kind(model: Model) -> str:
    """Which arm: full, activation (without it), max pooling, linear, enlarged, softmax."""
    if not isinstance(model, ConvNet):
        return "softmax"
    gone = removed_from(SMALL, model)
    return (
        "enlarged"
        if model.width > 3
        else "full"
        if not gone
        else gone[0]
        if len(gone) == 1
        else "linear"
    )


USUAL = {
    "full": 0.75,
    ACTIVATION: 0.73,
    POOLING: 0.70,
    "linear": 0.412,
    "enlarged": 0.413,
    "softmax": 0.41,
}


def runs_of(
    accuracies: dict[str, float], status: Callable[[Recipe], str] = lambda _: "finished"
) -> Callable[[Recipe], Run]:
    """Runs without weights; seeds a tenth of a point apart."""

    def make(recipe: Recipe) -> Run:
        accuracy = {**USUAL, **accuracies}[kind(recipe.model)] + 1e-3 * recipe.seed
        values = dict.fromkeys(recipe.evaluate, (1.0 + recipe.lr, accuracy))
        return made.run(recipe, SHAPE, values, status(recipe))

    return make


BUYS = "nonlinearity buys accuracy"


@pytest.mark.parametrize(
    ("accuracies", "verdict", "size_helps", "said"),
    [
        ({}, BUYS, "no", "falls from 75.1 % ± 1.0 test accuracy by 33.8 points (32.5 to 35.1)."),
        ({}, BUYS, "no", "without any, activation buys 28.8 points (27.5 to 30.1) and max pooling"),
        (
            {},
            BUYS,
            "no",
            "A larger linear network does not help, since it stays one affine map: 2 ×",
        ),
        (
            {ACTIVATION: 0.745, POOLING: 0.745},
            BUYS,
            "no",
            "Either suffices: it does as well as all parts within ± 3 points.",
        ),
        (
            {POOLING: 0.6, ACTIVATION: 0.745},
            BUYS,
            "no",
            "Max pooling alone suffices: it does as well as all parts within ± 3 points.",
        ),
        (
            {ACTIVATION: 0.5, POOLING: 0.5},
            BUYS,
            "no",
            "Both are needed: taking any out costs more than 3 points.",
        ),
        (
            {ACTIVATION: 0.55, POOLING: 0.72},  # accuracies without these
            BUYS,
            "no",
            "Activation is needed: taking any out costs more than 3 points.",
        ),
        (
            {ACTIVATION: 0.728, POOLING: 0.69},
            BUYS,
            "no",
            "Each alone buys more than half of the drop.",
        ),
        ({"full": 0.3}, "nonlinearity costs accuracy", "no", "rises from 30.1 %"),
        (
            {"full": 0.413},
            "nonlinearity buys at most 3 points",
            "no",
            "activation and max pooling buy the network (width 3",
        ),
        ({"enlarged": 0.5}, BUYS, "yes", "A larger linear network helps here: 2 × the width buys"),
        ({"enlarged": 0.3}, BUYS, "it costs", "does not help: 2 × the width costs 11.2 points"),
        ({"enlarged": 0.44}, BUYS, "yes", "narrowest layer has 6 values, so it reaches a part"),
        ({"enlarged": 0.423}, BUYS, "no", "changes its accuracy by 1.1 points"),
        (
            {"full": 0.125},
            "did not learn",
            "no",
            "hardly learned: 12.6 % ± 0.7 test accuracy, where chance is",
        ),
        (
            {"full": 0.1},
            "did not learn",
            "cannot tell",
            "is not shown to beat the most frequent class: it did not learn.",
        ),
    ],
)
def test_the_sentence_says_what_the_accuracies_are(
    accuracies: dict[str, float], verdict: str, size_helps: str, said: str
) -> None:
    finding, asked = drive(made_context(), runs_of(accuracies))
    assert (finding.verdict, finding.numbers["size_helps"]) == (verdict, size_helps)
    assert said in finding.sentence
    assert "On na\\x1bme\\nwith\\x00more" in finding.sentence and len(asked[-1]) == 6 * 3
    assert finding.numbers["network"] == "width 3, depth 2" and finding.numbers["seeds"] == 3
    assert len(re.findall(r"\.(?= [A-Z])|\.$", finding.sentence)) <= 4
    assert finding.numbers["collapses"] == {} and finding.galleries == []  # no run has weights
    assert finding.numbers["collapse_max_error"] is None
    assert not any(text.startswith("Collapse.") for text in finding.paragraphs)
    buys = finding.verdict.startswith("nonlinearity buys")
    assert finding.brief.startswith("nonlinear parts buy ") == buys


def only(*kinds: str) -> Sent:
    return lambda runs: [
        run for run in runs if driving.is_pilot(run) or kind(run.recipe.model) in kinds
    ]


@pytest.mark.parametrize(
    ("sent", "known"),
    [
        (lambda _: [], False),
        (only(), False),
        (only("full"), False),
        (only("softmax"), False),
        (only("linear", "enlarged", "softmax"), False),
        (
            only(ACTIVATION, "linear"),
            False,
        ),  # the arm without activation is not the ablated network
        (only("full", POOLING, ACTIVATION), False),
        (only("full", "linear"), True),
        (only("full", "linear", "softmax"), True),
        (only("full", "linear", "enlarged", POOLING), True),
        (lambda runs: [run for run in runs if not driving.is_pilot(run)], True),
        (lambda runs: runs[::-1], True),
        (lambda runs: runs[:1], False),
    ],
)
@pytest.mark.parametrize("live", [True, False])
def test_any_runs_may_be_missing(sent: Sent, known: bool, live: bool) -> None:
    finding, _ = drive(made_context(live=live), runs_of({}), sent)
    assert (finding.verdict != "cannot tell") == known == bool(finding.numbers)
    if not known:
        assert (
            "was not trained to the end" in finding.sentence
            and "(width 3, depth 2)" in finding.sentence
        )


def test_further_seeds_where_two_are_too_few(monkeypatch: pytest.MonkeyPatch) -> None:
    preset = replace(nonlinearity.PRESETS["quick"], seeds=4)
    monkeypatch.setitem(nonlinearity.PRESETS, "quick", preset)

    def seeds(context: Context) -> set[int]:
        return {r.seed for r in nonlinearity.forecast(context) if "test" in r.evaluate}

    two = replace(made_context(2), seeds=(20, 21))
    assert seeds(two) == {20, 21, 22, 23} and seeds(made_context(5)) == set(range(5))
    assert seeds(made_context(1)) == {0}  # who asks for one seed gets one
    assert seeds(replace(two, fit=BudgetFit(seeds=2))) == {20, 21}  # no time for more
    finding, asked = drive(two, runs_of({}))
    assert finding.numbers["seeds"] == 4 and len(asked[-1]) == 6 * 4


def test_few_test_images_can_not_tell() -> None:
    finding, _ = drive(replace(made_context(), data=made.images(SHAPE, test=50)), runs_of({}))
    assert finding.numbers["size_helps"] == "cannot tell"
    assert "Whether a larger linear network helps cannot be told within" in finding.sentence
    assert "Whether one of them suffices cannot be told within ± 3 points." in finding.sentence
    (why,) = [text for text in finding.paragraphs if text.startswith("Why.")]
    assert "Here 2 linear networks reach 41.3 % to 41.4 % test accuracy, softmax" in why
    assert "Whether they are equivalent to it within ± 3 points cannot be told." in why


def test_one_size_says_nothing_about_size() -> None:
    finding, _ = drive(made_context(), runs_of({}), only("full", "linear", "softmax"))
    assert finding.numbers["size_helps"] == "cannot tell" and "larger" not in finding.sentence
    (why,) = [text for text in finding.paragraphs if text.startswith("Why.")]
    assert "Here 1 linear network reaches 41.3 % test accuracy" in why
    assert "It is equivalent to it within ± 3 points." in why


@pytest.mark.parametrize(
    ("accuracies", "sent", "said"),
    [
        ({}, ("full", "linear", "enlarged", "softmax"), "Each is equivalent to it within ± 3 poi"),
        ({}, ("full", "linear", "enlarged"), "Here 2 linear networks reach 41.3 % to 41.4 % test"),
        (
            {"enlarged": 0.5},
            ("full", "linear", "enlarged", "softmax"),
            "1 of 2 differs from softmax regression and is not shown to be equivalent within",
        ),
        (
            {"enlarged": 0.5, "linear": 0.3},
            ("full", "linear", "enlarged", "softmax"),
            "2 of 2 differ from softmax regression and are not shown to be equivalent within",
        ),
    ],
)
def test_linear_networks_stand_beside_softmax_regression(
    accuracies: dict[str, float], sent: tuple[str, ...], said: str
) -> None:
    finding, _ = drive(made_context(), runs_of(accuracies), only(*sent))
    (why,) = [text for text in finding.paragraphs if text.startswith("Why.")]
    assert said in why


@pytest.mark.parametrize(
    ("hidden", "said"),
    [
        ((), "with no fully connected layer before the classifier"),
        ((6,), "with a fully connected layer of 6 units before the classifier"),
        ((6, 4), "with fully connected layers of 6 and 4 units before the classifier"),
    ],
)
def test_fully_connected_layers_are_told(hidden: tuple[int, ...], said: str) -> None:
    base, context = replace(SMALL, hidden=hidden), made_context()
    models = (base, without(base, kinds_of(base)))
    runs = [runs_of({})(replace(context.base, model=model)) for model in models]
    finding = nonlinearity.finding(context, [], runs)
    told = finding.paragraphs[0]
    origin = "It is the preset's network. " if hidden == (6,) else ""
    assert f"{said}. {origin}Of its " in told
    assert "were measured to be nonlinear in training mode: " in told and "× activation" in told


@pytest.mark.parametrize("bad", ["failed", "diverged", "out_of_memory"])
def test_runs_that_did_not_finish_are_no_evidence(bad: str) -> None:
    def breaks(*kinds: str) -> Callable[[Recipe], str]:
        return lambda r: bad if kind(r.model) in kinds and "test" in r.evaluate else "finished"

    finding, _ = drive(made_context(), runs_of({POOLING: 0.01}, breaks(POOLING)))
    assert set(finding.numbers["drops_alone"]) == {ACTIVATION}
    assert any(
        f"Left out. 3 runs of the arms did not finish ({bad})" in text
        for text in finding.paragraphs
    )
    assert drive(made_context(), runs_of({}, breaks("full")))[0].verdict == "cannot tell"
    finding, _ = drive(made_context(), runs_of({}, lambda r: bad if r.seed else "finished"))
    assert (
        finding.verdict == "cannot tell"
        and finding.numbers["seeds"] == 1
        and "With one seed per arm the intervals leave out" in finding.sentence
    )
    assert drive(made_context(), runs_of({}, lambda _: bad))[0].numbers == {}


def test_the_network_comes_from_the_capacity_chapter() -> None:
    context = made_context(chapters=("capacity", "nonlinearity"))
    chapter = nonlinearity.chapter(replace(context, needs=nonlinearity.NEEDS))
    assert next(chapter) == Wait(needs=("capacity", "best"))
    run = runs_of({"full": 0.7})(replace(context.base, model=SMALL))
    model = ConvNet(5, 3, hidden=(7,))
    run = replace(run, recipe=replace(run.recipe, model=model))
    context.given["capacity"] = CapacityResult(model, (run,))
    step = chapter.send(Answer())
    assert not isinstance(step, Wait | Give)
    (request,) = step
    assert request.role == "pilot"
    pilots = request.recipes
    assert {r.model for r in pilots} == set(nonlinearity.arms_of(model, (2,))) and all(
        r.evaluate == ("val",) for r in pilots
    )
    # a capacity chapter that found nothing: the preset's network, and the report says so
    context.given["capacity"] = None
    finding, _ = drive(context, runs_of({}))
    assert "It is the preset's network." in finding.paragraphs[0]


def test_the_best_network_that_can_be_afforded_is_taken_apart() -> None:
    context = made_context(chapters=("best", "nonlinearity"), needs=nonlinearity.NEEDS)
    best = ConvNet(5, 2, norm="batch", pool_at="first", head="gap")
    run = runs_of({})(replace(context.base, model=best))
    context.given["best"] = BestResult(run.recipe, run, run.recipe, run.recipe)
    models = {recipe.model for recipe in nonlinearity.recipes_of(context, [best])}
    assert nonlinearity.base_of(context) == (best, "best") and len(models) == 8 + 2
    runs = [
        runs_of({})(replace(recipe, seed=seed))
        for recipe in nonlinearity.recipes_of(context, [best])
        for seed in context.seeds
    ]
    finding = driving.check(nonlinearity.finding(context, [], runs))
    driving.check_lengths(finding)
    told = finding.paragraphs[0]
    assert "It is the best candidate of the chapter before that can be afforded" in told
    numbers = finding.numbers
    assert len(numbers["main_effects"]) == 3 == len(numbers["shapley"])
    assert len(numbers["interactions"]) == 4 and numbers["interaction"] is not None
    shares = sum(share["difference"] for share in numbers["shapley"].values())
    assert shares == pytest.approx(numbers["drop"])
    told = "\n".join(finding.paragraphs)
    assert "Shapley's shares of the drop" in told and "Global average pooling binds" in told
    # a network without any nonlinear part says nothing: the next source is asked
    linear = without(best, kinds_of(best))
    run = replace(run, recipe=replace(run.recipe, model=linear))
    context.given["best"] = BestResult(run.recipe, run, run.recipe, None)
    assert nonlinearity.base_of(context) == (SMALL, "preset")


def test_a_rare_verdict_is_said_to_be_rare(monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers by image: 400 images, parts whose differences are near the margin."""
    draw = np.random.default_rng(0)
    hard = draw.random(400)
    monkeypatch.setattr(
        "convscope.statistics.configuration.right_by_image",
        lambda run, _: (hard < run.best["test_accuracy"] + 0.02 * draw.normal()).astype(float),
    )
    context = replace(made_context(2), data=made.images(SHAPE, test=400))
    finding, _ = drive(context, runs_of({ACTIVATION: 0.72, POOLING: 0.715}))
    again, role = finding.numbers["replication"], finding.numbers["role"]
    assert again > 0.98 and "The answer would come out again" not in finding.sentence
    assert 0 < role["replication"] < 0.9 and "a repeated study would say so in" in finding.sentence
    said = set()
    for full in (0.45, 0.5):
        levels = dict.fromkeys(("full", ACTIVATION, POOLING), full)
        finding, _ = drive(context, runs_of(levels))
        again = finding.numbers["replication"]
        rare = f"The answer would come out again in {100 * again:.0f} % of studies of this size."
        assert (rare in finding.sentence) == (again < 0.9)
        said.add(again < 0.9)
    assert said == {True, False}


def test_learning_rates_come_from_validation_alone_and_an_arm_has_its_own() -> None:
    def asked_with(test: float) -> list[list[str]]:
        return drive(made_context(), runs_of(dict.fromkeys(USUAL, test)))[1]

    assert asked_with(0.1) == asked_with(0.9)
    context = made_context()
    whole = nonlinearity.forecast(context)
    pilots, arms = (
        [r for r in whole if r.evaluate == ("val",)],
        [r for r in whole if "test" in r.evaluate],
    )
    assert {r.model for r in pilots} == {r.model for r in arms} and (len(pilots), len(arms)) == (
        2 * 6,
        3 * 6,
    )
    assert {r.seed for r in arms} == {0, 1, 2} and len({r.limit for r in arms}) == 1
    assert set(studies.forecast(context)) == set(whole)
