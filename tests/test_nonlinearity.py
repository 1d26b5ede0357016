"""The nonlinearity chapter: a factorial of equal parameters, linear networks that collapse, and sentences that hold with whatever runs it is sent."""

from __future__ import annotations

import itertools
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
from convscope.data.dataset import Dataset, Split
from convscope.models import layers
from convscope.models.building import build
from convscope.models.sizes import size_of
from convscope.planning.context import Context
from convscope.planning.requests import Answer, Wait
from convscope.probes import probe
from convscope.probes.affine import Part
from convscope.recipe.networks import ConvNet, Model, SoftmaxRegression
from convscope.recipe.recipe import Recipe
from convscope.report.findings import CapacityResult, Finding
from convscope.training.main_path import train
from convscope.training.runs import Run

SMALL = ConvNet(3, 2, hidden=(6,))
NORMED = ConvNet(4, 2, 2, norm="batch", skip=True)


measure = nonlinearity.measured_parts
_measured: dict[tuple[object, ...], list[Part]] = {}


def measured_parts(model: ConvNet, dataset: Dataset) -> list[Part]:
    """The chapter's own, once a network: it takes a second."""
    key = (model, dataset.in_shape, dataset.num_classes)
    if key not in _measured:
        _measured[key] = measure(model, dataset)
    return _measured[key]


@pytest.fixture(autouse=True)
def _tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(
        nonlinearity.PRESETS, "quick", nonlinearity.Preset(1, (2e-3, 4e-3), (2,), SMALL, False)
    )
    monkeypatch.setattr("convscope.chapters.nonlinearity.analysis.measured_parts", measured_parts)
    monkeypatch.setattr("convscope.planning.epochs.MOST_EPOCHS", 1)


def drive(
    context: Context, made: Callable[[Recipe], Run], change: Sent = list
) -> tuple[Finding, list[list[str]]]:
    return driving.drive(nonlinearity, context, made, change)


def drawn(finding: Finding) -> None:
    for chart in finding.charts:
        assert vl_convert.vegalite_to_svg(chart.spec).startswith("<svg")
    for gallery in finding.galleries:
        assert all(
            picture.startswith(b"\x89PNG") and words.isprintable()
            for picture, words in gallery.items
        )


# --- layers, and what is replaced by what


@pytest.mark.parametrize(
    "base", [SMALL, NORMED, ConvNet(4, 3, norm="group", activation="gelu", kernel=5, head="gap")]
)
@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 9, 8)])
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
        measured = nonlinearity.measured_parts(model, images(shape))
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


def test_a_trained_chapter_with_list_there(micro: Path, tmp_path: Path) -> None:
    context, root = context_of(micro), tmp_path / "runs"
    finding, asked = drive(context, lambda recipe: train(recipe, root, data=context.data))
    drawn(finding)
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
        numbers["size_helps"] == "cannot tell" and "can't be told from 2 seeds" in finding.sentence
    )  # 20 test images
    assert {t.name for t in finding.tables} == {"parts", "arms", "collapse", "learning_rates"}
    taken = [row["removed"] for row in finding.tables[1].rows]
    assert taken == [
        "nothing",
        "activation",
        "max pooling",
        "activation and max pooling",
        "activation and max pooling, 2 × the width",
        "one affine layer",
    ]
    assert [g.name for g in finding.galleries] == ["linear_templates", "softmax_templates"]
    again = rendered(context, root, asked)
    assert (again.sentence, again.numbers) == (finding.sentence, finding.numbers)
    for lost in (asked[0][0], asked[-1][0], asked[-1][6]):
        (root / lost).rename(root / f"gone-{lost}")
        rendered(context, root, asked)
    for weights in root.glob("*/best.safetensors"):
        weights.unlink()
    kept = rendered(context, root, asked).numbers["collapses"]
    assert (
        kept and kept.items() <= finding.numbers["collapses"].items()
    )  # what was computed is kept
    context = replace(context, measured={})
    blind = rendered(context, root, asked)
    assert (
        blind.numbers["collapses"] == {}
        and blind.numbers["collapse_max_error"] is None
        and blind.galleries == []
    )
    assert not any(p.startswith("Collapse.") for p in blind.paragraphs)
    assert rendered(context, tmp_path / "none", asked).verdict == "cannot tell"


def test_a_collapsed_network_is_checked_on_so_many_images_as_the_preset_says(
    micro: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = context_of(micro)
    most = context.data.num_classes
    assert most < len(context.data.test)
    monkeypatch.setitem(
        nonlinearity.PRESETS, "quick", replace(nonlinearity.PRESETS["quick"], checked=most)
    )
    finding, _ = drive(context, lambda recipe: train(recipe, tmp_path / "runs", data=context.data))
    assert {found["images"] for found in finding.numbers["collapses"].values()} == {most}
    (table,) = [table for table in finding.tables if table.name == "collapse"]
    assert f"on {most:,} test images" in table.caption


@pytest.fixture
def grey(tmp_path: Path) -> Path:
    draw = np.random.default_rng(0)
    x, labels = draw.integers(0, 256, (150, 8, 7, 1), dtype=np.uint8), np.arange(150) % 3
    names = np.array(["a\x1b[31mb", "c" * 300, "ü\n"])
    np.savez(
        tmp_path / "grey.npz",
        x_train=x[:90],
        y_train=labels[:90],
        x_test=x[90:],
        y_test=labels[90:],
        classes=names,
    )
    return tmp_path / "grey.npz"


def test_grey_images_of_three_classes(grey: Path, tmp_path: Path) -> None:
    context = replace(context_of(grey), seeds=(0,))
    finding, _ = drive(context, lambda recipe: train(recipe, tmp_path / "runs", data=context.data))
    assert all(found["rank"] <= 3 for found in finding.numbers["collapses"].values())
    assert (
        finding.verdict == "cannot tell"
        and "(one seed an arm: the intervals leave out" in finding.sentence
    )
    assert any("a W of 3 × 56," in text for text in finding.paragraphs)
    assert [len(g.items) for g in finding.galleries] == [3, 3]


# --- the chapter, with runs that are made up


def images(
    shape: tuple[int, int, int] = (3, 8, 8),
    name: str = "na\x1bme\nwith\x00more",
    test: int = 10_000,
) -> Dataset:
    def split(count: int) -> Split:
        return Split(
            torch.zeros(1, dtype=torch.uint8).expand(count, *shape), torch.arange(count) % 10
        )

    return Dataset(
        name,
        split(90),
        split(100),
        split(test),
        tuple(map(str, range(10))),
        "0" * 64,
        "made",
        "none",
        (),
    )


def made_context(seeds: int = 3, name: str = "na\x1bme\nwith\x00more", **more: Any) -> Context:
    base = Recipe(data="made", data_hash="0" * 64, batch=8)
    return Context(
        images(name=name),
        "quick",
        tuple(range(seeds)),
        base,
        more.pop("chapters", ("nonlinearity",)),
        **more,
    )


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
    accuracies: dict[str, float],
    status: Callable[[Recipe], str] = lambda _: "finished",
    loss: float = 1.0,
) -> Callable[[Recipe], Run]:
    """Runs without weights; seeds a tenth of a point apart."""

    def make(recipe: Recipe) -> Run:
        row: dict[str, Any] = {"epoch": 1, "lr": recipe.lr, "seconds": 1.0}
        for name in recipe.evaluate:
            accuracy = {**USUAL, **accuracies}[kind(recipe.model)] + 1e-3 * recipe.seed
            row |= {
                f"{name}_loss": loss + recipe.lr,
                f"{name}_accuracy": accuracy,
                f"{name}_loss_sd": 1.0,
            }
        size = size_of(recipe.model, (3, 8, 8), 10)
        counts = {"filters": size.filters, "parameters": size.parameters, "flops": size.flops}
        return Run(Path("/nowhere") / recipe.id, recipe, (row,), status(recipe), counts, 1.0)

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
            "equivalent within ± 3 points, so size does not help beyond that",
        ),
        ({}, "nonlinearity buys accuracy", "no", "taking out one kind alone costs 2.0 points"),
        ({"full": 0.3}, "nonlinearity costs accuracy", "no", "rises from 30.1 %"),
        ({"full": 0.413}, "cannot tell", "no", "by 0.1 points (-"),
        (
            {"enlarged": 0.5},
            "nonlinearity buys accuracy",
            "differs",
            "1 of 2 differs from it and is not shown to be equivalent",
        ),
        (
            {"enlarged": 0.5, "linear": 0.3},
            "nonlinearity buys accuracy",
            "differs",
            "2 of 2 differ from it and are not shown",
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
    finding, _ = drive(replace(made_context(), data=images(test=50)), runs_of({}))
    assert (
        finding.numbers["size_helps"] == "cannot tell"
        and "can't be told from 3 seeds" in finding.sentence
    )


def test_one_size_says_nothing_about_size() -> None:
    finding, _ = drive(made_context(), runs_of({}), only("full", "linear", "softmax"))
    assert (
        finding.numbers["size_helps"] == "cannot tell"
        and "size does not help" not in finding.sentence
    )
    assert (
        "1 linear network reaches 41.3 %" in finding.sentence
        and "equivalent within ± 3 points" in finding.sentence
    )


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
        and "(one seed an arm" in finding.sentence
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
    assert "before the classifier, the preset's network" in finding.paragraphs[0]


def test_the_studied_report_is_spoken_of_only_with_its_data() -> None:
    for name, spoken in (("cifar10", True), ("cifar10.npz", False)):
        finding, _ = drive(made_context(name=name), runs_of({}))
        assert any("The studied report." in text for text in finding.paragraphs) == spoken
    finding, _ = drive(made_context(name="cifar10"), runs_of({"softmax": 0.7}))
    assert not any("No affine map was found to reach that" in text for text in finding.paragraphs)


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
