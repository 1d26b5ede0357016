"""Pure metrics of a network over a whole split, in eval mode."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

WITHOUT_FLOAT64 = ("mps",)  # devices


@dataclass(frozen=True)
class Metrics:
    """Of a network over `count` images."""

    loss: float  # mean cross-entropy in nats
    accuracy: float  # fraction
    loss_sd: float  # standard deviation of the images' losses
    count: int


def autocast(device: str, precision: str) -> contextlib.AbstractContextManager[object]:
    enabled = precision == "bfloat16"
    return torch.autocast(device.partition(":")[0], torch.bfloat16, enabled=enabled)


def logits_of(
    net: nn.Module,
    count: int,
    batch_of: Callable[[int, int], Tensor],
    device: str,
    precision: str,
    batch: int,
) -> Tensor:
    """Logits (count×K, float32 or float64) of images 0 … count−1, in eval mode.

    batch_of: batch_of(start, stop) returns the prepared inputs of those images.
    batch: images evaluated at once.
    """
    training = net.training
    net.eval()
    rows: list[Tensor] = []
    try:
        with torch.no_grad(), autocast(device, precision):
            for start in range(0, count, batch):
                out = net(batch_of(start, min(start + batch, count)))
                dtype = out.dtype if out.dtype == torch.float64 else torch.float32
                rows.append(out.to(dtype, copy=True))  # a module may return one tensor each time
    finally:
        net.train(training)
    return torch.cat(rows)


class OnCopies(nn.Module):
    """A network that is given copies: a user's may write into its input, which are the images."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net, self.training = net, net.training

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x.clone())


class Views(nn.Module):
    """A network's logits averaged over views of each image (Jordan 2024).

    The image and its mirror image; with kind "flip and shift" also both moved by a pixel along
    both axes, at half the weight.
    """

    def __init__(self, net: nn.Module, kind: str) -> None:
        super().__init__()
        self.net, self.shifts = net, kind == "flip and shift"
        self.training = net.training

    def forward(self, x: Tensor) -> Tensor:
        out = self.both(x)
        if not self.shifts:
            return out
        height, width = x.shape[2:]
        padded = F.pad(x, (1, 1, 1, 1), mode="reflect" if min(height, width) > 1 else "replicate")
        first, last = (self.both(padded[:, :, d : d + height, d : d + width]) for d in (0, 2))
        return 0.5 * out + 0.25 * (first + last)

    def both(self, x: Tensor) -> Tensor:
        return 0.5 * (self.net(x).float() + self.net(x.flip(-1)).float())


def halved(losses: Tensor) -> Tensor:
    """Losses as float16 on the CPU, a quarter of their bytes in float64.

    Rounding changes a loss by at most 2^-11 of it (5e-4), or by 3e-8 where it is below 6e-5. What
    is larger than float16 holds becomes its largest number, 65,504.
    """
    return losses.detach().clamp(max=torch.finfo(torch.float16).max).to(torch.float16).cpu()


def packed(values: Tensor) -> Tensor:
    """N booleans, eight to a byte."""
    return torch.from_numpy(np.packbits(values.cpu().numpy()))


def unpacked(values: Tensor, count: int) -> Tensor:
    """The first `count` booleans of `packed`.

    Raises ValueError where the values are of another type or number.
    """
    if values.dtype != torch.uint8 or values.ndim != 1 or len(values) != -(-count // 8):
        raise ValueError(
            f"{count} booleans are not packed in {tuple(values.shape)} values of {values.dtype}"
        )
    return torch.from_numpy(np.unpackbits(values.numpy(), count=count)).bool()


def metrics_of(logits: Tensor, labels: Tensor) -> Metrics:
    """Metrics from logits N×K and labels N; sums are taken in float64."""
    return metrics_by_image(losses_of(logits, labels), logits.argmax(1) == labels)


def losses_of(logits: Tensor, labels: Tensor) -> Tensor:
    """The cross-entropy of each image in nats."""
    return F.cross_entropy(logits, labels, reduction="none")


def metrics_by_image(losses: Tensor, right: Tensor) -> Metrics:
    """Metrics from the images' losses and which of them are right; sums are taken in float64."""
    losses, count = in_float64(losses), len(losses)
    mean = losses.mean()
    spread = losses.std(correction=1) if count > 1 else torch.zeros(())
    accuracy = in_float64(right).mean()
    return Metrics(loss=float(mean), accuracy=float(accuracy), loss_sd=float(spread), count=count)


def in_float64(values: Tensor) -> Tensor:
    """The values in float64, on the CPU where their device has no float64."""
    return (values.cpu() if values.device.type in WITHOUT_FLOAT64 else values).double()
