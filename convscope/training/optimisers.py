"""Optimisers and learning-rate schedules by name."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import nn

from convscope.recipe import Recipe
from convscope.training.muon import muon

WARMUP = 0.25  # the share of the steps in which one-cycle rises


def constant(_progress: float) -> float:
    return 1.0


def cosine(progress: float) -> float:
    """Half a cosine from 1 to 0 (Loshchilov & Hutter 2017, without restarts)."""
    return 0.5 * (1 + math.cos(math.pi * progress))


def onecycle(progress: float) -> float:
    """Rises linearly from 4 % over the first quarter, then falls linearly to 0 (Smith 2018)."""
    return 0.04 + 0.96 * progress / WARMUP if progress < WARMUP else (1 - progress) / (1 - WARMUP)


def linear(progress: float) -> float:
    return 1 - progress


SCHEDULES: dict[str, Callable[[float], float]] = {
    "constant": constant,
    "cosine": cosine,
    "onecycle": onecycle,
    "linear": linear,
}


def learning_rate(recipe: Recipe, step: int, steps: int) -> float:
    """The rate of step `step` (from 0) of `steps`.

    It is a function of the step alone, so that resuming needs no state.
    """
    return recipe.lr * SCHEDULES[recipe.schedule](step / steps)


def set_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Every group's rate; a group may have a scale of its own.

    A rate that lies on a GPU is overwritten there, where recorded steps read it.
    """
    for group in optimizer.param_groups:
        rate = lr * group.get("lr_scale", 1.0)
        if isinstance(group["lr"], torch.Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate


def optimiser(net: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """The recipe's optimiser of the parameters that are trained.

    Weight decay acts on weights, not on biases and normalisation; it is decoupled for adamw and
    muon, and an L2 penalty otherwise.
    """
    if recipe.optimizer == "muon":
        return muon(net, recipe.lr, recipe.weight_decay, low=recipe.precision == "bfloat16")
    trained = [p for p in net.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": recipe.weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    fused = not any(p.is_complex() for p in trained)  # fused kernels know real numbers alone
    if recipe.optimizer == "sgd":
        nesterov = recipe.momentum > 0
        return torch.optim.SGD(
            groups, lr=recipe.lr, momentum=recipe.momentum, nesterov=nesterov, fused=fused
        )
    adam = torch.optim.Adam if recipe.optimizer == "adam" else torch.optim.AdamW
    return adam(groups, lr=recipe.lr, fused=fused)
