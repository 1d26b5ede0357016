"""How the chapter `best` chooses: by error, fairly, on seeds that are not the ones it quotes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import optimize
from torch.nn.functional import cross_entropy

from convscope import data
from convscope.chapters.best.answers import headlines_of
from convscope.chapters.best.choice import MARGIN, Selection, candidates, selection_of
from convscope.chapters.best.flips import Change, Flips, flip_pilot, piloted_flips
from convscope.chapters.best.outcome import Outcome, given_by
from convscope.chapters.best.plan import FRESH
from convscope.chapters.best.validation import (
    HIGHEST,
    Validated,
    fitted_temperature,
    validated,
    validation_logits,
)
from convscope.chapters.best.words import TEXTS, verdict_of
from convscope.data.dataset import Dataset
from convscope.planning.context import Context
from convscope.planning.reference import (
    REFERENCES,
    Reference,
    reference_model,
    reference_recipe,
)
from convscope.planning.requests import Answer
from convscope.recipe.networks import ConvNet
from convscope.recipe.recipe import Recipe
from convscope.statistics.comparisons import non_inferiority
from convscope.training.main_path import train
from convscope.training.runs import Run

Maker = Callable[..., Run]


def context_of(source: Path) -> Context:
    loaded = data.load(source)
    base = Recipe(data=str(source), data_hash=loaded.hash, batch=16)
    return Context(loaded, "quick", (0, 1), base, ("best",))


# --- one temperature


def test_the_temperature_is_the_best_one() -> None:
    draw = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 7, (300,), generator=draw)
    logits = torch.randn(300, 7, generator=draw, dtype=torch.float64)
    logits[range(300), labels] += 1.0
    for scale in (0.2, 1.0, 30.0):

        def loss(t: float, scale: float = scale) -> float:
            return float(cross_entropy(scale * logits / t, labels))

        found = fitted_temperature(scale * logits, labels)
        best = optimize.minimize_scalar(
            lambda u, loss=loss: loss(math.exp(u)), bounds=(-4, 5), method="bounded"
        )
        lowest: float = best.x
        assert found == pytest.approx(math.exp(lowest), rel=1e-3)
        assert loss(found) <= min(loss(1.0), loss(1.1 * found), loss(found / 1.1))
    right = 5 * torch.nn.functional.one_hot(labels).double()
    assert fitted_temperature(right, labels) == pytest.approx(1 / HIGHEST, rel=1e-6)
    assert math.isfinite(fitted_temperature(torch.zeros(300, 7), labels))


def test_label_smoothing_s_temperature_undoes_what_it_does_to_cross_entropy() -> None:
    """Logits that say 0.9 where they are always right: the error is 0, cross-entropy is not."""
    labels = torch.arange(10).repeat(20)
    smooth = math.log(91) * torch.nn.functional.one_hot(labels, 10).double()
    assert float(cross_entropy(smooth, labels)) == pytest.approx(-math.log(0.91), abs=1e-6)
    t = fitted_temperature(smooth, labels)
    assert t < 1 and float(cross_entropy(smooth / t, labels)) < 1e-6


# --- the choice


def made(make_run: Maker, source: Path, **changes: Any) -> list[Run]:
    """Runs of two seeds; `losses` and `accuracies` on the validation images, one for each."""
    losses, accuracies = changes.pop("losses"), changes.pop("accuracies")
    model = changes.pop("model", ConvNet(8, 1))
    return [
        make_run(
            model,
            [loss],
            [loss],
            seed=seed,
            sd=0.2,
            accuracy=accuracy,
            data=str(source),
            **changes,
        )
        for seed, (loss, accuracy) in enumerate(zip(losses, accuracies, strict=True))
    ]


def test_a_clearly_better_network_is_not_passed_over(micro: Path, make_run: Maker) -> None:
    """What happened: label smoothing raises the better network's cross-entropy, and it lost."""
    context = context_of(micro)
    smoothed = made(
        make_run, micro, losses=(0.13, 0.126), accuracies=(1.0, 1.0), label_smoothing=0.1
    )
    sharp = made(make_run, micro, losses=(0.066, 0.066), accuracies=(0.98, 0.99))
    for order in ((smoothed, sharp), (sharp, smoothed)):
        found = candidates([run for runs in order for run in runs], (), context)
        selection = selection_of(found, context)
        assert selection.winner.recipe.label_smoothing == 0.1
        assert min(found, key=lambda one: one.val_loss.mean) is not selection.winner


def judged(found: list[Any], losses: list[float], right: list[Any]) -> Selection:
    """The choice where the runs of each candidate answered so."""
    seen = {
        one.recipe: tuple(Validated(1.0, loss, answers) for _ in one.runs)
        for one, loss, answers in zip(found, losses, right, strict=True)
    }
    return Selection(tuple(found), seen)


def test_equal_errors_are_told_apart_after_temperature(micro: Path, make_run: Maker) -> None:
    context = context_of(micro)
    runs = made(make_run, micro, losses=(0.2, 0.2), accuracies=(0.9, 0.9), label_smoothing=0.1)
    runs += made(make_run, micro, losses=(0.1, 0.1), accuracies=(0.9, 0.9))
    found = candidates(runs, (), context)
    right = np.arange(10) > 0
    assert judged(found, [0.05, 0.08], [right, right]).winner is found[0]
    assert judged(found, [0.08, 0.05], [right, right]).winner is found[1]
    assert selection_of(found, context).winner is found[1]  # without weights: the plain loss


def of_sizes(make_run: Maker, source: Path, accuracies: list[tuple[float, float]]) -> list[Run]:
    """A network of each accuracy, the later ones smaller."""
    return [
        run
        for i, pair in enumerate(accuracies)
        for run in made(
            make_run,
            source,
            model=ConvNet(32 - i, 1),
            losses=(0.5, 0.5),
            accuracies=pair,
            parameters=1000 - 100 * i,
        )
    ]


def test_near_and_smallest_are_paired_by_image(micro: Path, make_run: Maker) -> None:
    context = context_of(micro)
    runs = of_sizes(make_run, micro, [(0.9, 0.901), (0.895, 0.894), (0.8, 0.801), (0.89, 0.889)])
    found = candidates(runs, (), context)
    images = 500
    base = np.random.default_rng(0).random(images)
    # the same images are hard for all of them, but for the last one
    right = [base < 0.9, base < 0.895, base < 0.8, np.roll(base, 250) < 0.89]
    selection = judged(found, [0.3] * 4, right)
    assert selection.winner is found[0] and selection.tells
    assert found[1] in selection.near or selection.excess(found[1]).low > 0
    assert found[2] not in selection.near and found[3] in selection.near
    assert selection.smallest is found[1]  # of the last one it is not shown, the third is worse
    excess = selection.excess(found[1])
    assert excess.mean == pytest.approx(0.005, abs=0.006) and excess.within(0.9)[1] <= MARGIN
    # paired, the interval is far narrower than that of the one who errs elsewhere
    assert selection.excess(found[3]).se > 3 * excess.se


def test_without_two_seeds_nothing_is_shown_to_be_worse(micro: Path, make_run: Maker) -> None:
    context = context_of(micro)
    runs = of_sizes(make_run, micro, [(0.9, 0.9), (0.2, 0.2)])[::2]
    selection = selection_of(candidates(runs, (), context), context)
    assert not selection.tells and len(selection.near) == 1
    anew = [(0.9, 0.9), (0.91, 0.9), (0.92, 0.91), (0.91, 0.91)]
    fresh = candidates(of_sizes(make_run, micro, anew), (), context)
    assert replace(selection, fresh=tuple(fresh)).near == []  # their seeds tell how seeds differ


def test_the_set_that_is_not_told_apart_holds_the_best_one() -> None:
    """Of three equal candidates each is in the set in at least 95 % of made-up studies."""
    from convscope.statistics.estimation import quantile

    draw, images, kept, turns = np.random.default_rng(1), 400, 0, 400
    for _ in range(turns):
        right = draw.random((3, images)) < 0.7
        errors = 1 - right.mean(1)
        winner = int(errors.argmin())
        gap = right[winner].astype(float) - right[0]
        se = math.sqrt(gap.var(ddof=1) / images)
        level = 1 - 2 * 0.05 / 2
        kept += winner == 0 or gap.mean() - quantile(level, 0) * se <= 0
    assert kept / turns >= 0.95 - 2 * math.sqrt(0.05 * 0.95 / turns)


# --- fresh seeds


def with_answers(one: Any, right: list[Any]) -> Any:
    """The configuration whose runs answer the test images so."""
    one.__dict__["right"] = tuple(np.asarray(answers, float) for answers in right)
    return one


@pytest.mark.parametrize(
    ("loss", "images", "word"),
    [(0.0, 4000, "as good"), (0.06, 4000, "worse"), (0.01, 200, "cannot")],
)
def test_as_good_is_shown_on_fresh_seeds(
    loss: float, images: int, word: str, micro: Path, make_run: Maker
) -> None:
    context = context_of(micro)
    many = replace(context.data.test, labels=torch.zeros(images, dtype=torch.int64))
    context = replace(context, data=replace(context.data, test=many))
    draw = np.random.default_rng(2)
    base = draw.random(images)
    right = [
        [(base + draw.normal(0, 0.02, images)) < 0.8 - lost for _ in range(4)]
        for lost in (0.0, loss)
    ]
    pairs = [tuple(float(answers.mean()) for answers in seeds[:2]) for seeds in right]
    runs = of_sizes(make_run, micro, pairs)
    winner, small = (
        with_answers(one, seeds[:2])
        for one, seeds in zip(candidates(runs, (), context), right, strict=True)
    )
    found, difference = non_inferiority(small, winner, MARGIN)
    assert found.startswith(word), (found, difference)
    assert difference.mean == pytest.approx(-loss, abs=0.02)


def test_alike_on_few_images_is_not_shown_to_be_as_good(micro: Path, make_run: Maker) -> None:
    context = context_of(micro)
    assert len(context.data.test) < 150
    runs = of_sizes(make_run, micro, [(1.0, 0.99), (1.0, 0.99)])
    winner, small = (with_answers(one, [np.ones(20)] * 2) for one in candidates(runs, (), context))
    assert non_inferiority(small, winner, MARGIN)[0] == "cannot tell"


def test_figures_come_from_the_seeds_that_chose_nothing(micro: Path, make_run: Maker) -> None:
    context = context_of(micro)
    chose = of_sizes(make_run, micro, [(0.9, 0.9), (0.4, 0.4)])
    selection = selection_of(candidates(chose, (), context), context)
    anew = [
        replace(
            run,
            recipe=replace(run.recipe, seed=FRESH + run.recipe.seed),
            rows=({**run.rows[0], "test_accuracy": 0.7, "test_loss": 0.9},),
        )
        for run in chose[:2]
    ]
    outcome = Outcome.of(context, selection, [*chose, *anew])
    assert outcome.fresh and outcome.alone and outcome.winner.test_accuracy.mean == 0.7
    numbers = outcome.numbers()
    assert (numbers["test_accuracy"], numbers["test_loss"]) == (0.7, 0.9)
    assert numbers["val_accuracy"] == 0.9 and numbers["smallest_verdict"] == "the winner itself"
    old = Outcome.of(context, selection, chose)  # a study of an earlier version
    assert not old.fresh and old.numbers()["test_accuracy"] == 0.9
    assert "no runs with seeds that chose nothing" in TEXTS.fresh(old.fresh, MARGIN, old.alone)
    assert verdict_of(old).startswith(selection.winner.label)
    poor = replace(outcome.winner, test_accuracy=replace(outcome.winner.test_accuracy, low=0.1))
    at_chance = replace(outcome, winner=poor)
    assert not at_chance.learnt and verdict_of(at_chance).startswith("cannot tell: no network")


@pytest.mark.parametrize(("lost", "said"), [(0.3, "No: the best smaller one"), (0.0, "Not known")])
def test_a_smaller_one_far_behind_is_shown_to_be_worse(
    lost: float, said: str, micro: Path, make_run: Maker
) -> None:
    """Also where one run chose the winner: its fresh ones stand against those of the sweep."""
    context = context_of(micro)
    many = replace(context.data.test, labels=torch.arange(2000) % 10)
    context = replace(context, data=replace(context.data, test=many))
    once, _, *smaller = of_sizes(make_run, micro, [(0.8, 0.8), (0.8 - lost, 0.79 - lost)])
    selection = selection_of(candidates([once, *smaller], (), context), context)
    anew = [replace(once, recipe=replace(once.recipe, seed=FRESH + i)) for i in (0, 1)]
    outcome = Outcome.of(context, selection, [once, *smaller, *anew])
    base, draw = np.random.default_rng(0).random(2000), np.random.default_rng(1)
    for one, share in ((outcome.winner, 0.8), (outcome.nearest, 0.8 - lost)):
        with_answers(one, [base + draw.normal(0, 0.01, 2000) < share for _ in range(2)])
    assert outcome.alone and outcome.nearest is selection.found[1]
    headline = headlines_of(outcome)[1]
    assert headline.text.startswith(said), headline
    told = outcome.behind is not None
    assert told == (lost > 0) == (headline.sure == "sure") == headline.told
    assert ("nearest_smaller" in outcome.numbers()) == told
    assert ("looks too good if anything" in headline.why) == told


def test_what_others_can_afford(micro: Path, make_run: Maker) -> None:
    context = context_of(micro)
    runs = of_sizes(make_run, micro, [(0.9, 0.9), (0.8, 0.8)])
    dear = [replace(run, size={**run.size, "flops": 10**9}) for run in runs[:2]]
    given = given_by(context, selection_of(candidates([*dear, *runs[2:]], (), context), context))
    assert given.winner == runs[0].recipe and given.affordable == runs[2].recipe
    assert "times what a network may cost" in given.reason and given.reason.count(".") >= 1
    cheap = given_by(context, selection_of(candidates(runs, (), context), context))
    assert cheap.affordable == cheap.winner and cheap.reason == ""
    none = given_by(context, selection_of(candidates(dear, (), context), context))
    assert none.affordable is None and "no candidate is within that limit" in none.reason


# --- flips


@pytest.fixture(scope="module")
def handed(session_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[bool, Path]:
    """Bars on the left or on the right side, of which class 0 has the left ones; and bars that lie
    or stand, which mirrored are bars of their class."""
    draw, out = np.random.default_rng(0), {}
    for flag in (True, False):
        labels = np.arange(400) % 2
        images = draw.integers(0, 90, (400, 8, 8, 3), dtype=np.uint8)
        for image, label in zip(images, labels, strict=True):
            if flag:
                image[:, (slice(0, 3), slice(5, 8))[label]] = 220
            elif label:
                image[2:5] = 220
            else:
                image[:, (1, 4)] = 220
                image[:, (3, 6)] = 220
        out[flag] = tmp_path_factory.mktemp("bars") / f"{flag}.npz"
        np.savez(out[flag], x_train=images, y_train=labels, x_test=images[:80], y_test=labels[:80])
    return out


def asked_for(context: Context, root: Path) -> tuple[Flips, list[Recipe]]:
    asked: list[Recipe] = []
    steps = piloted_flips(context)
    step: Any = next(steps)
    while True:
        recipes = [recipe for request in step for recipe in request.recipes]
        asked += recipes
        try:
            step = steps.send(Answer({"pilot": [train(recipe, root) for recipe in recipes]}))
        except StopIteration as end:
            return end.value, asked


@pytest.mark.parametrize("flag", [pytest.param(True, marks=pytest.mark.slow), False])
def test_the_pilot_tells_whether_images_may_be_mirrored(
    flag: bool, handed: dict[bool, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("convscope.planning.epochs.REFERENCE_IMAGES", 1)
    monkeypatch.setitem(REFERENCES, "quick", Reference(replace(reference_model(8), depth=2), 12))
    context = context_of(handed[flag])
    found, asked = asked_for(context, tmp_path)
    assert not asked[0].flip and asked[0].evaluate == ("val",) and len(asked) == 1 + flag
    assert found.accuracy is not None and found.accuracy > 0.9
    assert found.handed == flag and found.allowed == (not flag)
    told = TEXTS.flips(found, 0.02, asked[0].epochs, True)
    assert ("nothing in this chapter is trained with flips" in told) == flag
    assert ("training may mirror images" in told) == (not flag)
    again, _ = asked_for(replace(context, live=False), tmp_path)
    assert again == found


def test_flips_need_two_witnesses() -> None:
    recipe, bad, good = Recipe(), Change(-0.3, -0.4, -0.2), Change(0.0, -0.1, 0.1)
    assert Flips(recipe).allowed and not Flips(recipe).handed
    assert Flips(recipe, 0.9, bad).allowed and Flips(recipe, 0.9, bad).handed
    assert Flips(recipe, 0.9, bad, good).allowed and not Flips(recipe, 0.9, bad, bad).allowed
    assert Flips(recipe, 0.9, good, bad).allowed  # one seed's chance, where images are the same
    assert Flips(recipe, 0.9, Change(-0.03, -0.05, -0.01)).handed is False


def test_the_pilot_is_a_small_part_of_the_search(session_cache: Path) -> None:
    loaded: Dataset = data.load("cifar10")
    context = Context(loaded, "quick", (0, 1), Recipe(data="cifar10", data_hash=loaded.hash))
    pilot, reference = flip_pilot(context), reference_recipe(context)
    assert pilot.epochs == 1 and pilot.limit == 11_250 and not pilot.flip
    assert pilot.model == replace(reference.model, width=8)


# --- what a run answers on the validation images


def test_answers_are_computed_once_and_kept(micro: Path, tmp_path: Path) -> None:
    context = context_of(micro)
    run = train(replace(context.base, model=ConvNet(4, 1), epochs=2, label_smoothing=0.1), tmp_path)
    seen = validated(context, run)
    assert seen is not None
    assert seen.right.mean() == pytest.approx(run.best["val_accuracy"])
    logits, labels = validation_logits(context, run), context.data.val.labels
    assert float(cross_entropy(logits, labels)) == pytest.approx(run.best["val_loss"], rel=1e-4)
    assert seen.loss <= run.best["val_loss"] + 1e-6
    (run.path / "best.safetensors").unlink()
    kept = validated(context, run)
    assert kept is not None and kept.loss == seen.loss and (kept.right == seen.right).all()
    assert validated(replace(context, measured={}), run) is None
