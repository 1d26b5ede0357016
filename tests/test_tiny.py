"""The tiny recipe: its network fits ST's budget and learns; what it reaches is bench/tiny.py's."""

from __future__ import annotations

import importlib
import sys
from dataclasses import replace
from pathlib import Path

import convscope as cs
from convscope.recipes import NAMED, named, tiny

sys.path.append(str(Path(__file__).parent.parent / "bench"))
bench_tiny = importlib.import_module("tiny")
RAM, FLASH = 64_000, 78_745  # 62.5 and 76.9 KiB


def test_the_network_fits_the_budget_of_the_published_one() -> None:
    fit = cs.device_fit(tiny.NETWORK, (3, 32, 32))
    assert fit.peak_bytes <= RAM and fit.weight_bytes <= FLASH
    assert fit.macs <= 12_501_632  # of ResNet-8
    assert fit.peak is not None and fit.peak.name == "blocks.0.convs.0" and not fit.notes


def test_the_recipe_is_named_and_made_for_the_images() -> None:
    assert "tiny" in NAMED and named("tiny", 50_000) == tiny.recipe()
    whole, few, more = tiny.recipe(), tiny.recipe(5_000), tiny.recipe(500_000)
    assert (whole.batch, whole.val, whole.model) == (tiny.BATCH, 0.0, tiny.NETWORK)
    assert few.batch == 125 and few.lr < whole.lr and few.epochs > whole.epochs
    assert more == whole


def test_it_learns(micro: Path, tmp_path: Path) -> None:
    """Narrowed, on a few real images: the training loss falls."""
    small = replace(tiny.NETWORK, width=4, depth=2)
    recipe = replace(tiny.recipe(200), data=str(micro), model=small, epochs=4, batch=16, crop=0)
    run = cs.train(replace(recipe, evaluate=("train", "test"), evaluate_every=1), tmp_path / "runs")
    assert run.rows[-1]["train_loss"] < run.rows[0]["train_loss"]
    found = bench_tiny.with_eight_bits(run)
    assert found["float"] == run.rows[-1]["test_accuracy"] and 0 <= found["int8"] <= 1
