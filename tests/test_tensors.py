"""Data on the device: normalisation, inputs, subsets, label noise; what may be shared."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from fitting import SMALL, cut
from hypothesis import given
from hypothesis import strategies as st

import convscope.training.tensors
from convscope import data
from convscope.data.dataset import Dataset
from convscope.errors import UserError
from convscope.recipe.recipe import Recipe
from convscope.training.main_path import train
from convscope.training.tensors import (
    nested_subset,
    noisy,
    pixel_statistics,
    stratified_subset,
    tensors_key,
    to_device,
    trained_on,
    wrong_labels,
)


@pytest.fixture(scope="module")
def loaded(cifar_slice: Path) -> Dataset:
    return cut(cifar_slice)


def test_normalisation_gives_mean_0_and_standard_deviation_1(loaded: Dataset) -> None:
    recipe = Recipe(precision="float64")
    x = to_device(loaded, recipe).inputs("train", slice(None))
    assert x.dtype == torch.float64 and x.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(
        x.mean((0, 2, 3)), torch.zeros(3, dtype=torch.float64), atol=1e-6, rtol=0
    )
    torch.testing.assert_close(
        x.std((0, 2, 3), correction=0), torch.ones(3, dtype=torch.float64), atol=1e-6, rtol=0
    )


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float64"])
@pytest.mark.parametrize("resident_bytes", [600_000_000, 0])
def test_inputs_are_the_normalised_images_in_any_order(
    loaded: Dataset,
    monkeypatch: pytest.MonkeyPatch,
    layout: str,
    precision: str,
    resident_bytes: int,
) -> None:
    monkeypatch.setattr(
        convscope.training.tensors, "RESIDENT_BYTES", resident_bytes
    )  # too large a set is normalised a batch at a time
    recipe = Recipe(precision=precision, layout=layout)
    tensors = to_device(loaded, recipe)
    index = torch.tensor([5, 0, 309, 5])
    memory = torch.channels_last if layout == "channels_last" else torch.contiguous_format
    for split in ("train", "val", "test"):
        images = getattr(loaded, split).images
        for rows in (index % len(images), slice(3, 9), slice(len(images) - 2, len(images))):
            expected = ((images[rows].float() - tensors.mean) * tensors.scale).to(
                getattr(torch, precision)
            )
            x = tensors.inputs(split, rows)
            assert torch.equal(x, expected) and x.dtype == expected.dtype
            assert x.is_contiguous(memory_format=memory)
        assert tensors.count(split) == len(images) and torch.equal(
            tensors.labels[split], getattr(loaded, split).labels
        )


@pytest.mark.parametrize("shape", [(3, 2, 1, 1), (251, 3, 5, 7), (2, 1, 96, 96)])
@pytest.mark.parametrize("lowest", [0, 255])
def test_pixel_statistics_are_those_of_exact_sums(shape: tuple[int, ...], lowest: int) -> None:
    images = torch.randint(lowest, 256, shape, generator=torch.Generator().manual_seed(0)).byte()
    mean, sd = pixel_statistics(images)
    channels = images.transpose(0, 1).flatten(1).double()
    assert torch.allclose(mean, channels.mean(1), rtol=1e-14) and torch.allclose(
        sd, channels.std(1, correction=0), rtol=1e-12
    )


def test_pixel_statistics_of_cifar10_are_the_published_ones(cifar_slice: Path) -> None:
    mean, sd = pixel_statistics(data.load("cifar10", val=0, verify=False).train.images)
    assert (mean / 255).tolist() == pytest.approx([0.49139968, 0.48215841, 0.44653091], abs=1e-8)
    assert (sd / 255).tolist() == pytest.approx([0.24703223, 0.24348513, 0.26158784], abs=1e-8)


@given(st.lists(st.integers(0, 4), min_size=20, max_size=200), st.data())
def test_a_stratified_subset_has_each_class_with_its_share(
    drawn: list[int], pick: st.DataObject
) -> None:
    labels = torch.tensor([*range(5), *drawn])
    count = pick.draw(st.integers(1, len(labels)))
    chosen = stratified_subset(labels, count, seed=1)
    assert len(chosen) == count == len(set(chosen.tolist())) and chosen.tolist() == sorted(
        chosen.tolist()
    )
    shares = torch.bincount(labels, minlength=5).double() * count / len(labels)
    assert (torch.bincount(labels[chosen], minlength=5) - shares).abs().max() < 1
    assert torch.equal(chosen, stratified_subset(labels, count, seed=1))


@given(st.lists(st.integers(0, 4), min_size=20, max_size=80), st.integers(0, 9))
@pytest.mark.slow
def test_nested_subsets_are_parts_of_larger_ones_and_stratified(
    drawn: list[int], seed: int
) -> None:
    labels = torch.tensor([*range(5), *drawn])
    totals = torch.bincount(labels, minlength=5).double()
    smaller: set[int] = set()
    for count in range(1, len(labels) + 1):
        chosen = nested_subset(labels, count, seed)
        assert len(chosen) == count and chosen.tolist() == sorted(chosen.tolist())
        assert smaller < set(chosen.tolist())
        smaller = set(chosen.tolist())
        off = (torch.bincount(labels[chosen], minlength=5) - totals * count / len(labels)).abs()
        assert (off <= 0.5 + totals / len(labels) * 2.5 + 1e-9).all()  # 5 classes


def test_a_subset_seed_draws_the_images_of_a_limit(loaded: Dataset) -> None:
    def pixels(**fields: Any) -> set[bytes]:
        images = trained_on(loaded, Recipe(**fields)).images
        return {image.contiguous().numpy().tobytes() for image in images}

    seeds = [{"subset_seed": seed} for seed in (0, 1)]
    small, large = ([pixels(limit=n, **seed) for seed in seeds] for n in (50, 100))
    assert all(a < b for a, b in zip(small, large, strict=True)) and small[0] != small[1]
    assert pixels(limit=50, split_seed=1) != pixels(limit=50)
    labels = trained_on(loaded, Recipe(limit=100, subset_seed=5)).labels
    shares = torch.bincount(loaded.train.labels).double() * 100 / len(loaded.train)
    assert (torch.bincount(labels, minlength=10) - shares).abs().max() < 1
    assert len(pixels(subset_seed=5)) == len(pixels())


def test_a_noise_seed_draws_wrong_classes_only(loaded: Dataset) -> None:
    labels = torch.arange(50_000) % 10
    drawn = wrong_labels(labels, 10, 0.3, 2)
    changed = drawn != labels
    sd = math.sqrt(0.3 * 0.7 / 50_000)
    assert changed.double().mean().item() == pytest.approx(0.3, abs=4 * sd)
    steps = torch.bincount((drawn - labels)[changed] % 10, minlength=10)
    assert steps[0] == 0 and steps[1:].min() > 0.09 * int(changed.sum())  # all alike
    assert torch.equal(drawn, wrong_labels(labels, 10, 0.3, 2))
    assert not torch.equal(drawn, wrong_labels(labels, 10, 0.3, 3))
    assert (wrong_labels(labels, 10, 1.0, 0) != labels).all()

    noise = {"label_noise": 0.5, "noise_seed": 7}
    whole = trained_on(loaded, Recipe(**noise))
    assert torch.equal(whole.labels, trained_on(loaded, Recipe(seed=4, **noise)).labels)
    known = {x.numpy().tobytes(): y for x, y in zip(whole.images, whole.labels, strict=True)}
    part = trained_on(loaded, Recipe(limit=60, subset_seed=1, **noise))
    assert len(part) == 60 and all(  # in every subset the same
        known[x.numpy().tobytes()] == y for x, y in zip(part.images, part.labels, strict=True)
    )


def test_label_noise_replaces_its_share_once() -> None:
    labels = torch.arange(50_000) % 10
    recipe = Recipe(label_noise=0.3, seed=2)
    drawn = noisy(labels, 10, recipe)
    changed = (drawn != labels).double().mean().item()
    assert changed == pytest.approx(
        0.3 * 0.9, abs=4 * math.sqrt(0.27 * 0.73 / 50_000)
    )  # one drawn class of ten is the old one
    assert torch.bincount(drawn, minlength=10).min() > 4_700
    assert torch.equal(drawn, noisy(labels, 10, recipe)) and not torch.equal(
        drawn, noisy(labels, 10, replace(recipe, seed=3))
    )
    assert torch.equal(noisy(labels, 10, replace(recipe, label_noise=0.0)), labels)


def test_only_training_labels_are_noisy(loaded: Dataset) -> None:
    tensors = to_device(loaded, Recipe(label_noise=1.0))
    assert torch.equal(tensors.labels["val"], loaded.val.labels) and torch.equal(
        tensors.labels["test"], loaded.test.labels
    )
    assert not torch.equal(tensors.labels["train"], loaded.train.labels)


def test_tensors_are_shared_only_by_recipes_that_may_share_them() -> None:
    base = tensors_key(Recipe())
    assert base == tensors_key(Recipe(seed=1, lr=0.1, model=SMALL, epochs=1, batch=1))
    for other in (
        Recipe(val=0.2),
        Recipe(split_seed=1),
        Recipe(limit=10),
        Recipe(limit=10, subset_seed=0),
        Recipe(label_noise=0.1, noise_seed=0),
        Recipe(label_noise=0.1),
        Recipe(data="x"),
        Recipe(size=8),
    ):
        assert tensors_key(other) != base
    assert tensors_key(Recipe(label_noise=0.1)) != tensors_key(Recipe(label_noise=0.1, seed=1))
    same = {"label_noise": 0.1, "noise_seed": 3}
    assert tensors_key(Recipe(**same)) == tensors_key(Recipe(seed=1, **same))
    assert tensors_key(Recipe(**same)) != tensors_key(replace(Recipe(**same), noise_seed=4))
    assert tensors_key(Recipe(limit=10)) != tensors_key(Recipe(limit=10, subset_seed=0))
    assert tensors_key(Recipe(subset_seed=5, noise_seed=5, evaluate_every=2)) == base


def test_data_that_were_split_otherwise_than_the_recipe_says_are_refused(
    loaded: Dataset, cifar_slice: Path, tmp_path: Path
) -> None:
    """A run is a pure function of its recipe, so of no split that the recipe does not name."""
    recipe = Recipe(data=str(cifar_slice), model=SMALL, epochs=1, evaluate=("val",))
    run = train(recipe, tmp_path / "a")
    other = data.load(cifar_slice, val=0.5)
    with pytest.raises(UserError, match="val"):
        assert (
            train(recipe, tmp_path / "b", data=other).rows[0]["val_loss"] == run.rows[0]["val_loss"]
        )
