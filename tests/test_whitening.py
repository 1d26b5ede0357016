"""The whitening stem, and pooling behind the first convolution."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F

import convscope as cs
from convscope.data.dataset import Dataset
from convscope.models.building import build
from convscope.models.whitening import Whiten
from convscope.recipe.networks import ConvNet
from convscope.recipe.recipe import Recipe
from convscope.training.tensors import to_device
from convscope.training.trained import network


def test_whitening_decorrelates_the_patches_of_training_images(cifar_slice: Path) -> None:
    data = cs.load(cifar_slice)
    tensors = to_device(data, Recipe(data=str(cifar_slice), precision="float32"))
    x = tensors.inputs("train", slice(0, len(data.train)))
    stem = Whiten(3)
    stem.prepare(x)
    y = F.conv2d(x, stem.weight)
    assert y.shape[1:] == (24, 31, 31) and torch.allclose(y[:, :12], -y[:, 12:], atol=1e-5)
    values = y[:, :12].transpose(0, 1).flatten(1).double()
    covariance = torch.cov(values)
    strong = slice(0, 6)  # the axes whose variance is far above what was added to it
    torch.testing.assert_close(
        covariance[strong, strong], torch.eye(6, dtype=torch.float64), rtol=0, atol=0.05
    )
    assert not stem.weight.requires_grad and stem.bias is not None and stem.bias.requires_grad


def test_training_begins_with_whitening_and_leaves_it(cifar_slice: Path, tmp_path: Path) -> None:
    recipe = Recipe(
        data=str(cifar_slice),
        model=ConvNet(4, 2, stem="whiten", pool_at="first", norm="batch", block_depth=2),
        epochs=1,
    )
    run = cs.train(recipe, tmp_path)
    net = network(run)
    stem = Whiten(3)
    data: Dataset = cs.load(cifar_slice)
    stem.prepare(to_device(data, run.recipe).inputs("train", slice(0, 5000)))
    assert torch.equal(net.get_parameter("stem.weight"), stem.weight)
    assert net.get_parameter("stem.bias").abs().max() > 0


def test_pooling_first_is_plain_torch() -> None:
    model = ConvNet(4, 1, block_depth=2, pool_at="first", skip=True, head="gap")
    net = build(model, (3, 9, 8), 5).double()
    for bias in (p for p in net.parameters() if p.ndim == 1):
        bias.data.normal_(generator=torch.Generator().manual_seed(5))
    x = torch.randn(3, 3, 9, 8, dtype=torch.float64)
    a, b = (net.get_submodule(f"blocks.0.convs.{i}") for i in (0, 1))
    first = F.relu(F.max_pool2d(a(x), 2))
    torch.testing.assert_close(
        net(x), net.get_submodule("fc")(F.relu(b(first) + first).mean((2, 3)))
    )
