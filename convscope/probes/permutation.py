"""Does the order of the flattened activations matter? Exact statements: equal logits, and equal training, under a permutation.

conv part → flatten → fully connected part. A permutation of the flattened vector, the same for all samples, with the columns of the first
fully connected layer permuted likewise, gives the same logits; and optimisers that act on each weight alone keep it so.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convscope.layers import ORDERS
from convscope.probes.trials import Shown, device_of, show_shape
from convscope.recipe import UserError, did_you_mean, one_line

OPTIMIZERS: dict[str, Callable[[Any, float], torch.optim.Optimizer]] = {
    "sgd": lambda parameters, lr: torch.optim.SGD(parameters, lr=lr, momentum=0.9, nesterov=True),
    "adam": lambda parameters, lr: torch.optim.Adam(parameters, lr=lr),
}
RATES = {"sgd": 0.01, "adam": 1e-3}


class Ordered(nn.Module):
    """conv part → flatten → a fixed permutation → fully connected part."""

    def __init__(self, conv: nn.Module, order: Tensor, fc: nn.Module) -> None:
        super().__init__()
        self.conv, self.fc = conv, fc
        self.register_buffer("order", order)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.conv(x).flatten(1)[:, self.order])


@dataclass(frozen=True)
class Trajectory:
    """Training in both orders: the largest relative difference of losses and of weights (columns permuted back) over all steps."""

    optimizer: str
    steps: int
    loss_difference: float
    weight_difference: float
    first_loss: float
    last_loss: float


@dataclass(frozen=True, eq=False)
class FlattenOrder(Shown):
    """How little a permutation changes: relative to the largest logit, loss and weight of each tensor, all in float64."""

    features: int
    moved: int
    logits_difference: float
    trajectories: tuple[Trajectory, ...]

    def rows(self) -> list[tuple[str, ...]]:
        rows = [("flatten order", f"{self.moved:,} of {self.features:,} positions moved")]
        rows.append(("logits", f"differ by {self.logits_difference:.3g} of the largest"))
        for t in self.trajectories:
            rows.append(
                (
                    f"{t.steps} steps of {t.optimizer}",
                    f"losses differ by {t.loss_difference:.3g}, weights by {t.weight_difference:.3g} (loss {t.first_loss:.3f} → {t.last_loss:.3f})",
                )
            )
        return rows


def order_named(name: str, shape: Sequence[int], seed: int = 0) -> Tensor:
    """One of ORDERS for a feature map of C×H×W."""
    if name not in ORDERS:
        raise UserError(f"order {one_line(name)!r}{did_you_mean(name, ORDERS)}")
    return ORDERS[name](tuple(shape), torch.Generator().manual_seed(seed))


def permute_columns(fc: nn.Module, order: Tensor) -> None:
    """Columns of the first fully connected layer, in place: column j of the new weight is column order[j] of the old one."""
    layer = _first_linear(fc, len(order))
    with torch.no_grad():
        layer.weight.copy_(layer.weight[:, order])


def flatten_order(
    conv: nn.Module,
    fc: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    order: Tensor | str = "random",
    optimizers: Sequence[str] = ("sgd", "adam"),
    steps: int = 50,
    batch: int = 32,
    seed: int = 0,
) -> FlattenOrder:
    """Compare conv → flatten → fc with conv → flatten → permutation → fc with permuted columns: logits, and `steps` training steps.

    Both modules are copied to float64; images (N×C×H×W) and labels (N) are taken in batches, in turn. `order` is a permutation or one of
    ORDERS. Raises UserError for what is no permutation, and for an fc part whose first linear layer does not take the flattened map.
    """
    conv, fc = copy.deepcopy(conv).double(), copy.deepcopy(fc).double()
    device = device_of(fc)
    images, labels = images.to(device, torch.float64), labels.to(device)
    if len(images) == 0 or len(images) != len(labels):
        raise UserError(f"{len(images)} images with {len(labels)} labels: one label an image")
    try:
        with torch.no_grad():
            features = copy.deepcopy(conv)(images[:2])
    except RuntimeError as error:
        raise UserError(f"the convolution part does not take {show_shape(images.shape)} images: {one_line(error)}") from None
    count = features[0].numel()
    order = order_named(order, features.shape[1:], seed) if isinstance(order, str) else order
    if order.ndim != 1 or not torch.equal(order.sort().values, torch.arange(count, device=order.device)):
        raise UserError(f"order of {show_shape(order.shape)}: not a permutation of 0 … {count - 1}")
    order = order.to(device)
    _first_linear(fc, count)

    def pair() -> tuple[Ordered, Ordered]:
        natural = Ordered(copy.deepcopy(conv), torch.arange(count, device=device), copy.deepcopy(fc))
        other = Ordered(copy.deepcopy(conv), order, copy.deepcopy(fc))
        permute_columns(other.fc, order)
        return natural, other

    natural, other = pair()
    with torch.no_grad():
        logits = natural.eval()(images[: 8 * batch])
        difference = _relative(other.eval()(images[: 8 * batch]), logits)
    inverse = order.argsort()
    trajectories = []
    for name in optimizers:
        if name not in OPTIMIZERS:
            raise UserError(f"optimizer {one_line(name)!r}{did_you_mean(name, OPTIMIZERS)}")
        trajectories.append(_train(*pair(), images, labels, inverse, name, steps, batch))
    return FlattenOrder(count, int((order != torch.arange(count, device=device)).sum()), difference, tuple(trajectories))


def _train(
    natural: Ordered, other: Ordered, images: Tensor, labels: Tensor, inverse: Tensor, name: str, steps: int, batch: int
) -> Trajectory:
    nets = (natural, other)
    optimizers = [OPTIMIZERS[name](net.parameters(), RATES[name]) for net in nets]
    columns = _first_linear(other.fc, len(inverse)).weight
    losses: list[float] = []
    loss_difference = weight_difference = 0.0
    for step in range(steps):
        rows = torch.arange(step * batch, (step + 1) * batch, device=images.device) % len(images)
        pair = []
        for net, optimizer in zip(nets, optimizers, strict=True):
            loss = F.cross_entropy(net(images[rows]), labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            pair.append(float(loss.detach()))
        losses.append(pair[0])
        loss_difference = max(loss_difference, abs(pair[0] - pair[1]) / max(abs(pair[0]), 1e-300))
        with torch.no_grad():
            for a, b in zip(natural.parameters(), other.parameters(), strict=True):
                weight_difference = max(weight_difference, _relative(b[:, inverse] if b is columns else b, a))
    return Trajectory(
        name, steps, loss_difference, weight_difference, losses[0] if losses else 0.0, losses[-1] if losses else 0.0
    )


def _relative(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).abs().max() / expected.abs().max().clamp_min(1e-300))


def _first_linear(fc: nn.Module, features: int) -> nn.Linear:
    layer = next((m for m in fc.modules() if isinstance(m, nn.Linear)), None)
    if layer is None or layer.in_features != features:
        takes = "has no linear layer" if layer is None else f"starts with a linear layer of {layer.in_features:,} inputs"
        raise UserError(f"the fully connected part {takes}; the flattened map has {features:,} numbers")
    return layer
