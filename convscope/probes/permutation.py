"""Does the order of the flattened activations matter? Equal logits, and equal training.

conv part → flatten → fully connected part. A permutation of the flattened vector, the same for all
samples, with the columns of the first fully connected layer permuted likewise, gives the same
logits. Optimisers that act on each weight alone keep it so.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convscope.errors import UserError, did_you_mean, one_line
from convscope.models import ORDERS, copied
from convscope.probes.trials import Shown, device_of, show_shape

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
        self.order = order

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.conv(x).flatten(1)[:, self.order])


@dataclass(frozen=True)
class Trajectory:
    """Training in both orders, compared at each of `steps` steps of an optimiser.

    loss_difference, weight_difference: the largest relative ones; columns are permuted back.
    first_loss, last_loss: of the natural order.
    """

    optimizer: str
    steps: int
    loss_difference: float
    weight_difference: float
    first_loss: float
    last_loss: float


@dataclass(frozen=True, eq=False)
class FlattenOrder(Shown):
    """How little a permutation of the flattened map changes, in float64.

    features: numbers in the map; moved: those that the permutation moves.
    logits_difference: relative to the largest logit; trajectories: one for each optimiser.
    """

    features: int
    moved: int
    logits_difference: float
    trajectories: tuple[Trajectory, ...]

    def rows(self) -> list[tuple[str, ...]]:
        rows = [("flatten order", f"{self.moved:,} of {self.features:,} positions moved")]
        rows.append(("logits", f"differ by {self.logits_difference:.3g} of the largest"))
        for t in self.trajectories:
            differ = (
                f"losses differ by {t.loss_difference:.3g}, weights by {t.weight_difference:.3g}"
            )
            loss = f"(loss {t.first_loss:.3f} → {t.last_loss:.3f})"
            rows.append((f"{t.steps} steps of {t.optimizer}", f"{differ} {loss}"))
        return rows


def order_named(name: str, shape: Sequence[int], seed: int = 0) -> Tensor:
    """One of ORDERS for a feature map of C × H × W; raises UserError for an unknown name."""
    if name not in ORDERS:
        raise UserError(f"order {one_line(name)!r}{did_you_mean(name, ORDERS)}")
    return ORDERS[name](tuple(shape), torch.Generator().manual_seed(seed))


def permute_columns(fc: nn.Module, order: Tensor) -> None:
    """Permute the columns of the first fully connected layer in place.

    Column j of the new weight is column order[j] of the old one.
    """
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
    """Compare conv → flatten → fc with conv → flatten → permutation → fc with permuted columns.

    conv, fc: the two parts of a network; both are copied to float64.
    images, labels: N × C × H × W and N, taken in batches, in turn.
    order: a permutation of the flattened map, or one of ORDERS.
    optimizers: "sgd" (with Nesterov momentum) or "adam", each trained from the same start.
    steps, batch: training steps, and images in each; seed: of a random order.

    Raises UserError for what is no permutation, and for an fc part whose first linear layer does
    not take the flattened map. Proof: docs/theory.md, section 2.
    """
    how = {"optimizers": optimizers, "steps": steps, "batch": batch, "seed": seed}
    (found,) = flatten_orders(conv, fc, images, labels, [order], **how)
    return found


def flatten_orders(
    conv: nn.Module,
    fc: nn.Module,
    images: Tensor,
    labels: Tensor,
    orders: Sequence[Tensor | str],
    *,
    optimizers: Sequence[str] = ("sgd", "adam"),
    steps: int = 50,
    batch: int = 32,
    seed: int = 0,
) -> list[FlattenOrder]:
    """`flatten_order` for several orders at once, with the same arguments.

    The network in the natural order is trained once and compared with all of them.
    """
    conv, fc = copied(conv).double(), copied(fc).double()
    device = device_of(fc)
    images, labels = images.to(device, torch.float64), labels.to(device)
    if len(images) == 0 or len(images) != len(labels):
        raise UserError(f"{len(images)} images with {len(labels)} labels: one label per image")
    permutations = _permutations(orders, _map_shape(conv, images), seed, device)
    count = len(permutations[0])
    _first_linear(fc, count)
    for name in optimizers:
        if name not in OPTIMIZERS:
            raise UserError(f"optimizer {one_line(name)!r}{did_you_mean(name, OPTIMIZERS)}")
    natural, *twins = _twins(conv, fc, permutations)
    with torch.no_grad():
        logits = natural.eval()(images[: 8 * batch])
        differences = [_relative(twin.eval()(images[: 8 * batch]), logits) for twin in twins]
    trajectories = [
        _train(_twins(conv, fc, permutations), images, labels, name, steps, batch)
        for name in optimizers
    ]
    natural_order, *others = permutations
    return [
        FlattenOrder(
            features=count,
            moved=int((order != natural_order).sum()),
            logits_difference=difference,
            trajectories=tuple(each[i] for each in trajectories),
        )
        for i, (order, difference) in enumerate(zip(others, differences, strict=True))
    ]


def _map_shape(conv: nn.Module, images: Tensor) -> tuple[int, ...]:
    """The shape of the feature map that is flattened, of one sample."""
    try:
        with torch.no_grad():
            return tuple(copied(conv)(images[:2]).shape[1:])
    except RuntimeError as error:
        shape = show_shape(images.shape)
        raise UserError(
            f"the convolution part does not take {shape} images: {one_line(error)}"
        ) from None


def _permutations(
    orders: Sequence[Tensor | str], shape: tuple[int, ...], seed: int, device: torch.device
) -> list[Tensor]:
    """The natural order of a feature map, then those asked for."""
    identity = torch.arange(math.prod(shape), device=device)
    asked = [order_named(o, shape, seed) if isinstance(o, str) else o for o in orders]
    for order in asked:
        if order.ndim != 1 or not torch.equal(order.sort().values, identity.to(order.device)):
            raise UserError(
                f"order of {show_shape(order.shape)}: not a permutation of 0 … {len(identity) - 1}"
            )
    return [identity, *(order.to(device) for order in asked)]


def _twins(conv: nn.Module, fc: nn.Module, permutations: Sequence[Tensor]) -> list[Ordered]:
    """The natural network, and for each other order a copy with the columns permuted likewise."""
    made = [Ordered(copied(conv), order, copied(fc)) for order in permutations]
    for net in made[1:]:
        permute_columns(net.fc, net.order)
    return made


def _train(
    nets: Sequence[Ordered], images: Tensor, labels: Tensor, name: str, steps: int, batch: int
) -> list[Trajectory]:
    """The networks trained side by side; each but the first compared with the first."""
    natural, *twins = nets
    optimizers = [OPTIMIZERS[name](net.parameters(), RATES[name]) for net in nets]
    columns = [_first_linear(twin.fc, len(twin.order)).weight for twin in twins]
    inverses = [twin.order.argsort() for twin in twins]
    losses: list[float] = []
    loss_differences, weight_differences = [0.0] * len(twins), [0.0] * len(twins)
    for step in range(steps):
        rows = torch.arange(step * batch, (step + 1) * batch, device=images.device) % len(images)
        now = []
        for net, optimizer in zip(nets, optimizers, strict=True):
            loss = F.cross_entropy(net(images[rows]), labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            now.append(float(loss.detach()))
        losses.append(now[0])
        with torch.no_grad():
            for i, (twin, column, inverse) in enumerate(zip(twins, columns, inverses, strict=True)):
                loss_differences[i] = max(
                    loss_differences[i], abs(now[0] - now[1 + i]) / max(abs(now[0]), 1e-300)
                )
                for a, b in zip(natural.parameters(), twin.parameters(), strict=True):
                    weight_differences[i] = max(
                        weight_differences[i], _relative(b[:, inverse] if b is column else b, a)
                    )
    first, last = (losses[0], losses[-1]) if losses else (0.0, 0.0)
    return [
        Trajectory(name, steps, loss_difference, weight_difference, first, last)
        for loss_difference, weight_difference in zip(
            loss_differences, weight_differences, strict=True
        )
    ]


def _relative(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).abs().max() / expected.abs().max().clamp_min(1e-300))


def _first_linear(fc: nn.Module, features: int) -> nn.Linear:
    layer = next((m for m in fc.modules() if isinstance(m, nn.Linear)), None)
    if layer is None or layer.in_features != features:
        takes = "has no linear layer"
        if layer is not None:
            takes = f"starts with a linear layer of {layer.in_features:,} inputs"
        raise UserError(
            f"the fully connected part {takes}; the flattened map has {features:,} numbers"
        )
    return layer
