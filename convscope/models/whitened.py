"""The network of the strong recipe: a whitening layer, then blocks of two convolutions."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convscope.models.whitening import Whiten

NORM_MOMENTUM = 0.1
LOGIT_SCALE = 0.1  # of the last layer: small logits at first, and a tenth of the rate for it


class Conv(nn.Conv2d):
    """3×3, without bias; the first filters begin as the identity.

    A normalisation follows, so only the filters' directions matter.
    """

    scale_free = True

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__(in_channels, channels, 3, padding=1, bias=False)
        with torch.no_grad():
            nn.init.dirac_(self.weight[: min(in_channels, channels)])
            self.weight.mul_(channels**0.5 / self.weight.norm())


class Norm(nn.BatchNorm2d):
    """Batch normalisation without scale."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, momentum=NORM_MOMENTUM)
        self.weight.requires_grad_(False)


class WhitenedBlock(nn.Module):
    """Convolution, 2×2 max pooling, normalisation, GELU; convolution, normalisation, GELU."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.conv1, self.norm1 = Conv(in_channels, channels), Norm(channels)
        self.conv2, self.norm2 = Conv(channels, channels), Norm(channels)

    def forward(self, x: Tensor) -> Tensor:
        x = F.gelu(self.norm1(F.max_pool2d(self.conv1(x), 2)), approximate="tanh")
        return F.gelu(self.norm2(self.conv2(x)), approximate="tanh")


class WhitenedNet(nn.Module):
    """N×C×H×W images to N×K logits; each of the blocks' `widths` halves the map."""

    def __init__(
        self, in_shape: tuple[int, int, int], num_classes: int, widths: tuple[int, ...]
    ) -> None:
        super().__init__()
        self.stem = Whiten(in_shape[0])
        nn.init.zeros_(self.stem.bias)  # pyright: ignore[reportArgumentType]
        self.stem.requires_grad_(False)  # so that the first block needs no gradient of its inputs
        ins = (self.stem.out_channels, *widths)
        pairs = zip(ins, widths, strict=False)
        self.blocks = nn.Sequential(*(WhitenedBlock(a, b) for a, b in pairs))
        self.fc = nn.Linear(widths[-1], num_classes, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.logits(F.gelu(self.stem(self.padded(x)), approximate="tanh"))

    def padded(self, x: Tensor) -> Tensor:
        """A row and a column of zeros more: maps keep their size, which halves."""
        return F.pad(x, (0, 1, 0, 1))

    def logits(self, x: Tensor) -> Tensor:
        """From the whitened map behind its activation, N×8C×H×W, to N×K."""
        return LOGIT_SCALE * self.fc(self.blocks(x).amax((2, 3)))
