"""Networks that fit a device: sizes as users write them, what is proposed, what is refused."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path

import pytest

import convscope as cs
from convscope.chapters.capacity.plan import PRESETS, series_of
from convscope.deployment import parse_count, parse_size, size_text
from convscope.planning import (
    Context,
    DeviceLimits,
    Search,
    fits_device,
    limits_of,
    needs,
    reference_recipe,
)
from convscope.planning.search import Proposer
from convscope.planning.search_space import space_of
from convscope.studies.study_json import Plan, plan_from, plan_json
from tests.commands import Cli
from tests.test_search import context_of


def limited(shape: tuple[int, int, int] = (3, 32, 32), **limits: int) -> Context:
    return replace(context_of(shape), search=Search(**limits))


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("256k", 262_144),
        ("256K", 262_144),
        ("256 KiB", 262_144),
        ("320kB", 327_680),
        ("1M", 1_048_576),
        ("1MiB", 1_048_576),
        ("62.5KiB", 64_000),
        (".5m", 524_288),
        ("512", 512),
        ("512B", 512),
        (4096, 4096),
    ],
)
def test_sizes(text: str | int, size: int) -> None:
    assert parse_size(text, "ram") == size


@pytest.mark.parametrize(
    "text", ["", "k", "256q", "-1k", "0", "1e3k", "256kk", "nan", "1ib", "٢k", "9" * 30, "0.1"]
)
def test_bad_sizes_are_refused_in_one_line(text: str) -> None:
    with pytest.raises(cs.UserError, match=r"ram .*: (write a size|a size from)") as caught:
        parse_size(text, "ram")
    assert "\n" not in str(caught.value)


def test_counts_and_texts() -> None:
    assert parse_count("20M", "macs") == 20_000_000
    assert parse_count("1.5G", "macs") == 1_500_000_000
    with pytest.raises(cs.UserError, match="macs '20MiB': write a number"):
        parse_count("20MiB", "macs")
    assert [size_text(n) for n in (1, 800, 64_000, 2**21)] == [
        "1 byte",
        "800 bytes",
        "62.5 KiB",
        "2.00 MiB",
    ]


def test_without_a_device_nothing_changes() -> None:
    context = context_of((3, 32, 32))
    assert limits_of(context) is None and fits_device(context, cs.ConvNet(512, 3))
    assert space_of(context) == replace(space_of(context), device=None)


@pytest.mark.parametrize("preset", ["quick", "standard", "full"])
@pytest.mark.parametrize(
    "limits",
    [
        {"ram": 262_144, "flash": 1_048_576},
        {"ram": 64_000, "flash": 78_745},
        {"ram": 20_000},
        {"ram": 5_000, "flash": 2_000, "macs": 200_000},
        {"macs": 1_000_000, "bits": 16},
    ],
)
def test_reference_search_and_sweep_fit(preset: str, limits: dict[str, int]) -> None:
    context = replace(limited(**limits), preset=preset, chapters=("capacity", "best"))
    held = limits_of(context)
    assert held is not None
    model = reference_recipe(context).model
    assert isinstance(model, cs.ConvNet) and held.hold(needs(context, model))
    sweep = [one for series in series_of(context) for one in series.models]
    assert sweep and all(held.hold(needs(context, one)) for one in sweep)
    space = space_of(context)
    draw = random.Random(0)
    for _ in range(25):
        params = {name: draw.choice(values) for name, values in space.values().items()}
        params = {**params, "lr": 0.1, "weight_decay": 0.01}
        one = space.recipe(space.inside(params) or space.smallest(params)).model
        assert isinstance(one, cs.ConvNet) and held.hold(needs(context, one))
        last = space.recipe(space.smallest(params)).model
        assert isinstance(last, cs.ConvNet) and held.hold(needs(context, last))


def test_a_search_proposes_only_what_fits() -> None:
    context = limited(ram=64_000, flash=78_745)
    search = Proposer(context, 12, None, [1])
    asked = search.ask(12)
    assert len(asked) == 12
    for recipe in asked:
        assert isinstance(recipe.model, cs.ConvNet)
        assert fits_device(context, recipe.model), recipe.model


def test_what_fits_stays_as_it_is() -> None:
    loose, free = limited(ram=10**9), context_of((3, 32, 32))
    assert reference_recipe(loose) == reference_recipe(free)
    assert len(series_of(loose)[0].models) == len(PRESETS["quick"].small.models)


def test_the_reference_is_the_widest_that_fits() -> None:
    context = replace(limited(ram=64_000, flash=78_745), preset="standard")
    model = reference_recipe(context).model
    assert isinstance(model, cs.ConvNet)
    held = limits_of(context)
    assert held is not None
    assert not held.hold(needs(context, replace(model, width=model.width + 1)))
    assert held.twice() == DeviceLimits(128_000, 157_490, None)


def test_a_budget_that_nothing_fits_names_the_smallest_that_would() -> None:
    with pytest.raises(cs.UserError, match=r"ram = 2\.9 KiB: no network .* the smallest") as caught:
        reference_recipe(limited(ram=3_000))
    needed = int(str(caught.value).rsplit("(", 1)[1].rstrip(")"))
    with pytest.raises(cs.UserError, match="no network"):
        reference_recipe(limited(ram=needed - 1))
    model = reference_recipe(limited(ram=needed)).model
    assert isinstance(model, cs.ConvNet) and model.width == 1


def test_a_study_that_nothing_fits_is_refused_before_anything_is_written(
    micro: Path, cli: Cli, tmp_path: Path
) -> None:
    answer = cli("study", micro, "--ram", "100", "--out", tmp_path / "study")
    assert answer.code == 2, answer.err
    assert "ram = 100 bytes: no network of the search fits for 3×" in answer.err
    assert len(answer.err.strip().splitlines()) == 1
    assert not (tmp_path / "study").exists()


def test_limits_are_kept_with_the_study_and_old_ones_have_none() -> None:
    plan = Plan(cs.Recipe(), (0,), search=Search(ram=10, flash=20, macs=30, bits=4))
    assert plan_from(json.loads(json.dumps(plan_json(plan)))) == plan
    tree = plan_json(Plan(cs.Recipe(), (0,)))
    old = {key: tree["search"][key] for key in ("sampler", "trials", "minutes")}
    assert plan_from({**tree, "search": old}).search == Search()


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (("--ram", "256q"), "ram '256q'"),
        (("--flash", "0"), "flash '0'"),
        (("--macs", "many"), "macs 'many'"),
        (("--ram", "256k", "--bits", "7"), "bits = 7"),
    ],
)
def test_the_command_refuses(flags: tuple[str, ...], told: str, cli: Cli) -> None:
    answer = cli("study", "shapes", *flags)
    assert answer.code == 2 and told in answer.err and len(answer.err.strip().splitlines()) == 1
