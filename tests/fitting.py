"""What tests of the loop share: a slice of real images, and a loop in plain torch."""

from __future__ import annotations

import hashlib
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convscope import data
from convscope.data.dataset import Dataset, Split
from convscope.models.building import build
from convscope.recipe.networks import ConvNet
from convscope.recipe.recipe import Recipe
from convscope.training.loop import fit
from convscope.training.state import Row, State
from convscope.training.tensors import to_device

SMALL = ConvNet(width=4, depth=2)


def cut(cifar_slice: Path) -> Dataset:
    """The slice, cut to 310 training, 60 validation and 100 test images: float64 is slow."""
    whole = data.load(cifar_slice)
    parts = {"train": whole.train, "val": whole.val, "test": whole.test}
    counts = {"train": 310, "val": 60, "test": 100}
    return replace(
        whole,
        **{
            name: Split(part.images[: counts[name]], part.labels[: counts[name]])
            for name, part in parts.items()
        },
    )


def figures(row: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in row.items() if "seconds" not in key}


def run(
    loaded: Dataset, recipe: Recipe, resume: State | None = None
) -> tuple[nn.Module, list[Row], list[State], str]:
    tensors = to_device(loaded, recipe)
    net = build(recipe.model, tensors.in_shape, tensors.num_classes, recipe.seed)
    rows: list[Row] = []
    states: list[State] = []
    status = fit(
        net, tensors, recipe, lambda row, state: (rows.append(row), states.append(state)), resume
    )
    return net, rows, states, status


# --- one run against a loop written here


def plain_loop(loaded: Dataset, recipe: Recipe) -> list[dict[str, float]]:
    """The documented training in plain torch, with full-batch evaluation; nothing of ours."""
    x, y = plain_tensors(loaded, recipe)
    net = plain_network(recipe)
    optimizer = plain_optimizer(net, recipe)
    count = len(y["train"])
    batches = -(-count // recipe.batch)
    rows, step = [], 0
    for epoch in range(1, recipe.epochs + 1):
        seed = int.from_bytes(
            hashlib.sha256(repr((recipe.seed, epoch)).encode()).digest()[:7], "big"
        )
        order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
        for index in torch.tensor_split(order, batches):
            for group in optimizer.param_groups:
                group["lr"] = (
                    recipe.lr * 0.5 * (1 + math.cos(math.pi * step / (recipe.epochs * batches)))
                )
            step += 1
            optimizer.zero_grad()
            loss = F.cross_entropy(
                net(x["train"][index]), y["train"][index], label_smoothing=recipe.label_smoothing
            )
            loss.backward()
            optimizer.step()
        rows.append(plain_row(net, x, y))
    return rows


def plain_tensors(loaded: Dataset, recipe: Recipe) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Normalised images and labels of each split."""
    dtype = torch.float64 if recipe.precision == "float64" else torch.float32
    pixels = loaded.train.images.permute(0, 2, 3, 1).reshape(-1, 3).numpy().astype(np.float64)
    mean = torch.tensor(pixels.mean(0)).float().reshape(3, 1, 1)
    scale = torch.tensor(1 / pixels.std(0)).float().reshape(3, 1, 1)
    splits = {"train": loaded.train, "val": loaded.val, "test": loaded.test}
    x = {
        name: ((split.images.float() - mean) * scale).to(dtype).contiguous()
        for name, split in splits.items()
    }
    return x, {name: split.labels for name, split in splits.items()}


def plain_network(recipe: Recipe) -> nn.Module:
    """SMALL, written out, with the weights that the recipe's seed draws."""
    dtype = torch.float64 if recipe.precision == "float64" else torch.float32
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(4, 8, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(8 * 64, 10),
    ).to(dtype)
    drawn = build(recipe.model, (3, 32, 32), 10, recipe.seed).to(dtype).state_dict().values()
    net.load_state_dict(dict(zip(net.state_dict(), drawn, strict=True)))
    return net


def plain_optimizer(net: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    groups = [
        {
            "params": [p for p in net.parameters() if p.ndim > 1],
            "weight_decay": recipe.weight_decay,
        },
        {"params": [p for p in net.parameters() if p.ndim == 1], "weight_decay": 0.0},
    ]
    kinds: dict[str, Any] = {
        "sgd": lambda: torch.optim.SGD(groups, lr=1, momentum=recipe.momentum, nesterov=True),
        "adam": lambda: torch.optim.Adam(groups, lr=1),
        "adamw": lambda: torch.optim.AdamW(groups, lr=1),
    }
    return kinds[recipe.optimizer]()


def plain_row(net: nn.Module, x: dict[str, Tensor], y: dict[str, Tensor]) -> dict[str, float]:
    row = {}
    with torch.no_grad():
        for name in x:
            out = net(x[name])
            losses = -out.log_softmax(1)[torch.arange(len(out)), y[name]].double()
            row[f"{name}_loss"] = losses.mean().item()
            row[f"{name}_loss_sd"] = losses.std().item()
            row[f"{name}_accuracy"] = (out.argmax(1) == y[name]).double().mean().item()
    return row
