"""Training steps: one update each; on an NVIDIA GPU they are recorded once and replayed.

A small network's step asks the GPU for about a hundred kernels of a few microseconds each, and
asking takes longer than computing them. A CUDA graph is the list of these kernels, which the GPU
works through by itself (docs/performance.md has what that buys).
"""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convscope.errors import UserError, one_line
from convscope.recipe import Recipe
from convscope.training.checks import is_out_of_memory
from convscope.training.metrics import autocast

WARMUP = 3  # steps of each shape before it is recorded: libraries choose their kernels in the first

SWITCH = "CONVSCOPE_CUDA_GRAPHS"  # "off" in the environment: every step asks for its kernels

Steps = Callable[[Tensor, Tensor], object]  # of inputs N×C×H×W and labels N


def step(
    net: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor, labels: Tensor, recipe: Recipe
) -> Tensor:
    """One update on a prepared batch; returns the loss (of the last part of recipe.micro_batch).

    The loss is computed from logits in float32, for precision float64 in float64.
    """
    optimizer.zero_grad(set_to_none=True)
    parts = math.ceil(len(x) / recipe.micro_batch) if recipe.micro_batch else 1
    loss = torch.zeros(())
    for part, target in zip(x.tensor_split(parts), labels.tensor_split(parts), strict=True):
        with autocast(recipe.device, recipe.precision):
            out = net(part)
        out = out if out.dtype == torch.float64 else out.float()
        loss = F.cross_entropy(out, target, label_smoothing=recipe.label_smoothing)
        (loss if parts == 1 else loss * (len(part) / len(x))).backward()
    optimizer.step()
    return loss


def steps_of(net: nn.Module, optimizer: torch.optim.Optimizer, recipe: Recipe) -> Steps:
    """What takes one training step after another, as `step` does, on CUDA by replayed graphs.

    The optimiser's rates may be changed between steps by `set_rate` alone.
    """
    if recipe.device.startswith("cuda") and are_graphs_on() and is_recordable(net):
        return GraphSteps(net, optimizer, recipe)
    return lambda x, labels: step(net, optimizer, x, labels, recipe)


def are_graphs_on() -> bool:
    """Raises UserError where CONVSCOPE_CUDA_GRAPHS has another value than "off"."""
    if (switch := os.environ.get(SWITCH, "")) not in ("", "off"):
        raise UserError(f"{SWITCH} = {one_line(switch)}: not off, which switches them off")
    return not switch


def is_recordable(net: nn.Module) -> bool:
    """Whether every step of the network launches the same kernels.

    That is known of torch's layers and of convscope's. A layer of the user's own may decide
    something in Python, which a recording would repeat for ever; so may a hook, and so may what
    computes a layer's weights (torch.nn.utils). Complex weights are not tried either.
    """
    return all(
        type(module).__module__.startswith(("torch.nn.", "convscope."))
        and not type(module).__module__.startswith("torch.nn.utils.")
        and not module._forward_hooks
        and not module._forward_pre_hooks
        and not module._backward_hooks
        and not module._backward_pre_hooks
        for module in net.modules()
    ) and not any(p._backward_hooks or p.is_complex() for p in net.parameters())


@dataclass(frozen=True)
class Recording:
    """A step's kernels, and the memory that they read a batch from."""

    graph: torch.cuda.CUDAGraph
    x: Tensor
    labels: Tensor

    def replay(self, x: Tensor, labels: Tensor) -> None:
        self.x.copy_(x)
        self.labels.copy_(labels)
        self.graph.replay()


class GraphSteps:
    """Steps of which each shape of batch is recorded after WARMUP of them, and then replayed."""

    def __init__(self, net: nn.Module, optimizer: torch.optim.Optimizer, recipe: Recipe) -> None:
        self.net, self.optimizer, self.recipe = net, optimizer, recipe
        self.stream = torch.cuda.Stream(recipe.device)
        self.recordings: dict[object, Recording] = {}
        self.seen: Counter[object] = Counter()
        self.too_large = False
        for group in optimizer.param_groups:  # a recording reads them where they lie
            group["lr"] = torch.full((), float(group["lr"]), device=recipe.device)
            group["capturable"] = True

    def __call__(self, x: Tensor, labels: Tensor) -> None:
        shape = (x.shape, x.stride(), x.dtype)
        if recording := self.recordings.get(shape):
            recording.replay(x, labels)
        elif self.seen[shape] < WARMUP or self.too_large:
            self.seen[shape] += 1
            self.aside(x, labels)
        elif recording := self.record(x, labels):
            self.recordings[shape] = recording
            recording.graph.replay()
        else:
            self.too_large = True
            self.aside(x, labels)

    def aside(self, x: Tensor, labels: Tensor) -> None:
        """A step by single kernels, on the stream that steps are recorded on."""
        current = torch.cuda.current_stream(x.device)
        self.stream.wait_stream(current)
        with torch.cuda.stream(self.stream):
            step(self.net, self.optimizer, x, labels, self.recipe)
        current.wait_stream(self.stream)

    def record(self, x: Tensor, labels: Tensor) -> Recording | None:
        """A step on this batch, recorded but not taken; None where memory lacks for it."""
        graph = torch.cuda.CUDAGraph()
        # all recordings are replayed one after the other: they may share their memory
        pool = next((r.graph.pool() for r in self.recordings.values()), None)
        try:
            x, labels = x.clone(), labels.clone()
            with (
                torch.cuda.device(x.device),
                torch.cuda.graph(
                    graph, pool=pool, stream=self.stream, capture_error_mode="thread_local"
                ),
            ):
                step(self.net, self.optimizer, x, labels, self.recipe)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            return None
        return Recording(graph, x, labels)
