"""What a forward pass of each candidate takes, measured once a study, with the recipe's precision and threads."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch

from convscope.chapters.best.choice import Candidate
from convscope.machine import seconds_of
from convscope.models import build
from convscope.planning import Context
from convscope.recipe import Recipe
from convscope.training import DTYPES, autocast, place

LATENCY_BATCH = 64


def latencies_of(
    context: Context, found: Sequence[Candidate]
) -> dict[Recipe, dict[str, float] | None]:
    """Seconds of a forward pass of one image and of a batch, for each configuration; None where an older study has not measured them."""
    out: dict[Recipe, dict[str, float] | None] = {}
    for candidate in found:
        # what the time depends on: the network and the machine's settings
        recipe = replace(context.base, model=candidate.recipe.model, seed=0)
        value = context.measure(
            f"latency {recipe.id}", lambda recipe=recipe: latency(recipe, context)
        )
        out[candidate.recipe] = (
            value if isinstance(value, dict) and {"one", "batch"} <= set(value) else None
        )
    return out


def latency(recipe: Recipe, context: Context) -> dict[str, float]:
    """Median seconds of a forward pass in eval mode with the recipe's precision and threads: `one` image, a `batch` of LATENCY_BATCH."""
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
