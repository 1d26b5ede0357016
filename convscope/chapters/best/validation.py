"""What a trained network answers on the validation images, and its loss after one temperature."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from convscope.chapters.best.clock import threads
from convscope.errors import UserError
from convscope.planning import Context
from convscope.training import Run, check_device, network, note_unreadable, place, predict, resident

# 1/temperature is sought between these: a network that is right on every image has no optimum
LOWEST, HIGHEST = 1e-2, 1e2

HALVINGS = 60


@dataclass(frozen=True)
class Validated:
    """A run on the validation images, by the weights of its best epoch.

    temperature: the one of lowest cross-entropy there.
    loss: the mean cross-entropy of the logits divided by it, in nats.
    right: which images are classified right.
    """

    temperature: float
    loss: float
    right: NDArray[np.bool_]


def fitted_temperature(logits: Tensor, labels: Tensor) -> float:
    """The T of lowest mean cross-entropy of logits / T (Guo, Pleiss, Sun and Weinberger 2017).

    The cross-entropy is convex in 1/T, so its slope has one root, which is found by halving. It
    stays between 1 / HIGHEST and 1 / LOWEST: where every image is classified right, ever smaller
    temperatures are better.

    logits: N×K; labels: N.
    """
    logits = logits.double()
    own = logits.gather(1, labels[:, None]).squeeze(1)

    def slope(inverse: float) -> float:
        expected = ((inverse * logits).softmax(1) * logits).sum(1)
        return float((expected - own).mean())

    low, high = LOWEST, HIGHEST
    for _ in range(HALVINGS):
        middle = (low * high) ** 0.5
        low, high = (low, middle) if slope(middle) > 0 else (middle, high)
    return 1 / (low * high) ** 0.5


def validation_logits(context: Context, run: Run, mirrored: bool = False) -> Tensor:
    """Logits N×K of the validation images, or of their mirror images.

    Raises UserError where the weights cannot be read.
    """
    check_device(run.recipe.device)
    net = network(run, data=context.data)
    tensors = resident(run.recipe, data=context.data)
    with threads(run.recipe), torch.no_grad():
        placed = place(Mirrored(net) if mirrored else net, run.recipe)
        return predict(placed, tensors, "val", run.recipe).double().cpu()


class Mirrored(nn.Module):
    """A network that sees its images mirrored, left for right."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x.flip(-1))


def validated(context: Context, run: Run) -> Validated | None:
    """None where the weights cannot be read and no earlier process has looked at them."""

    def answers() -> dict[str, Any] | None:
        try:
            logits = validation_logits(context, run)
        except UserError as error:
            note_unreadable("answers on the validation images", run, error)
            return None
        labels = context.data.val.labels
        temperature = fitted_temperature(logits, labels)
        loss = nn.functional.cross_entropy(logits / temperature, labels)
        right = (logits.argmax(1) == labels).numpy()
        return {
            "temperature": temperature,
            "loss": float(loss),
            "right": np.packbits(right).tobytes().hex(),
        }

    known = context.computed("answers on the validation images", run, answers)
    if known is None:
        return None
    bits = np.unpackbits(np.frombuffer(bytes.fromhex(known["right"]), np.uint8))
    right = bits[: len(context.data.val.labels)].astype(bool)
    return Validated(known["temperature"], known["loss"], right)
