"""Networks and factories with bad manners, as users write them: factories for Custom."""

from __future__ import annotations

import os
import random
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from own_modules import Shape, body, conv
from torch import Tensor, nn


class Plain(nn.Module):
    """A body whose subclasses do something else with the images or with the answer."""

    def __init__(self, in_shape: Shape, num_classes: int) -> None:
        super().__init__()
        self.net = body(conv(in_shape), num_classes)

    def forward(self, x: Tensor) -> Any:
        return self.net(x)


class WritesIntoImages(Plain):
    def forward(self, x: Tensor) -> Tensor:
        return self.net(x.sub_(0.5).mul_(2.0))


class OneAnswer(Plain):
    """Gives the same tensor each time, with new numbers in it."""

    def __init__(self, in_shape: Shape, num_classes: int) -> None:
        super().__init__(in_shape, num_classes)
        self.kept = torch.zeros(0)

    def forward(self, x: Tensor) -> Tensor:
        out = self.net(x)
        if self.training:
            return out
        if self.kept.shape != out.shape:
            self.kept = torch.empty_like(out)
        return self.kept.copy_(out)


class DrawsElsewhere(Plain):
    """Weights and noise from numpy and Python."""

    def __init__(self, in_shape: Shape, num_classes: int) -> None:
        super().__init__(in_shape, num_classes)
        drawn = np.random.normal(0.0, 0.1, (num_classes, 4))
        self.net[4].weight.data = torch.from_numpy(drawn).float()

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            x = x * np.random.uniform(0.5, 1.5) + random.random()
        return self.net(x)


class Probabilities(Plain):
    def forward(self, x: Tensor) -> Tensor:
        return self.net(x).softmax(1)


class DropsAlways(Plain):
    def forward(self, x: Tensor) -> Tensor:
        return self.net(F.dropout(x, 0.5))


class CountsInSecret(Plain):
    """What it has learned stands in a number, which no state dict has."""

    def __init__(self, in_shape: Shape, num_classes: int) -> None:
        super().__init__(in_shape, num_classes)
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += self.training
        return self.net(x) / (1 + self.calls)


class LearnsInPassing(Plain):
    """A running mean that is not kept."""

    def __init__(self, in_shape: Shape, num_classes: int) -> None:
        super().__init__(in_shape, num_classes)
        self.register_buffer("mean", torch.zeros(num_classes), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        out = self.net(x)
        if self.training:
            self.mean = self.mean.lerp(out.detach().mean(0) + 1, 0.5)
        return out - self.mean


class Normalised(Plain):
    """Nothing to say against it: dropout and batch normalisation, a buffer drawn by the seed."""

    def __init__(self, in_shape: Shape, num_classes: int) -> None:
        super().__init__(in_shape, num_classes)
        self.norm, self.drop = nn.BatchNorm2d(in_shape[0]), nn.Dropout(0.2)
        self.register_buffer("turn", torch.randn(num_classes), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(self.drop(self.norm(x))) * self.turn


class Unregistered(nn.Module):
    """Layers in a plain list, which torch does not see."""

    def __init__(self, in_shape: Shape, num_classes: int) -> None:
        super().__init__()
        self.layers = [conv(in_shape), nn.ReLU()]
        self.head = nn.Linear(4, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return self.head(x.mean((2, 3)))


class ByClosure(Plain):
    """Computes by a function that closes over the module."""

    def __init__(self, in_shape: Shape, num_classes: int) -> None:
        super().__init__(in_shape, num_classes)
        self.call = lambda x: self.net(x)

    def forward(self, x: Tensor) -> Tensor:
        return self.call(x)


class TrainsForNothing(Plain):
    """Its train() returns nothing, where torch's returns the module."""

    def train(self, mode: bool = True) -> Any:
        super().train(mode)
        self.net[0].eval()


class NoModes(Plain):
    """As what torch.export gives."""

    def train(self, mode: bool = True) -> Any:
        raise NotImplementedError("Calling train() is not supported yet.")


# --- answers that are no logits


class Pair(Plain):
    def forward(self, x: Tensor) -> Any:
        return self.net(x), self.net(x)


class Named(Plain):
    def forward(self, x: Tensor) -> Any:
        return {"logits": self.net(x)}


class Nothing(Plain):
    def forward(self, x: Tensor) -> Any:
        self.net(x)


class Classes(Plain):
    def forward(self, x: Tensor) -> Tensor:
        return (self.net(x) * 100).long()


class Squeezed(Plain):
    def forward(self, x: Tensor) -> Tensor:
        return self.net(x).squeeze()


class Detached(Plain):
    def forward(self, x: Tensor) -> Tensor:
        return self.net(x).detach()


class SparseGradients(nn.Module):
    def __init__(self, in_shape: Shape, num_classes: int) -> None:
        super().__init__()
        self.table, self.fc = nn.Embedding(64, 4, sparse=True), nn.Linear(4, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.table((x * 8).long().clamp(0, 63)).mean((1, 2, 3)))


def fixed(in_shape: Shape, num_classes: int) -> nn.Module:
    return body(conv(in_shape), num_classes).requires_grad_(False)


def without_values(in_shape: Shape, num_classes: int) -> nn.Module:
    with torch.device("meta"):
        return body(conv(in_shape), num_classes)


# --- factories


def sets_everything(in_shape: Shape, num_classes: int) -> nn.Module:
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(3)
    torch.set_grad_enabled(False)
    torch.use_deterministic_algorithms(True)
    torch.set_default_device("cpu")
    torch.set_float32_matmul_precision("medium")
    os.chdir("/")
    return body(conv(in_shape), num_classes)


def sets_the_seed(in_shape: Shape, num_classes: int) -> nn.Module:
    torch.manual_seed(0)
    return body(conv(in_shape), num_classes)


def prints(in_shape: Shape, num_classes: int) -> nn.Module:
    print("building a network")
    return body(conv(in_shape), num_classes)


def gives_class(in_shape: Shape, num_classes: int) -> Any:
    return Plain


def gives_pair(in_shape: Shape, num_classes: int) -> Any:
    return Plain(in_shape, num_classes), 3


def gives_nothing(in_shape: Shape, num_classes: int) -> Any:
    Plain(in_shape, num_classes)


def swapped(num_classes: int, in_shape: Shape) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(in_shape[0] * 64, num_classes))


class Wide(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, width, 3)


network = nn.Linear(2, 2)
number = 3
