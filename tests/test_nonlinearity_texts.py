"""The nonlinearity chapter's verdicts and sentences hold with whatever runs it is sent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import driving
import made
import pytest
from driving import Sent

from convscope import studies
from convscope.chapters import nonlinearity
from convscope.chapters.nonlinearity import ACTIVATION, POOLING, kinds_of, removed_from, without
from convscope.planning.context import Context
from convscope.planning.requests import Answer, Wait
from convscope.probes.affine import Part
from convscope.recipe.labels import label_of
from convscope.recipe.networks import ConvNet, Model
from convscope.recipe.recipe import Recipe
from convscope.report.findings import CapacityResult, Finding
from convscope.statistics.configuration import configurations, grouped
from convscope.training.runs import Run

SMALL, SHAPE = ConvNet(3, 2, hidden=(6,)), (3, 8, 8)


@pytest.fixture(autouse=True)
def _tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(
        nonlinearity.PRESETS, "quick", nonlinearity.Preset(1, (2e-3, 4e-3), (2,), SMALL, False)
    )
    monkeypatch.setattr(
        "convscope.chapters.nonlinearity.analysis.measured_parts", made.measured_parts
    )
    monkeypatch.setattr("convscope.planning.epochs.MOST_EPOCHS", 1)


def drive(
    context: Context, made: Callable[[Recipe], Run], change: Sent = list
) -> tuple[Finding, list[list[str]]]:
    finding, asked = driving.drive(nonlinearity, context, made, change)
    driving.check_lengths(finding)
    return finding, asked


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


@pytest.mark.parametrize(
    ("accuracies", "verdict", "size_helps", "said"),
    [
        (
            {},
            "nonlinearity buys accuracy",
            "no: every size is equivalent to softmax regression",
            "falls from 75.1 %",
        ),
        (
            {},
            "nonlinearity buys accuracy",
            "no",
            "Each is equivalent to softmax regression within ± 3 points, so size does not help",
        ),
        (
            {},
            "nonlinearity buys accuracy",
            "no",
            "Taking out activation alone costs 2.0 points (",
        ),
        (
            {"full": 0.71},
            "nonlinearity buys accuracy",
            "no",
            "Taking out activation alone gains 2.0 points (",
        ),
        ({"full": 0.3}, "nonlinearity costs accuracy", "no", "rises from 30.1 %"),
        ({"full": 0.413}, "cannot tell", "no", "by 0.1 points (-"),
        (
            {"enlarged": 0.5},
            "nonlinearity buys accuracy",
            "differs",
            "1 of 2 differs from softmax regression and is not shown to be equivalent",
        ),
        (
            {"enlarged": 0.5, "linear": 0.3},
            "nonlinearity buys accuracy",
            "differs",
            "2 of 2 differ from softmax regression and are not shown",
        ),
    ],
)
def test_the_sentence_says_what_the_accuracies_are(
    accuracies: dict[str, float], verdict: str, size_helps: str, said: str
) -> None:
    finding, asked = drive(made_context(), runs_of(accuracies))
    assert (
        finding.verdict == verdict
        and finding.numbers["size_helps"].startswith(size_helps)
        and said in finding.sentence
    )
    assert "On na\\x1bme\\nwith\\x00more, " in finding.sentence and len(asked[-1]) == 6 * 3
    assert finding.numbers["network"] == "width 3, depth 2" and finding.numbers["seeds"] == 3
    assert ("buy " in finding.brief) == (finding.numbers["drop"] >= 0)


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


def test_few_test_images_can_not_tell() -> None:
    finding, _ = drive(replace(made_context(), data=made.images(SHAPE, test=50)), runs_of({}))
    assert (
        finding.numbers["size_helps"] == "cannot tell"
        and "cannot be told from 3 seeds" in finding.sentence
    )
    (why,) = [text for text in finding.paragraphs if text.startswith("Why.")]
    assert "does not help" not in why
    assert "Here 2 linear networks reach 41.3 % to 41.4 % test accuracy." in why


def test_one_size_says_nothing_about_size() -> None:
    finding, _ = drive(made_context(), runs_of({}), only("full", "linear", "softmax"))
    assert (
        finding.numbers["size_helps"] == "cannot tell"
        and "size does not help" not in finding.sentence
    )
    assert (
        "1 linear network reaches 41.3 %" in finding.sentence
        and "It is equivalent to softmax regression within ± 3 points." in finding.sentence
    )


@pytest.mark.parametrize(
    ("accuracies", "sent", "said"),
    [
        ({}, ("full", "linear", "enlarged", "softmax"), "Here growing it does not help: each of"),
        ({}, ("full", "linear", "softmax"), "Here 1 linear network reaches 41.3 % test accuracy."),
        ({}, ("full", "linear", "enlarged"), "Here 2 linear networks reach 41.3 % to 41.4 %"),
        (
            {"enlarged": 0.5},
            ("full", "linear", "enlarged", "softmax"),
            "reach 41.3 % to 50.1 % test accuracy, and 1 of 2 differs from softmax regression.",
        ),
    ],
)
def test_growing_does_not_help_only_where_that_was_measured(
    accuracies: dict[str, float], sent: tuple[str, ...], said: str
) -> None:
    finding, _ = drive(made_context(), runs_of(accuracies), only(*sent))
    (why,) = [text for text in finding.paragraphs if text.startswith("Why.")]
    assert said in why and ("does not help" in why) == ("growing" in said)


@pytest.mark.parametrize(
    ("hidden", "said"),
    [
        ((), "with no fully connected layer before the classifier"),
        ((6,), "with a fully connected layer of 6 units before the classifier"),
        ((6, 4), "with fully connected layers of 6 and 4 units before the classifier"),
    ],
)
def test_fully_connected_layers_are_told(hidden: tuple[int, ...], said: str) -> None:
    base = replace(SMALL, hidden=hidden)
    context = made_context()
    full, linear = configurations(
        grouped(
            [
                runs_of({})(replace(context.base, model=m))
                for m in (base, without(base, kinds_of(base)))
            ],
            lambda run: run.recipe.model,
        ),
        context.data,
        label_of,
    ).values()
    parts = [Part("a", "Act", (1,), (1,), False, 1.0), Part("b", "Conv2d", (1,), (1,), True, 0.0)]
    told = nonlinearity.paragraphs_of(context, base, full, linear, parts, {}, [linear], [], [])
    origin = "It is the preset's network. " if hidden == (6,) else ""
    assert f"{said}. {origin}Of its 2 parts 1 was measured to be nonlinear" in told[0]
    assert told[0].endswith("in training mode: 1 × activation.")


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
        and "With one seed per arm" in finding.sentence
    )
    assert drive(made_context(), runs_of({}, lambda _: bad))[0].numbers == {}


def test_the_network_comes_from_the_capacity_chapter() -> None:
    context = made_context(chapters=("capacity", "nonlinearity"))
    chapter = nonlinearity.chapter(replace(context, needs=nonlinearity.NEEDS))
    assert next(chapter) == Wait(needs=("capacity",))
    run = runs_of({"full": 0.7})(replace(context.base, model=SMALL))
    model = ConvNet(5, 3, hidden=(7,))
    run = replace(run, recipe=replace(run.recipe, model=model))
    context.given["capacity"] = CapacityResult(model, (run,))
    (request,) = chapter.send(Answer())
    assert request.role == "pilot"
    pilots = request.recipes
    assert {r.model for r in pilots} == set(nonlinearity.arms_of(model, (2,))) and all(
        r.evaluate == ("val",) for r in pilots
    )
    # a capacity chapter that found nothing: the preset's network, and the report says so
    context.given["capacity"] = None
    finding, _ = drive(context, runs_of({}))
    assert "It is the preset's network." in finding.paragraphs[0]


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
