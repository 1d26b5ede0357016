"""Collapse of affine networks, the name of the part that is not affine, and the flatten order."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convscope.errors import UserError
from convscope.models.building import build
from convscope.models.orders import ORDERS
from convscope.probes.affine import NotAffineError, collapse, parts
from convscope.probes.permutation import flatten_order, flatten_orders, order_named
from convscope.recipe.networks import ConvNet, SoftmaxRegression

SHAPE = (3, 8, 8)
LINEAR = ConvNet(width=4, depth=2, block_depth=2, activation="identity", pool="avg", skip=True)


def test_softmax_regression_gives_its_own_weights() -> None:
    net = build(SoftmaxRegression(), SHAPE, 10)
    layer = net[1]
    found = collapse(net, SHAPE)
    torch.testing.assert_close(found.weight, layer.weight.detach().double())
    torch.testing.assert_close(found.bias, layer.bias.detach().double())
    assert found.templates.shape == (10, *SHAPE) and found.rank == 10


@pytest.mark.parametrize(
    "spec",
    [
        LINEAR,
        ConvNet(width=3, depth=2, activation="identity", pool="stride", norm="batch", hidden=(5,)),
    ],
)
def test_linear_networks_collapse_exactly(spec: ConvNet) -> None:
    net = build(spec, SHAPE, 10)
    for buffer in net.buffers():
        if buffer.is_floating_point():
            buffer.add_(torch.rand(buffer.shape, generator=torch.Generator().manual_seed(1)))
    images = torch.randn(200, *SHAPE, generator=torch.Generator().manual_seed(2))
    found = collapse(net, SHAPE, inputs=images, batch=50)
    assert found.max_error < 1e-12 and found.agreement == 1.0 and found.checked == 200
    assert found.rank == (5 if spec.hidden else 10)
    reference = net.double().eval()(images.double()).detach()
    torch.testing.assert_close(found(images), reference)
    torch.testing.assert_close(collapse(net, SHAPE, method="gradients").weight, found.weight)


def test_a_global_average_head_has_less_rank() -> None:
    """Circular convolutions of three channels, averaged: the map sees the three means alone."""
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, padding_mode="circular"),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 10),
    )
    found = collapse(net, SHAPE)
    assert found.rank == 3 and found.singular_values[3] < 1e-12


class Functional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.two(F.relu(self.one(x)))


class Product(nn.Module):
    """Bilinear: a nonlinear function of both inputs together, linear in each."""

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x * y


class Gated(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.product = nn.Conv2d(3, 3, 1), Product()

    def forward(self, x: Tensor) -> Tensor:
        return self.product(x, self.conv(x))


def trained_to_the_end(net: nn.Module, images: Tensor, labels: Tensor) -> float:
    """The training loss of a network after L-BFGS on all images at once."""
    torch.manual_seed(0)
    for layer in net.modules():
        if isinstance(layer, nn.Linear):
            layer.reset_parameters()
    net.double()
    optimiser = torch.optim.LBFGS(
        net.parameters(), max_iter=120, history_size=30, line_search_fn="strong_wolfe"
    )

    def step() -> Tensor:
        optimiser.zero_grad()
        loss = F.cross_entropy(net(images), labels)
        loss.backward()
        return loss

    optimiser.step(step)
    return step().item()


def test_a_bottleneck_binds_until_it_is_wide_enough(cifar_slice: Path) -> None:
    """docs/theory.md, section 4: a wider layer helps a linear network while it is the narrowest.

    Ten classes need rank 9. Softmax regression's optimum is reached there, and passed by none.
    """
    with np.load(cifar_slice) as file:
        pixels, labels = torch.from_numpy(file["x_train"]), torch.from_numpy(file["y_train"])
    grey = pixels[:600].double().mean(3)[:, None]
    images = F.avg_pool2d(grey, 8).flatten(1)  # 16 numbers each
    values, vectors = torch.linalg.eigh(images.T.cov())
    images, labels = (images - images.mean(0)) @ vectors / values.sqrt(), labels[:600]
    best = trained_to_the_end(nn.Sequential(nn.Linear(16, 10)), images, labels)
    losses = {
        units: trained_to_the_end(
            nn.Sequential(nn.Linear(16, units), nn.Linear(units, 10)), images, labels
        )
        for units in (1, 3, 9)
    }
    assert losses[1] > losses[3] + 0.02 > losses[9] + 0.04
    assert losses[9] == pytest.approx(best, abs=2e-3)
    assert min(losses.values()) > best - 1e-9


@pytest.mark.parametrize(
    ("net", "part"),
    [
        (build(ConvNet(width=4, depth=2, pool="avg"), SHAPE, 10), "blocks.0.act"),
        (build(ConvNet(width=4, depth=2, activation="identity"), SHAPE, 10), "blocks.0.pool"),
        (
            build(
                ConvNet(width=4, depth=1, activation="identity", pool="avg", norm="group"),
                SHAPE,
                10,
            ),
            "blocks.0.norms.0",
        ),
        (
            nn.Sequential(
                nn.Conv2d(3, 3, 1), nn.Sequential(nn.Flatten(), nn.Linear(192, 4), nn.Softplus())
            ),
            "1.2",
        ),
        (nn.Sequential(nn.Identity(), Functional()), "1"),
        (Gated(), "product"),
    ],
    ids=[
        "activation",
        "max pooling",
        "group norm",
        "nested",
        "function in a forward",
        "product of two",
    ],
)
def test_the_part_that_is_not_affine_is_named(net: nn.Module, part: str) -> None:
    with pytest.raises(NotAffineError) as caught:
        collapse(net, SHAPE)
    assert caught.value.part == part
    assert (
        part in str(caught.value)
        and "\n" not in str(caught.value)
        and isinstance(caught.value, UserError)
    )


def test_parts_are_judged_in_place_and_mode() -> None:
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Dropout(0.5),
        nn.Flatten(),
        nn.Linear(36, 3),
    )
    assert [p.name for p in parts(net.train(), SHAPE) if not p.affine] == ["1", "2", "3", "4"]
    assert [p.name for p in parts(net.eval(), SHAPE) if not p.affine] == ["2", "3"]
    assert [p.out_shape for p in parts(net.eval(), SHAPE)][:2] == [(4, 6, 6), (4, 6, 6)]


def test_plain_callables_and_leaving_the_model_alone() -> None:
    with pytest.raises(NotAffineError, match="square"):
        collapse(torch.square, SHAPE)
    assert collapse(lambda x: x.flatten(1)[:, :2] + 1, SHAPE).bias.tolist() == [1, 1]
    net = nn.Sequential(nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(192, 2)).train()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    collapse(net, SHAPE)
    assert net.training and all(torch.equal(v, before[k]) for k, v in net.state_dict().items())


def test_collapse_errors() -> None:
    net = build(SoftmaxRegression(), SHAPE, 10)
    with pytest.raises(UserError, match="5×3×9×9"):
        collapse(net, SHAPE, inputs=torch.zeros(5, 3, 9, 9))
    with pytest.raises(UserError, match="1×7×7"):
        collapse(net, (1, 7, 7))
    assert "same predictions" in str(collapse(net, SHAPE))


def conv_and_fc() -> tuple[nn.Module, nn.Module, Tensor, Tensor]:
    torch.manual_seed(0)
    conv = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))
    fc = nn.Sequential(nn.Linear(96, 20), nn.ReLU(), nn.Linear(20, 10))
    return conv, fc, torch.randn(256, *SHAPE), torch.randint(0, 10, (256,))


@pytest.mark.parametrize("order", ["reversed", "random", "channel-last"])
def test_flatten_order_does_not_matter(order: str) -> None:
    """Equal logits and training trajectories: relative 1e-8 over 50 steps of SGD and Adam."""
    found = flatten_order(*conv_and_fc(), order=order, steps=50)
    assert found.moved > 80 and found.logits_difference < 1e-13
    for trajectory in found.trajectories:
        assert trajectory.steps == 50 and trajectory.last_loss < trajectory.first_loss
        assert trajectory.loss_difference < 1e-8 and trajectory.weight_difference < 1e-8
    assert {t.optimizer for t in found.trajectories} == {"sgd", "adam"}
    assert "50 steps of adam" in str(found)


def test_orders() -> None:
    for name in ORDERS:
        assert sorted(order_named(name, (2, 3, 3)).tolist()) == list(range(18))
    x = torch.arange(18).reshape(2, 3, 3)
    assert torch.equal(
        x.flatten()[order_named("channel-last", (2, 3, 3))], x.permute(1, 2, 0).flatten()
    )


def test_several_orders_at_once_are_each_order_alone() -> None:
    parts = conv_and_fc()
    orders = ["reversed", torch.arange(95, -1, -1), "natural"]
    several = flatten_orders(*parts, orders, steps=5)
    alone = [flatten_order(*parts, order=order, steps=5) for order in orders]
    assert [str(found) for found in several] == [str(found) for found in alone]
    first, same, natural = several
    assert first.trajectories == same.trajectories and first.moved == 96
    assert natural.moved == 0 and natural.logits_difference == 0.0
    assert [(t.loss_difference, t.weight_difference) for t in natural.trajectories] == [
        (0.0, 0.0)
    ] * 2


def test_flatten_order_errors() -> None:
    conv, fc, images, labels = conv_and_fc()
    with pytest.raises(UserError, match="permutation"):
        flatten_order(conv, fc, images, labels, order=torch.zeros(96, dtype=torch.long))
    with pytest.raises(UserError, match="reversd"):
        flatten_order(conv, fc, images, labels, order="reversd")
    with pytest.raises(UserError, match="96 numbers"):
        flatten_order(conv, nn.Linear(95, 10), images, labels)
    with pytest.raises(UserError, match="label"):
        flatten_order(conv, fc, images, labels[:5])
    with pytest.raises(UserError, match="adm"):
        flatten_order(conv, fc, images, labels, optimizers=["adm"])
