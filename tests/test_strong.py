"""The strong recipe and what it is made of: Muon, alternating flips, smaller images, parts of
batches, several views."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import convscope as cs
from convscope import data
from convscope.data.dataset import Dataset
from convscope.errors import UserError
from convscope.fast import accelerate, why_not
from convscope.models.building import build
from convscope.models.sizes import size_of
from convscope.recipe.networks import ConvNet, Custom
from convscope.recipe.recipe import Recipe
from convscope.recipes import NAMED, named
from convscope.training import augmentation as augment
from convscope.training.checks import small_shape
from convscope.training.loop import change, first_mirrored
from convscope.training.metrics import Views, autocast
from convscope.training.muon import ADAM_RATE, ITERATIONS, Muon, orthogonal
from convscope.training.optimisers import optimiser, set_rate
from convscope.training.steps import step
from convscope.training.tensors import to_device
from convscope.training.trained import network

NET = "convscope.recipes.strong:network"
SMALL = Custom(NET, {"widths": [8, 16, 16]})


@pytest.fixture(scope="module")
def loaded(cifar_slice: Path) -> Dataset:
    return data.load(cifar_slice)


def noise(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


# --- Muon


@pytest.mark.parametrize("shape", [(8, 27), (64, 576), (256, 64), (16, 16)])
def test_orthogonal_keeps_singular_vectors_and_evens_out_singular_values(
    shape: tuple[int, int],
) -> None:
    matrix = noise(*shape, dtype=torch.float64)
    u, s, vh = torch.linalg.svd(matrix, full_matrices=False)
    found = u.T @ orthogonal(matrix, 5) @ vh.T
    values = found.diagonal()
    assert (found - values.diag()).abs().max() < 1e-10  # the same vectors
    kept = s > 0.05 * s.max()
    assert values[kept].min() > 0.65 and values.max() < 1.25
    by_hand = s / (s.norm() + 1e-7)  # what the iteration makes of each singular value
    for _ in range(ITERATIONS):
        by_hand = 3.4445 * by_hand - 4.7750 * by_hand**3 + 2.0315 * by_hand**5
    torch.testing.assert_close(
        (u.T @ orthogonal(matrix) @ vh.T).diagonal(), by_hand, rtol=0, atol=1e-10
    )


def test_a_step_of_muon_by_hand() -> None:
    conv = nn.Conv2d(2, 4, 3).double()
    before = conv.weight.detach().clone()
    optimizer = Muon(
        [{"params": [conv.weight], "kind": "filters", "weight_decay": 0.5}], lr=0.1, low=False
    )
    first, second = (
        noise(4, 2, 3, 3, dtype=torch.float64),
        noise(4, 2, 3, 3, seed=1, dtype=torch.float64),
    )
    conv.weight.grad = first
    optimizer.step()
    after = before * (1 - 0.1 * 0.5) - 0.1 * orthogonal((1.6 * first).view(4, -1)).view_as(first)
    torch.testing.assert_close(conv.weight.detach(), after)
    conv.weight.grad = second
    optimizer.step()
    momentum = 0.6 * first + second
    after = after * 0.95 - 0.1 * orthogonal((second + 0.6 * momentum).view(4, -1)).view_as(first)
    torch.testing.assert_close(conv.weight.detach(), after)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_muon_does_not_depend_on_the_layout(layout: torch.memory_format) -> None:
    def trained(memory_format: torch.memory_format) -> Tensor:
        conv = nn.Conv2d(3, 5, 3, bias=False).double()
        conv.weight.data = noise(5, 3, 3, 3, dtype=torch.float64)
        conv = conv.to(memory_format=memory_format)
        optimizer = Muon(
            [{"params": [conv.weight], "kind": "filters", "scale_free": True}], 0.1, low=False
        )
        for seed in range(3):
            conv.weight.grad = noise(5, 3, 3, 3, seed=seed, dtype=torch.float64).contiguous(
                memory_format=memory_format
            )
            optimizer.step()
        return conv.weight.detach().contiguous()

    torch.testing.assert_close(trained(layout), trained(torch.contiguous_format))


def test_the_rest_is_trained_as_torch_s_adam_does() -> None:
    ours, theirs = nn.Linear(5, 3), nn.Linear(5, 3)
    theirs.load_state_dict(ours.state_dict())
    muon = optimiser(ours, Recipe(optimizer="muon", lr=0.24, weight_decay=0.1))
    decayed, plain = {"params": [theirs.weight]}, {"params": [theirs.bias], "weight_decay": 0.0}
    adam = torch.optim.AdamW(
        [decayed, plain], lr=0.24 * ADAM_RATE, betas=(0.9, 0.95), weight_decay=0.1
    )
    for seed in range(5):
        for net, optimizer in ((ours, muon), (theirs, adam)):
            optimizer.zero_grad()
            F.cross_entropy(net(noise(7, 5, seed=seed)), torch.arange(7) % 3).backward()
            if optimizer is muon:
                set_rate(optimizer, 0.24)
            optimizer.step()
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def test_filters_before_a_normalisation_keep_their_norm_and_others_do_not() -> None:
    def norms(norm: str) -> list[float]:
        net = build(ConvNet(4, 2, block_depth=2, norm=norm), (3, 16, 16), 10)
        recipe = Recipe(optimizer="muon", lr=1e-9)
        optimizer = optimiser(net, recipe)
        step(net, optimizer, noise(6, 3, 16, 16), torch.arange(6), recipe)
        return [float(p.detach().norm() / len(p) ** 0.5) for p in net.parameters() if p.ndim == 4]

    assert norms("batch") == pytest.approx([1.0] * 4, rel=1e-4)
    assert min(norms("none")) > 1.1  # as they were drawn


# --- a batch


def test_alternating_flips_mirror_every_image_in_every_other_epoch() -> None:
    recipe = Recipe(flip=True, alternate=True, seed=4)
    mirrored = first_mirrored(1000, recipe)
    assert mirrored is not None and 400 < int(mirrored.sum()) < 600
    assert torch.equal(mirrored, first_mirrored(1000, recipe))
    x = noise(1000, 1, 4, 4)
    seen = [change(x, recipe, torch.Generator(), mirrored ^ bool(epoch % 2)) for epoch in (1, 2, 3)]
    assert torch.equal(seen[0], seen[2])
    assert torch.equal(seen[0] + seen[1], x + x.flip(-1))
    assert (
        first_mirrored(10, Recipe(flip=True)) is None
        and first_mirrored(10, Recipe(alternate=True)) is None
    )


def test_smaller_images() -> None:
    x = noise(5, 3, 32, 28).bfloat16().contiguous(memory_format=torch.channels_last)
    small = augment.shrink(x, *small_shape(tuple(x.shape[1:]))[1:])
    assert (
        small.shape == (5, 3, 24, 21)
        and small.dtype == x.dtype
        and small.is_contiguous(memory_format=torch.channels_last)
    )
    assert augment.shrink(torch.full((1, 1, 8, 8), 3.0), 6, 6) == pytest.approx(
        torch.full((1, 1, 6, 6), 3.0)
    )
    assert small_shape((1, 1, 2)) == (1, 1, 1)


def test_a_network_of_one_size_of_images_is_refused_smaller_ones(
    loaded: Dataset, tmp_path: Path
) -> None:
    recipe = Recipe(model=ConvNet(2, 1), epochs=2, small_share=0.5)
    with pytest.raises(UserError, match="24×24"):
        cs.train(replace(recipe, data="slice"), tmp_path, data=loaded)
    assert not list(tmp_path.glob("*/recipe.json"))


def test_parts_of_a_batch_give_the_batch_s_step() -> None:
    def after(micro: int | None) -> list[Tensor]:
        recipe = Recipe(
            optimizer="sgd", lr=0.1, precision="float64", micro_batch=micro, label_smoothing=0.1
        )
        net = build(ConvNet(3, 1), (3, 8, 8), 10).double()
        step(
            net,
            optimiser(net, recipe),
            noise(11, 3, 8, 8, dtype=torch.float64),
            torch.arange(11) % 10,
            recipe,
        )
        return [p.detach() for p in net.parameters()]

    for micro in (1, 4, 11, 50):
        torch.testing.assert_close(after(micro), after(None))


def test_views_are_averaged() -> None:
    net = build(ConvNet(3, 1), (3, 8, 8), 10)
    x = noise(4, 3, 8, 8)
    both = lambda x: 0.5 * (net(x) + net(x.flip(-1)))  # noqa: E731
    torch.testing.assert_close(Views(net, "flip")(x), both(x))
    padded = F.pad(x, (1, 1, 1, 1), mode="reflect")
    expected = 0.5 * both(x) + 0.25 * both(padded[:, :, :8, :8]) + 0.25 * both(padded[:, :, 2:, 2:])
    torch.testing.assert_close(Views(net, "flip and shift")(x), expected)
    assert Views(nn.Flatten(), "flip and shift")(torch.ones(2, 1, 1, 1)).shape == (2, 1)


# --- the network


@pytest.mark.parametrize(
    ("shape", "blocks"),
    [
        ((3, 32, 32), 3),
        ((1, 28, 28), 3),
        ((3, 64, 48), 3),
        ((3, 16, 16), 3),
        ((3, 8, 8), 2),
        ((2, 4, 4), 1),
    ],
)
def test_the_network_takes_images_of_any_size_and_three_quarters_of_it(
    shape: tuple[int, int, int], blocks: int
) -> None:
    net = build(SMALL, shape, 7)
    assert len(net.get_submodule("blocks")) == blocks
    x = noise(4, *shape)
    assert net(x).shape == (4, 7) and net(
        augment.shrink(x, *small_shape(tuple(x.shape[1:]))[1:])
    ).shape == (4, 7)


def test_images_too_small_for_it_are_refused() -> None:
    with pytest.raises(UserError, match=r"2×5"):
        build(SMALL, (3, 2, 5), 10)


def test_its_stem_needs_no_gradient_and_filters_begin_as_the_identity() -> None:
    net = build(SMALL, (3, 32, 32), 10)
    assert not any(p.requires_grad for p in net.get_submodule("stem").parameters())
    weight = net.get_parameter("blocks.1.conv2.weight")
    identity = torch.zeros_like(weight)
    identity[torch.arange(16), torch.arange(16), 1, 1] = 1
    torch.testing.assert_close(weight.detach(), identity)
    assert (
        size_of(Custom(NET), (3, 32, 32), 10).parameters
        == 24 * 64 * 9
        + 64 * 64 * 9
        + 64 * 256 * 9
        + 3 * 256 * 256 * 9
        + 2 * (64 + 256 + 256)
        + 2560
    )


@pytest.mark.skipif(bool(why_not(torch.bfloat16)), reason="no compiled kernels")
def test_compiled_kernels_agree_with_the_library() -> None:
    def passed(kind: str, training: bool) -> tuple[Tensor, Tensor]:
        net = build(SMALL, (3, 32, 32), 10).train(training).to(memory_format=torch.channels_last)
        x = noise(32, 3, 32, 32, seed=1).contiguous(
            memory_format=torch.channels_last
        )  # of seed 0 two maxima differ by 3e-6
        twin = accelerate(net, Recipe(kernels=kind))
        with autocast("cpu", "float32"), torch.set_grad_enabled(training):
            out = twin(x)
        if not training:
            return out, out
        F.cross_entropy(out, torch.arange(32) % 10).backward()
        return out.detach(), torch.cat(
            [p.grad.flatten() for p in net.parameters() if p.grad is not None]
        )

    for training in (True, False):
        for a, b in zip(passed("compiled", training), passed("library", training), strict=True):
            assert float((a - b).norm() / b.norm()) < 1e-4


# --- the recipe


def test_the_recipe_fits_the_number_of_images() -> None:
    whole = named("strong", 50_000)
    assert "strong" in NAMED and whole.batch == 500 and whole.micro_batch == 250 and whole.val == 0
    assert named("strong", 10**6) == whole
    few = named("strong", 600)
    assert few.batch == 32 and few.micro_batch is None and whole.epochs < few.epochs <= 60
    assert math.ceil(5000 / named("strong", 5000).batch) == 40 and named(
        "strong", 5000
    ).lr == pytest.approx(whole.lr / 2)


@pytest.mark.slow
def test_it_learns_and_is_recorded_with_and_without_several_views(
    loaded: Dataset, tmp_path: Path, cifar_slice: Path
) -> None:
    whole = data.load(cifar_slice, val=0.0)
    recipe = replace(
        named("strong", len(whole.train)),
        data=str(cifar_slice),
        model=SMALL,
        epochs=8,
        batch=100,
        lr=0.1,
    )
    run = cs.train(recipe, tmp_path, data=whole)
    assert run.status == "finished" and run.best == run.last
    plain, viewed = run.last["test_accuracy"], run.last["test_views_accuracy"]
    assert plain > 0.25 and viewed > 0.25 and run.last["test_views_loss"] != run.last["test_loss"]
    assert all("test_views_loss" not in row for row in run.rows[:-1])
    assert "flip and shift: test loss" in str(run)
    tensors = to_device(whole, recipe)
    net = Views(network(run, data=whole), recipe.views)
    with torch.no_grad():
        answers = net(tensors.inputs("test", slice(None))).argmax(1)
    assert float((answers == tensors.labels["test"]).double().mean()) == viewed


def test_the_command(cli: Callable[..., Any], class_folder: Path, tmp_path: Path) -> None:
    options = ("--size", 8, "--epochs", 2, "--kernels", "library", "--precision", "float32")
    answer = cli(
        *("train", class_folder, "--recipe", "strong", *options, "--layout", "channels_last"),
        *("--threads", 1, "--out", tmp_path, "--json"),
    )
    tree = json.loads(answer.out)
    assert (
        tree["status"] == "finished"
        and "test_views_accuracy" in tree["rows"][-1]
        and len(tree["rows"]) == 2
    )
    assert "by several views" in answer.err
