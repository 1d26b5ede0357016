"""What a forward pass of each candidate takes, measured once per study."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch

from convscope.machine import seconds_of
from convscope.models import build
from convscope.planning import Context
from convscope.recipe import Recipe
from convscope.statistics import Configuration
from convscope.training import DTYPES, autocast, place

LATENCY_BATCH = 64

# seconds for "one" image and for a "batch" of LATENCY_BATCH, by the recipe of a configuration;
# None where an earlier study has not measured them
Latencies = dict[Recipe, dict[str, float] | None]


def latencies_of(context: Context, found: Sequence[Configuration]) -> Latencies:
    """Seconds of a forward pass for each configuration."""
    out: Latencies = {}
    for one in found:
        # what the time depends on: the network and the machine's settings
        recipe = replace(context.base, model=one.model, seed=0)
        value = context.measure(
            f"latency {recipe.id}", lambda recipe=recipe: latency(recipe, context)
        )
        known = isinstance(value, dict) and {"one", "batch"} <= set(value)
        out[one.recipe] = value if known else None
    return out


def latency(recipe: Recipe, context: Context) -> dict[str, float]:
    """Median seconds of a forward pass of `one` image and of a `batch`, in evaluation mode.

    Precision and threads are the recipe's.
    """
    net = place(build(recipe.model, context.data.in_shape, context.data.num_classes), recipe).eval()
    layout = torch.channels_last if recipe.layout == "channels_last" else torch.contiguous_format

    def seconds(count: int, turns: int) -> float:
        x = torch.randn(count, *context.data.in_shape, generator=torch.Generator().manual_seed(0))
        x = x.to(recipe.device, DTYPES[recipe.precision]).contiguous(memory_format=layout)
        return seconds_of(lambda: net(x).float().sum().item(), turns)

    with threads(recipe), torch.no_grad(), autocast(recipe.device, recipe.precision):
        return {"one": seconds(1, 25), "batch": seconds(LATENCY_BATCH, 5)}


@contextlib.contextmanager
def threads(recipe: Recipe) -> Iterator[None]:
    """Torch's threads as in the recipe, and afterwards as they were."""
    before = torch.get_num_threads()
    torch.set_num_threads(recipe.threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
