"""The chapter on flatten order: its sentences hold with whatever runs it is sent."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import driving
import made
import pytest
from driving import Sent

from convscope import data, studies
from convscope.chapters import ordering
from convscope.chapters.ordering.experiment import Experiment, verdict_on
from convscope.chapters.ordering.words import TEXTS
from convscope.models.sizes import size_of
from convscope.planning.context import BudgetFit, Context
from convscope.recipe.networks import ConvNet
from convscope.recipe.recipe import Recipe
from convscope.report.findings import Finding
from convscope.statistics.crossed_factors import difference_of
from convscope.training.main_path import train
from convscope.training.runs import Run

pytestmark = pytest.mark.usefixtures("few_draws")  # how sure words are is not tested here

ORDERS: tuple[Any, ...] = ("reversed", "random", "channel-last")

drive = functools.partial(driving.drive, ordering)


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


# --- the chapter, trained


@pytest.mark.slow
def test_a_trained_chapter_with_list_there(micro: Path, tmp_path: Path) -> None:
    context = context_of(micro)
    trained: dict[str, Run] = {}

    def once(recipe: Recipe) -> Run:
        if recipe.id not in trained:
            trained[recipe.id] = train(recipe, tmp_path / "runs", data=context.data)
        return trained[recipe.id]

    finding, asked = drive(context, once)
    driving.drawn(finding)
    numbers = finding.numbers
    assert (
        finding.verdict == "cannot tell by experiment; proved with permuted weights"
        and "as long as it is the same for all images" in finding.sentence
    )
    assert (numbers["proof"], numbers["experiment"]) == ("equal", "cannot tell")
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
    assert "it cannot be told" in finding.sentence  # 20 test images
    features = numbers["exact"]["random"]["features"]
    assert f"flattened vector ({features} numbers) is a permutation" in finding.paragraphs[0]
    rates = {row["network"]: row["chosen"] for row in finding.tables[-1].rows}
    assert set(rates) == {ordering.NAMES[kind] for kind in ("natural", "per-sample", "pixels")}
    # written again, by the driver of studies: the same; without a pilot or a run: still true
    again = rendered(context, tmp_path / "runs", asked)
    assert (again.sentence, again.numbers) == (finding.sentence, finding.numbers)
    for lost in (asked[0][0], asked[-1][0]):
        (tmp_path / "runs" / lost).rename(tmp_path / "runs" / f"gone-{lost}")
        driving.check(rendered(context, tmp_path / "runs", asked))
    assert rendered(context, tmp_path / "none", asked).verdict == "cannot tell"
    # the natural network's weights are gone: what is left is said
    for weights in (tmp_path / "runs").glob("*/best.safetensors"):
        weights.unlink()
    # what was computed is kept in `measured`
    blind, _ = drive(replace(context, measured={}), once)
    assert (
        "is equal under" not in blind.sentence and blind.numbers["largest_exact_difference"] is None
    )
    assert blind.verdict == "cannot tell" and blind.numbers["proof"] == "not checked"
    assert "the proof was not checked on the trained network" in blind.sentence


def rendered(context: Context, root: Path, asked: list[list[str]]) -> Finding:
    return driving.rendered("ordering", context, root, asked)


@pytest.mark.slow
def test_grey_images_of_three_classes(tmp_path: Path) -> None:
    context = context_of(made.grey_file(tmp_path / "grey.npz", 8), fit=BudgetFit(seeds=1))
    finding, _ = drive(
        replace(context, seeds=(0,)), lambda recipe: train(recipe, tmp_path, data=context.data)
    )
    assert finding.numbers["chance"] == pytest.approx(1 / 3) and finding.numbers["seeds"] == 1
    assert (
        "(1 seed, by the 90 % interval)" in finding.sentence
        and "With one seed per arm the intervals leave out" in finding.sentence
    )
    assert {finding.numbers["orders"][kind]["verdict"] for kind in ORDERS} == {"cannot tell"}


# --- the chapter, with runs that are made up


SHAPE = (3, 32, 32)


def made_context(**more: Any) -> Context:
    return made.context("ordering", made.images(SHAPE), **more)


def runs_of(
    accuracies: dict[str, float], status: Callable[[Recipe], str] = lambda _: "finished"
) -> Callable[[Recipe], Run]:
    """Runs of the test accuracy that is given for their order, 0.01 points apart by seed."""

    def make(recipe: Recipe) -> Run:
        kind = ordering.arm_of(recipe.model) or ""
        usual = 0.2 if kind == "per-sample" else 0.7
        value = 1.0 + recipe.lr, accuracies.get(kind, usual) + 1e-4 * recipe.seed
        return made.run(recipe, SHAPE, dict.fromkeys(recipe.evaluate, value), status(recipe))

    return make


@pytest.mark.parametrize(
    ("accuracies", "verdict", "said"),
    [
        (
            {"per-sample": 0.2, "pixels": 0.5},
            "no difference found; exactness not checked",
            "3 of 3 other orders are shown to be equivalent",
        ),
        (
            {"reversed": 0.5},
            "a difference was found",
            "2 of 3 other orders are shown to be equivalent",
        ),
        ({"reversed": 0.5}, "a difference was found", "; reversed differs."),
        ({"channel-last": 0.97}, "a difference was found", "; channel-last differs."),
        (
            {"per-sample": 0.2},
            "no difference found; exactness not checked",
            "A new random order for each image costs 50.0 points",
        ),
        (
            {"pixels": 0.9},
            "no difference found; exactness not checked",
            "the same for all images, buys 20.0 points",
        ),
        (
            {"reversed": 0.5, "random": 0.9},
            "a difference was found",
            "1 of 3 other orders is shown to be equivalent to the natural one within ± 3 points"
            " of test accuracy (3 seeds, by the 90 % interval); reversed and random differ.",
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


@pytest.mark.parametrize(
    ("accuracies", "lacks", "said"),
    [
        # the negative control does not fall: a comparison that cannot see this sees nothing
        ({"per-sample": 0.7}, ["control"], "order for each image is not shown to lose"),
        ({"per-sample": 0.73}, ["control"], "for each image buys 3.0 points"),
        # all at chance: nothing was learnt
        (dict.fromkeys(ordering.NAMES, 0.1), ["chance", "control"], "is not shown to beat chance"),
    ],
)
def test_no_verdict_by_an_experiment_whose_evidence_failed(
    accuracies: dict[str, float], lacks: list[str], said: str
) -> None:
    finding, _ = drive(made_context(), runs_of(accuracies))
    assert finding.verdict == "cannot tell" and finding.numbers["experiment"] == "cannot tell"
    assert finding.numbers["experiment_lacks"] == lacks and said in finding.sentence
    assert "costs -" not in finding.sentence and "costs −" not in finding.sentence
    told = " ".join(finding.paragraphs)
    assert ("It is not shown to fall" in told) == ("control" in lacks)


def test_few_test_images_show_no_order_to_be_equivalent() -> None:
    context = replace(made_context(), data=made.images(SHAPE, test=1_000))
    finding, _ = drive(context, runs_of({}))
    assert finding.verdict == "cannot tell" and finding.numbers["experiment_lacks"] == ["orders"]
    assert "0 of 3 other orders are shown to be equivalent" in finding.sentence
    assert "the experiment alone cannot tell: not every order is shown to be" in finding.sentence


def test_a_proof_and_an_experiment_are_told_apart() -> None:
    """A verdict needs both; where the experiment fails, what is proved is still said."""

    def found(*missing: str, verdict: str = "equivalent") -> Experiment:
        return Experiment(dict.fromkeys(ORDERS, verdict), (), missing)

    for largest, shown, verdict in (
        (1e-12, found(), "order does not matter"),
        (1e-12, found("control"), "cannot tell by experiment; proved with permuted weights"),
        (1e-12, found("orders", verdict="different"), "a difference was found"),
        (1e-3, found(), "a difference was found"),
        (None, found(), "no difference found; exactness not checked"),
        (None, found("control"), "cannot tell"),
    ):
        assert ordering.verdict_of(largest, shown) == verdict


def test_differences_are_held_against_zero() -> None:
    def gain(mean: float, half: float, seeds: int = 200) -> str:
        return TEXTS.gain(difference_of(mean, half / 1.972, seeds, (3, 3), seeds))

    assert gain(-0.05, 0.01) == "costs 5.0 points (4.0 to 6.0)"
    assert gain(0.05, 0.01) == "buys 5.0 points (4.0 to 6.0)"
    for mean in (-0.026, 0.026):
        assert "costs" not in gain(mean, 0.03) and gain(mean, 0.03).endswith("which can be nothing")
    assert gain(-0.026, 0.03).startswith("changes accuracy by −2.6 points (−5.6 to 0.4)")
    # one seed each: no word at all
    assert TEXTS.gain(difference_of(-0.05, 0.01, 0, (1, 1))).endswith("in these few runs")
    # inside the margin, and not 0: said
    seen = {"reversed": difference_of(0.012, 0.004, 0, (3, 3))}
    assert TEXTS.small(seen).endswith("reversed buys 1.2 points (0.4 to 2.0)")


def test_three_comparisons_find_a_difference_by_chance_in_one_study_of_twenty() -> None:
    """A difference that is just clear of 0 by itself is not, of three."""
    close = difference_of(0.05, 0.05 / 2.2, 200, (3, 3), 200)
    assert close.low > 0
    assert (verdict_on(close, 1), verdict_on(close, 3)) == ("different", "cannot tell")
    assert verdict_on(difference_of(0.05, 0.05 / 2.6, 200, (3, 3), 200), 3) == "different"
    assert verdict_on(difference_of(0.001, 0.001, 200, (3, 3), 200), 3) == "equivalent"


def test_captions_of_a_study_of_one_seed() -> None:
    finding, _ = drive(replace(made_context(), seeds=(0,), fit=BudgetFit(seeds=1)), runs_of({}))
    (chart,), table = finding.charts, next(t for t in finding.tables if t.name == "orders")
    assert "from the finite test set alone" in chart.caption and "with one seed" in table.caption
    assert finding.numbers["experiment_lacks"] == ["orders", "control"]
    several, _ = drive(made_context(), runs_of({}))
    assert "seeds and the finite test set together" in several.charts[0].caption


def only(*kinds: str) -> Sent:
    return lambda runs: [
        run for run in runs if driving.is_pilot(run) or ordering.arm_of(run.recipe.model) in kinds
    ]


@pytest.mark.parametrize(
    ("sent", "verdict"),
    [
        (lambda _: [], "cannot tell"),
        (only(), "cannot tell"),
        (only("natural"), "cannot tell"),
        (only("reversed", "pixels"), "cannot tell"),
        (only("natural", "pixels"), "cannot tell"),
        (only("natural", "reversed"), "cannot tell"),
        (
            only("natural", "reversed", "per-sample"),
            "no difference found; exactness not checked",
        ),
        (
            lambda runs: [run for run in runs if not driving.is_pilot(run)],
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
    if finding.numbers == {}:
        assert "too few of the networks were trained to the end" in finding.sentence
    else:
        assert finding.numbers["experiment"] in ("no difference", "cannot tell")
        assert (finding.numbers["experiment"] == "cannot tell") == (verdict == "cannot tell")


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
        and "With one seed per arm" in finding.sentence
        and "0 of 3" in finding.sentence
    )
    assert drive(made_context(), runs_of({}, lambda _: bad))[0].verdict == "cannot tell"


def test_one_seed_is_told_of_those_that_have_one() -> None:
    def fewer(*several: str) -> Sent:
        return lambda runs: [
            run
            for run in runs
            if not run.recipe.seed or ordering.arm_of(run.recipe.model) in several
        ]

    finding, _ = drive(made_context(), runs_of({}), fewer("pixels"))
    assert "With one seed per arm" not in finding.sentence
    assert "Natural, reversed, random, channel-last and per-sample have one" in finding.sentence
    assert "1 to 3 seeds per arm." in finding.paragraphs[1]
    finding, _ = drive(made_context(), runs_of({}), fewer("natural"))
    assert "have one seed each" not in finding.sentence  # seeds are pooled with the natural order


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
    small = replace(context, data=made.images((1, 4, 5)))
    model = ordering.recipes_of(small)["natural"].model
    assert (
        isinstance(model, ConvNet) and model.depth == 1
    )  # of 1×1 maps channel last would be the natural order
    assert ordering.seeds_of(replace(context, seeds=(5,))) == (5, 6)
    assert ordering.seeds_of(replace(context, seeds=(0,), fit=BudgetFit(seeds=1))) == (0,)
