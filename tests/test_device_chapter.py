"""The chapter `best` for a device: only what fits, its bits, twice the device, what is given up."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import convscope as cs
from convscope.chapters import best
from convscope.chapters.best.device import PUBLISHED, device_table, twice_of
from convscope.chapters.best.plan import FRESH
from convscope.chapters.best.rounded import around
from convscope.deployment import Simulated
from convscope.planning import Search, fits_device, limits_of, needs
from convscope.planning import reference as plans
from convscope.planning.requests import Answer, Give, Wait
from convscope.recipe import Recipe
from convscope.report import Finding
from tests.test_best import check_form, context_of, drive, trainer

pytestmark = pytest.mark.usefixtures("few_draws")

LIMITS = Search(ram=6_000, flash=2_500, trials=3)


def make_small(patch: pytest.MonkeyPatch) -> None:
    """Three trials of one epoch, a narrow reference recipe of four."""
    patch.setitem(best.PRESETS, "quick", best.Preset(3, (1,), 1))
    model = replace(plans.reference_model(8), depth=2)
    patch.setitem(plans.REFERENCES, "quick", plans.Reference(model, 4))
    patch.setattr("convscope.planning.epochs.REFERENCE_IMAGES", 1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("device")


@pytest.fixture(scope="module")
def found(micro: Path, folder: Path) -> tuple[Finding, list[Recipe]]:
    """The chapter on real training."""
    with pytest.MonkeyPatch.context() as patch:
        make_small(patch)
        context = context_of(micro, folder, search=LIMITS)
        return drive(context, trainer(folder / "runs"))


@pytest.fixture(autouse=True)
def same_preset(monkeypatch: pytest.MonkeyPatch) -> None:
    make_small(monkeypatch)


@pytest.mark.slow
def test_the_chapter_for_a_device(found: tuple[Finding, list[Recipe]], micro: Path) -> None:
    finding, asked = found
    check_form(finding)
    context = context_of(micro, search=LIMITS)
    limits = limits_of(context)
    assert limits is not None
    wide = [recipe for recipe in asked if not fits_device(context, recipe.model)]
    # nothing else than the wider network, on seeds that chose nothing
    assert wide and {recipe.model for recipe in wide} == {
        twice_of(context, replace(finding.gives.winner, seed=0)).model
    }
    assert all(recipe.seed >= FRESH for recipe in wide)
    device = finding.numbers["device"]
    assert device["ram"] == 6_000 and device["bits"] == 8
    winner = device["winner"]
    assert winner["peak_bytes"] <= 6_000 and winner["weight_bytes"] <= 2_500
    low, high = winner["accuracy_interval"]
    assert low <= winner["accuracy"] <= high
    # with eight bits few answers change
    assert abs(winner["change"]) < 0.1
    twice = device["twice"]
    assert limits.twice().hold(needs(context, wide[0].model)) and twice["weight_bytes"] > 2_500
    (table,) = [table for table in finding.tables if table.name == "device"]
    assert table.rows[0]["role"] == "winner"
    assert "On a device of twice the size" in finding.sentence
    assert "5.9 KiB of memory and 2.4 KiB of flash at 8 bits" in finding.sentence
    assert "does not fit" not in finding.sentence


@pytest.mark.slow
def test_what_is_given_up_is_said_only_where_such_a_run_is(
    found: tuple[Finding, list[Recipe]], micro: Path, folder: Path
) -> None:
    context = context_of(micro, folder, search=LIMITS)
    free = plans.reference_recipe(context_of(micro, folder))
    assert not fits_device(context, free.model)
    run = trainer(folder / "runs")(free)
    assert run is not None

    def older_runs_too(recipe: Recipe) -> cs.Run | None:
        return trainer(folder / "runs")(recipe)

    chapter = best.chapter(context)
    step = next(chapter)
    while True:
        answer = Answer()
        if not isinstance(step, Wait | Give):
            (request,) = step
            runs = [older_runs_too(recipe) for recipe in request.recipes]
            more = [run] if request.role == "final" else []
            answer = Answer({request.role: [*filter(None, runs), *more]})
        try:
            step = chapter.send(answer)
        except StopIteration as end:
            finding = end.value
            break
    told = finding.numbers["device"]["unlimited"]
    assert told["runs"] == [run.id] and run.id != finding.numbers["winner"]
    assert "the best of this study that does not fit" in finding.sentence


def test_without_a_device_the_table_shows_the_published_row_for_cifar10_alone(
    found: tuple[Finding, list[Recipe]], micro: Path
) -> None:
    from convscope.chapters.best.choice import candidates, selection_of
    from convscope.chapters.best.outcome import Outcome

    context = context_of(micro)
    runs = [cs.train(found[0].gives.winner, found[0].gives.run.path.parent)]
    selection = selection_of(candidates(runs, (), context), context)
    outcome = Outcome.of(context, selection, [])
    assert device_table(context, None, outcome) == []
    named = replace(context, data=replace(context.data, name="cifar10"))
    (table,) = device_table(named, None, outcome)
    last = table.rows[-1]
    assert (last["accuracy"], last["few_bits"]) == (0.8701, 0.8559)
    assert (last["peak_kib"], last["weights_kib"]) == (62.5, 76.9) and PUBLISHED.source in str(last)


def test_rounding_is_that_of_the_grid() -> None:
    torch.manual_seed(0)
    layer = torch.nn.Linear(6, 4)
    x = torch.randn(32, 6)
    few = Simulated(layer, [x])
    got, weight = few(x), layer.weight.detach()
    scale = weight.abs().amax(1, keepdim=True) / 127
    low, high = min(0.0, float(x.min())), max(0.0, float(x.max()))
    step = (high - low) / 255
    zero = round(-low / step)
    inputs = ((x / step).round() + zero).clamp(0, 255).sub(zero) * step
    exact = inputs @ ((weight / scale).round() * scale).T + layer.bias.detach()
    whole = layer(x).detach()
    low, high = min(0.0, float(whole.min())), max(0.0, float(whole.max()))
    assert (got - exact).abs().max() <= (high - low) / 255 + 0.02 * (high - low)
    assert len(torch.unique(got)) <= 256
    assert torch.equal(layer.weight, weight)


def test_many_bits_change_nothing_and_few_bits_change_much() -> None:
    from convscope.models import build

    model = cs.ConvNet(6, 2, 2, norm="batch", skip=True, head="gap", pool_at="first")
    net = build(model, (3, 16, 16), 10).eval()
    x = torch.randn(16, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        plain = net(x)
    errors = [float((Simulated(net, [x], bits)(x) - plain).abs().mean()) for bits in (2, 4, 8, 16)]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 1e-3 * float(plain.abs().mean()) < errors[0]


def test_an_interval_covers_as_it_says() -> None:
    """Differences with variance over images and over runs, against their true mean."""
    random = np.random.default_rng(0)
    inside = 0
    for _ in range(300):
        runs = 0.2 + 0.02 * random.standard_normal((3, 1))
        images = random.standard_normal((1, 200))
        one = around(list(runs + 0.3 * images + 0.1 * random.standard_normal((3, 200))))
        inside += one.low <= 0.2 <= one.high
    assert 0.92 <= inside / 300 <= 1.0
