"""What the search may propose: everything that it draws lies within limits that follow from the
reference recipe's own cost."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace

import pytest
from optuna.trial import TrialState
from test_search import context_of, drive, searched

from convscope.models.sizes import size_of
from convscope.planning import reference as plans
from convscope.planning.search import Proposer
from convscope.planning.search_costs import VALUE_BYTES, cost_of
from convscope.planning.search_space import RANGES, Space, space_of
from convscope.recipe.networks import ConvNet
from convscope.recipe.recipe import Recipe

SHAPE = (3, 32, 32)


def space(preset: str = "quick", shape: tuple[int, int, int] = SHAPE) -> Space:
    return space_of(replace(context_of(shape), preset=preset))


def drawn(made: Space, seed: int) -> Recipe:
    draw = random.Random(seed)
    params = {name: draw.choice(values) for name, values in made.values().items()}
    return made.recipe({**params, "lr": 0.1, "weight_decay": 0.01})


def test_costs_by_arithmetic_are_those_of_the_network() -> None:
    made, seen = space("standard", (3, 12, 14)), 0
    for seed in range(40):
        model = drawn(made, seed).model
        assert isinstance(model, ConvNet)
        model = replace(
            model,
            width=model.width // 8,
            stem="whiten" if seed % 2 else "none",
            pool_at="first" if seed % 3 else "end",
            hidden=(5, 4) if seed % 5 == 0 else (),
        )
        if not made.fits({**made.params(replace(made.reference, model=model)), "lr": 0.1}):
            continue
        size, ours = size_of(model, (3, 12, 14), 10), cost_of(model, (3, 12, 14), 10)
        assert (ours.flops, ours.parameters) == (size.flops, size.parameters), model
        values = sum(
            layer.shape[0] * layer.shape[1] * layer.shape[2]
            for layer in size.layers
            if len(layer.shape) == 3
        )
        assert 0.99 <= ours.memory / VALUE_BYTES / values <= 1.8, model
        seen += 1
    assert seen >= 10


@pytest.mark.parametrize("shape", [SHAPE, (1, 28, 28), (3, 8, 8), (1, 64, 96), (3, 224, 224)])
@pytest.mark.parametrize("preset", list(RANGES))
def test_the_reference_recipe_fits_with_room_to_spare(
    preset: str, shape: tuple[int, int, int]
) -> None:
    made = space(preset, shape)
    own, most = cost_of(made.model, shape, 10), made.limits()
    headroom = made.ranges.headroom
    assert headroom > 1 and most.flops == pytest.approx(headroom * own.flops, abs=1)
    assert most.parameters >= headroom * own.parameters - 1
    assert most.memory >= headroom * own.memory - 1
    known = made.params(made.reference)
    assert made.fits(known) and made.inside(known) == known
    # the cheapest one fits whatever else is drawn, so a proposal can always be made
    for seed in range(5):
        last = made.smallest(made.params(drawn(made, seed)))
        model = made.recipe(last).model
        assert isinstance(model, ConvNet) and made.fits(last)
        assert cost_of(model, shape, 10).flops <= own.flops


def test_the_limits_follow_the_reference_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    before = space().limits().flops
    wide = plans.Reference(plans.reference_model(32), 4)
    monkeypatch.setitem(plans.REFERENCES, "quick", wide)
    assert 2.5 * before < space().limits().flops < 4.5 * before


@pytest.mark.parametrize("sampler", ["tpe", "random"])
@pytest.mark.parametrize("preset", ["quick", "standard"])
def test_every_proposal_is_inside_and_none_is_wasted(preset: str, sampler: str) -> None:
    context = replace(context_of(sampler=sampler), preset=preset)
    search = Proposer(context, 40, None, (1,))
    asked = drive(search)
    made, most = search.space, search.space.limits()
    assert len(asked) == 40 == len(search.tried)
    trials = search.study.trials
    assert len(trials) == 40 + search.duplicates
    assert all(trial.state != TrialState.FAIL for trial in trials)
    for tried, trial in zip(search.tried, (trials[t.number] for t in search.tried), strict=True):
        size = size_of(tried.recipe.model, SHAPE, 10)
        assert size.flops <= most.flops and size.parameters <= most.parameters
        # Optuna knows what was trained, not what was drawn
        assert tried.number == 0 or made.recipe(trial.params) == tried.recipe
    above = [size_of(t.recipe.model, SHAPE, 10).flops for t in search.tried]
    own = size_of(made.model, SHAPE, 10).flops
    assert max(above) > own, "nothing that is proposed costs more than the reference recipe"
    assert len(Counter(t.recipe.model.width for t in search.tried)) > 1


def test_settings_that_do_not_fit_are_narrowed_and_no_further_than_needed() -> None:
    made = space()
    widest = made.values()["width"][-1]
    known = made.params(made.reference) | {"width": widest}
    assert not made.fits(known)
    narrowed = made.inside(known)
    assert narrowed is not None and narrowed["width"] < widest
    assert {**narrowed, "width": widest} == known
    assert not made.fits({**narrowed, "width": narrowed["width"] + 8})
    deep = known | {"depth": 4, "block_depth": 3, "kernel": 5, "pool": "none"}
    assert made.inside(deep) is None  # not even its narrowest one fits


def test_the_share_of_settings_that_fit() -> None:
    made = space()
    count, share = made.settings(), made.share
    assert count > 100_000 and 0.1 < share < 0.9
    whole = replace(made, ranges=replace(made.ranges, parameters=10**12, memory=1e15))
    assert made.share == share and whole.share >= share
    cheap = replace(made, reference=replace(made.reference, model=ConvNet(8, 1, stem="whiten")))
    assert cheap.share < share


def test_label_smoothing_is_the_same_for_all_so_that_losses_compare() -> None:
    search, asked = searched(30, (1,), sampler="random")
    assert {recipe.label_smoothing for recipe in asked} == {search.space.reference.label_smoothing}
    assert "label_smoothing" not in search.held


def test_without_flips_none_is_proposed() -> None:
    search = Proposer(context_of(sampler="random"), 20, None, (1,), flips=False)
    assert not any(recipe.flip for recipe in drive(search))
    assert "flip" not in search.space.axes()
    both = Proposer(context_of(sampler="random"), 20, None, (1,))
    assert {recipe.flip for recipe in drive(both)} == {False, True}


def test_rungs_may_see_a_part_of_the_images() -> None:
    search = Proposer(context_of(), 8, None, (1, 2), limit=30)
    asked = drive(search)
    assert {recipe.limit for recipe in asked} == {30}
    assert {tried.recipe.limit for tried in search.tried} == {None}
    assert all(search.known[tried.recipe] is tried for tried in search.tried)


def test_a_report_tells_the_limits_that_its_study_had() -> None:
    context = context_of(SHAPE)
    own = space_of(context).limits()
    assert context.measured == {"the search's headroom": RANGES["quick"].headroom}
    told = replace(context, live=False)
    assert space_of(told).limits() == own
    older = space_of(replace(told, measured={})).limits()  # of a version that did not keep it
    assert older.flops == round(1.5 * own.flops / RANGES["quick"].headroom)
