"""What the peers share: work, arguments, pixels, network in plain torch, a line of JSON at the end.

Two works: `small` is three 3×3 convolutions with 16, 32 and 64 filters, each with ReLU and 2×2 max
pooling, then one fully connected layer; `nine` has blocks of three convolutions with 32, 64 and 128
filters, a pooling at the end of each. First weights are He normal, biases zero, Adam has a constant
rate. Pixels come from an .npz file that the bench writes (uint8 N×H×W×C), so that a peer needs
nothing of convscope.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

import numpy as np

BLOCKS = {
    "small": ((16, 1), (32, 1), (64, 1)),
    "nine": ((32, 3), (64, 3), (128, 3)),
}  # filters, convolutions
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)


def arguments(description: str | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(
        "--data",
        required=True,
        help=".npz with train_images, train_labels, test_images, test_labels",
    )
    parser.add_argument("--work", choices=sorted(BLOCKS), default="small")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--images", type=int, default=50_000)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--lr", type=float, default=1e-3)
    return parser


def arrays(path: str, images: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """uint8 images N×H×W×C and int64 labels of "train" (the first so many) and "test"."""
    with np.load(path) as file:
        train = file["train_images"][:images], file["train_labels"][:images]
        return {"train": train, "test": (file["test_images"], file["test_labels"])}


def normalised(images: np.ndarray) -> np.ndarray:
    """float32 N×H×W×C with mean 0 and standard deviation 1 a channel."""
    return (images / np.float32(255) - np.asarray(MEAN, np.float32)) / np.asarray(STD, np.float32)


def network(
    work: str, widths: tuple[tuple[int, int], ...] | None = None, inplace: bool = False
) -> Any:
    """The work's network in plain torch, as most would write it."""
    from torch import nn

    layers: list[nn.Module] = []
    previous, side = 3, 32
    for filters, convolutions in widths or BLOCKS[work]:
        for _ in range(convolutions):
            layers += [nn.Conv2d(previous, filters, 3, padding=1), nn.ReLU(inplace=inplace)]
            previous = filters
        layers.append(nn.MaxPool2d(2))
        side //= 2
    net = nn.Sequential(*layers, nn.Flatten(), nn.Linear(previous * side * side, 10))
    for layer in net:
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(
                layer.weight, nonlinearity="relu" if isinstance(layer, nn.Conv2d) else "linear"
            )
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)
    return net


def report(settings: str, **figures: Any) -> None:
    print(json.dumps({**figures, "settings": settings}))
