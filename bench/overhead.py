"""A run's loop costs at most 3 % more than the bare PyTorch step it wraps.

One epoch of `fit` (convscope/training/loop.py) is held against a loop written by hand. Of `fit`
its train_seconds count; evaluation and recording are not in them. The loop by hand does the same
arithmetic and nothing else: the same network and first weights, the same resident normalised
pixels, fused Adam, the same batches cut beforehand; gather, forward, loss, backward, step. Both run
in turn in one process, with one thread and the precision that convscope chooses on this machine.
Afterwards both networks must have the same test loss.

Then: what `keep_freed_memory` (convscope/training/memory.py) buys the bare loop. It can't be undone
in a process, so each side has processes of its own.

Command: python bench/overhead.py [--images 3200] [--turns 9]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from figures import machine_line, markdown, median, ratios, spread
from torch import Tensor, nn

from convscope.data import load
from convscope.machine import best_numerics
from convscope.models import build
from convscope.recipe import ConvNet, Recipe
from convscope.training import (
    Row,
    State,
    Tensors,
    derived_seed,
    evaluate_splits,
    fit,
    keep_freed_memory,
    to_device,
)

LIMIT = 1.03
MODEL = ConvNet(width=16, depth=3)
BATCHES = (64, 256)
TEST_IMAGES = 1000
MEMORY_IMAGES, MEMORY_TURNS, MEMORY_EPOCHS = 6400, 3, 3  # in bfloat16 over 32 MiB, see memory_child


@dataclass(frozen=True)
class Loops:
    """Times of one batch size, a figure a turn: seconds by the clock and of the processor.

    difference: the largest relative difference of the test losses.
    """

    batch: int
    ours: list[float]
    bare: list[float]
    ours_cpu: list[float]
    bare_cpu: list[float]
    difference: float


@dataclass(frozen=True)
class Memory:
    """Processor seconds an epoch of the bare loop, and page faults a step.

    With freed memory kept in the process, and with it given back.
    """

    batch: int
    kept: list[float]
    given_back: list[float]
    faults_kept: float
    faults_given_back: float


def prepare(recipe: Recipe) -> Tensors:
    """recipe.limit training images and the first TEST_IMAGES test images, resident."""
    tensors = to_device(load("cifar10", val=0.0), recipe)
    rows = {"train": tensors.stored("train"), "test": tensors.stored("test")[:TEST_IMAGES]}
    labels = {**tensors.labels, "test": tensors.labels["test"][:TEST_IMAGES]}
    assert rows["train"].dtype == tensors.dtype, (
        "too many images to keep them normalised: take fewer"
    )
    return replace(tensors, rows=rows, labels=labels)


def bare_epoch(
    net: nn.Module, pixels: Tensor, labels: Tensor, batches: list[Tensor], recipe: Recipe
) -> tuple[float, float]:
    """Seconds by the clock and of the processor of one epoch of plain PyTorch.

    pixels: normalised, N×H×W×C for channels_last, N×C×H×W otherwise.
    """
    last = recipe.layout == "channels_last"
    # torch types `memory_format` for 4-D inputs alone
    net.to(  # pyright: ignore[reportCallIssue]
        memory_format=torch.channels_last if last else torch.contiguous_format
    ).train()
    optimizer = torch.optim.Adam(net.parameters(), lr=recipe.lr, fused=True)
    started, cpu_started = time.perf_counter(), time.process_time()
    for index in batches:
        x = pixels.index_select(0, index)
        with torch.autocast("cpu", torch.bfloat16, enabled=recipe.precision == "bfloat16"):
            out = net(x.permute(0, 3, 1, 2) if last else x)
        loss = F.cross_entropy(out.float(), labels[index])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return time.perf_counter() - started, time.process_time() - cpu_started


def batches_of(count: int, recipe: Recipe) -> list[Tensor]:
    """Indices of the batches that `fit` takes in its first epoch."""
    order = torch.randperm(
        count, generator=torch.Generator().manual_seed(derived_seed(recipe.seed, 1))
    )
    return list(order.tensor_split(-(-count // recipe.batch)))


def bare(tensors: Tensors, recipe: Recipe) -> tuple[float, float, float]:
    """Seconds by the clock and of the processor of the bare loop's epoch, and its test loss.

    The test loss is that of the network that the loop trains.
    """
    count = tensors.count("train")
    net = build(recipe.model, tensors.in_shape, tensors.num_classes, recipe.seed)
    channels, height, width = tensors.in_shape
    shape = (height, width, channels) if recipe.layout == "channels_last" else tensors.in_shape
    pixels = tensors.stored("train").view(count, *shape)
    seconds, cpu = bare_epoch(
        net, pixels, tensors.labels["train"], batches_of(count, recipe), recipe
    )
    return seconds, cpu, evaluate_splits(net, tensors, recipe)[0]["test_loss"] or float("nan")


def ours(tensors: Tensors, recipe: Recipe) -> tuple[float, float, float]:
    """The same of `fit`.

    Its processor seconds are those of the call less those of one more evaluation.
    """
    rows: list[Row] = []

    def log(row: Row, _: State) -> None:
        rows.append(row)

    net = build(recipe.model, tensors.in_shape, tensors.num_classes, recipe.seed)
    started = time.process_time()
    assert fit(net, tensors, recipe, log) == "finished"
    trained = time.process_time()
    evaluate_splits(net, tensors, recipe)
    cpu = trained - started - (time.process_time() - trained)
    seconds, loss = rows[0]["train_seconds"], rows[0]["test_loss"]
    assert seconds is not None and loss is not None
    return seconds, cpu, loss


def compare(recipe: Recipe, turns: int) -> Loops:
    torch.set_num_threads(1)
    keep_freed_memory()
    tensors = prepare(recipe)
    result = Loops(recipe.batch, [], [], [], [], 0.0)
    for warm_up in (ours, bare):
        warm_up(tensors, recipe)
    for turn in range(turns):
        found = {}
        for side in ("ours", "bare") if turn % 2 else ("bare", "ours"):
            found[side] = ours(tensors, recipe) if side == "ours" else bare(tensors, recipe)
            seconds, cpu, _ = found[side]
            getattr(result, side).append(seconds)
            getattr(result, f"{side}_cpu").append(cpu)
        loss, bare_loss = found["ours"][2], found["bare"][2]
        difference = abs(loss - bare_loss) / bare_loss
        assert difference < 1e-3, (
            f"test loss {loss} by fit, {bare_loss} by the bare loop: they don't do the same work"
        )
        result = replace(result, difference=max(result.difference, difference))
    return result


def memory_child(recipe: Recipe, count: int, keep: bool) -> None:
    """In a process of its own: the bare loop, a warm-up and MEMORY_EPOCHS epochs.

    It prints median and page faults a step as JSON. The pixels are random, drawn in one piece:
    blocks of 1 to 32 MiB freed earlier would teach glibc to keep such blocks.
    """
    import resource

    torch.set_num_threads(1)
    if keep:
        assert keep_freed_memory(), "this C library has no mallopt"
    dtype = torch.bfloat16 if recipe.precision == "bfloat16" else torch.float32
    shape = (count, 32, 32, 3) if recipe.layout == "channels_last" else (count, 3, 32, 32)
    pixels = torch.empty(shape, dtype=dtype).normal_()
    batches, labels = batches_of(count, recipe), torch.arange(count) % 10
    net = build(recipe.model, (3, 32, 32), 10)
    bare_epoch(net, pixels, labels, batches, recipe)
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    seconds = [bare_epoch(net, pixels, labels, batches, recipe)[1] for _ in range(MEMORY_EPOCHS)]
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - faults
    print(
        json.dumps({"seconds": median(seconds), "faults": faults / (MEMORY_EPOCHS * len(batches))})
    )


def compare_memory(recipe: Recipe) -> Memory:
    found: dict[str, list[dict[str, float]]] = {"keep": [], "return": []}
    for turn in range(MEMORY_TURNS):
        for side in ("keep", "return") if turn % 2 else ("return", "keep"):
            options = [
                "--memory-child",
                side,
                "--images",
                str(MEMORY_IMAGES),
                "--batch",
                str(recipe.batch),
            ]
            machine = ["--precision", recipe.precision, "--layout", recipe.layout]
            out = subprocess.run(
                [sys.executable, __file__, *options, *machine],
                check=True,
                capture_output=True,
                text=True,
            ).stdout
            found[side].append(json.loads(out))
    seconds = {side: [one["seconds"] for one in all_turns] for side, all_turns in found.items()}
    faults = {
        side: median([one["faults"] for one in all_turns]) for side, all_turns in found.items()
    }
    return Memory(
        recipe.batch, seconds["keep"], seconds["return"], faults["keep"], faults["return"]
    )


def measure(images: int, turns: int) -> tuple[list[Loops], list[Memory], str]:
    """All comparisons, and the precision that was chosen."""
    best = best_numerics("cpu")
    precision, layout = (
        best.precision,
        best.layout,
    )  # both loops by the library, so that the loop alone differs
    base = Recipe(
        model=MODEL,
        epochs=1,
        limit=images,
        val=0.0,
        evaluate=("test",),
        precision=precision,
        layout=layout,
    )
    loops = [compare(replace(base, batch=batch), turns) for batch in BATCHES]
    memory = (
        [compare_memory(replace(base, batch=batch)) for batch in BATCHES]
        if sys.platform.startswith("linux")
        else []
    )
    return loops, memory, f"{precision}, {layout}"


def rows_of(images: int, loops: list[Loops], memory: list[Memory]) -> list[list[str]]:
    """Rows of (what, batch, seconds, ratio) for a table."""
    rows = []
    for one in loops:
        ratio = (
            f"{spread(ratios(one.ours, one.bare), 3)} × bare; "
            f"of processor seconds {spread(ratios(one.ours_cpu, one.bare_cpu), 3)}"
        )
        rows.append(
            [
                f"bare PyTorch loop, {images:,} images, 1 thread",
                str(one.batch),
                spread(one.bare, 3),
                "1",
            ]
        )
        rows.append(
            [
                f"`convscope.training.loop`, {images:,} images, 1 thread",
                str(one.batch),
                spread(one.ours, 3),
                ratio,
            ]
        )
    for one in memory:
        rows.append(
            [
                f"bare loop, {MEMORY_IMAGES:,} images, freed memory kept; processor seconds",
                str(one.batch),
                spread(one.kept, 3),
                f"1 ({one.faults_kept:,.0f} page faults a step)",
            ]
        )
        what = (
            f"{spread(ratios(one.given_back, one.kept))} × kept "
            f"({one.faults_given_back:,.0f} page faults a step)"
        )
        rows.append(
            [
                f"bare loop, {MEMORY_IMAGES:,} images, freed memory given back; processor seconds",
                str(one.batch),
                spread(one.given_back, 3),
                what,
            ]
        )
    return rows


def verdict(loops: list[Loops]) -> tuple[bool, str]:
    """Judged by processor seconds.

    On a quiet machine they are the clock's; on a shared one the clock counts other people's work.
    """
    worst = max(median(ratios(one.ours_cpu, one.bare_cpu)) for one in loops)
    difference = max(one.difference for one in loops)
    return (
        worst <= LIMIT,
        f"worst median ratio of processor seconds {worst:.3f}, wanted at most {LIMIT}; "
        f"test losses differ by {difference:.1e} (relative)",
    )


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=3200)
    parser.add_argument("--turns", type=int, default=9)
    parser.add_argument(
        "--batch", type=int, default=64, help=argparse.SUPPRESS
    )  # the rest: how it calls itself
    parser.add_argument("--memory-child", choices=("keep", "return"), help=argparse.SUPPRESS)
    parser.add_argument("--precision", help=argparse.SUPPRESS)
    parser.add_argument("--layout", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.memory_child:
        recipe = Recipe(
            model=MODEL, batch=given.batch, precision=given.precision, layout=given.layout
        )
        memory_child(recipe, given.images, given.memory_child == "keep")
        return 0
    print(machine_line())
    loops, memory, chosen = measure(given.images, given.turns)
    print(f"16/32/64 filters, {chosen}; seconds: median (least to most, turns)\n")
    print(
        markdown(
            ("what", "batch", "seconds an epoch", "ratio"), rows_of(given.images, loops, memory)
        )
    )
    good, text = verdict(loops)
    print(
        f"\n{text}\ncommand: python bench/overhead.py --images {given.images} --turns {given.turns}"
    )
    return int(not good)


if __name__ == "__main__":
    sys.exit(main())
