"""A step of bench/gpu.py: steps of training as `fit` takes them, beside what others would do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from gpu_images import (
    NARROW_NINE,
    NARROW_STRONG,
    NINE,
    SMALL,
    STRONG,
    Finding,
    data_here,
    found,
)
from torch import Tensor, nn

import convscope as cs
from convscope.data import Dataset
from convscope.models import build
from convscope.recipes import named
from convscope.training import Steps, optimiser, place, seconds_now, step, steps_of, to_device
from convscope.training.loop import prepare
from convscope.training.steps import GraphSteps

SAME = 1e-3

COMPARED = 8  # steps


def speed(name: str) -> Callable[[str, bool], Finding]:
    """A finding about a network's steps as `fit` takes them, beside what others would do.

    Images per second of steps on one batch of noise: as convscope takes them, with each kernel
    asked for, and by torch.compile. Good where the weights after some steps of the first two kinds
    differ by no more than SAME, relative to their norm, or than twice what a repetition does.
    """

    def finding(device: str, quick: bool) -> Finding:
        images = data_here(True)
        nine, strong = (NARROW_NINE, NARROW_STRONG) if quick else (NINE, STRONG)
        model = {"small": SMALL, "nine": nine, "strong": strong}[name]
        recipe = named("strong", 50_000) if name == "strong" else cs.Recipe()
        precision = "bfloat16" if device.startswith("cuda") else "float32"
        recipe = replace(recipe, device=device, precision=precision, layout="channels_last")
        recipe = replace(recipe, model=model)
        if quick:
            recipe = replace(recipe, batch=8, micro_batch=None)
        seconds = 0.01 if quick else 1.0
        ours, rate = after_steps(recipe, images, seconds, steps_of)
        _, without = after_steps(recipe, images, seconds, single_kernels)
        # the same sums in the same order: what the rates are kept in differs in `single_kernels`
        one, again = (after_steps(recipe, images, 0.0, never_recorded)[0] for _ in range(2))
        off, repeated = (float((a - one).norm() / one.norm()) for a in (ours, again))
        text = (
            f"{rate:,.0f}/s, asking for every kernel {without:,.0f}/s; weights {off:.0e} apart, "
            f"of a repetition {repeated:.0e}"
        )
        for mode in () if quick else ("default", "reduce-overhead"):
            text += f"; torch.compile {mode}: {compiled(recipe, images, mode)}"
        return found(off <= max(SAME, 2 * repeated), text, images_per_second=rate)

    return finding


def after_steps(
    recipe: cs.Recipe, images: Dataset, seconds: float, stepper: Callable[..., Steps]
) -> tuple[Tensor, float]:
    """The weights after COMPARED steps, and images per second of the steps that follow."""
    take_step, net, x, labels = made_ready(recipe, images, stepper)
    for _ in range(COMPARED):
        take_step(x, labels)
    weights = torch.cat([p.detach().flatten().double().cpu() for p in net.parameters()])
    count, started = 0, seconds_now(recipe.device)
    while (spent := seconds_now(recipe.device) - started) < seconds or not count:
        for _ in range(10):
            take_step(x, labels)
        count += 10
    return weights, count * len(x) / spent


def made_ready(
    recipe: cs.Recipe, images: Dataset, stepper: Callable[..., Steps]
) -> tuple[Steps, nn.Module, Tensor, Tensor]:
    tensors = to_device(images, recipe)
    net = build(recipe.model, (3, 32, 32), 10)
    prepare(net, tensors)
    net = place(net, recipe).train()
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(recipe.batch, 3, 32, 32, generator=generator)
    x = x.to(recipe.device, tensors.dtype).contiguous(memory_format=torch.channels_last)
    labels = torch.arange(recipe.batch, device=recipe.device) % 10
    return stepper(net, optimiser(net, recipe), recipe), net, x, labels


def single_kernels(net: nn.Module, optimizer: torch.optim.Optimizer, recipe: cs.Recipe) -> Steps:
    return lambda x, labels: step(net, optimizer, x, labels, recipe)


def never_recorded(net: nn.Module, optimizer: torch.optim.Optimizer, recipe: cs.Recipe) -> Steps:
    take_step = steps_of(net, optimizer, recipe)
    if isinstance(take_step, GraphSteps):
        take_step.too_large = True  # as where memory lacks
    return take_step


def compiled(recipe: cs.Recipe, images: Dataset, mode: str) -> str:
    """Images per second where the network's forward and backward pass are compiled.

    Batches are whole: compiled graphs overwrite what another part of a batch has left.
    """
    recipe = replace(recipe, micro_batch=None)

    def stepper(net: nn.Module, optimizer: torch.optim.Optimizer, recipe: cs.Recipe) -> Steps:
        faster: Any = torch.compile(net, mode=mode)
        return lambda x, labels: step(faster, optimizer, x, labels, recipe)

    started = seconds_now(recipe.device)
    take_step, _net, x, labels = made_ready(recipe, images, stepper)
    for _ in range(COMPARED):
        take_step(x, labels)
    first = seconds_now(recipe.device) - started
    count, started = 0, seconds_now(recipe.device)
    while (spent := seconds_now(recipe.device) - started) < 1.0:
        for _ in range(10):
            take_step(x, labels)
        count += 10
    return f"{count * len(x) / spent:,.0f}/s after {first:.0f} s"
