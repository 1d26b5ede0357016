"""The highest rate at which this processor's convolutions run; whole loops are held against it.

A 3×3 convolution, 64 to 64 channels, a large batch, channels_last, forward, in float32 and in
bfloat16, with all threads: the best of a few seconds of calls. A multiply-add counts as two
floating-point operations.

Command: python bench/ceiling.py [--threads 2]         prints GFLOP/s
"""

from __future__ import annotations

import argparse
import time

import torch

from convscope.training import keep_freed_memory

CHANNELS, SIDE, BATCHES = 64, 32, (64, 128, 256)


def rate(dtype: torch.dtype, threads: int, batch: int, seconds: float = 1.0) -> float:
    """FLOP/s of the fastest call."""
    keep_freed_memory()
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    x = (
        torch.randn(batch, CHANNELS, SIDE, SIDE)
        .to(dtype)
        .contiguous(memory_format=torch.channels_last)
    )
    weight = (
        torch.randn(CHANNELS, CHANNELS, 3, 3)
        .to(dtype)
        .contiguous(memory_format=torch.channels_last)
    )
    fastest = float("inf")
    with torch.no_grad():
        until = time.perf_counter() + seconds
        while time.perf_counter() < until:
            started = time.perf_counter()
            torch.conv2d(x, weight, padding=1)
            fastest = min(fastest, time.perf_counter() - started)
    torch.set_num_threads(before)
    return 2 * batch * SIDE * SIDE * CHANNELS * CHANNELS * 9 / fastest


def ceiling(threads: int) -> float:
    """FLOP/s: the best of both precisions and of the batch sizes."""
    return max(
        rate(dtype, threads, batch)
        for dtype in (torch.float32, torch.bfloat16)
        for batch in BATCHES
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    given = parser.parse_args()
    for dtype in (torch.float32, torch.bfloat16):
        rates = ", ".join(
            f"{rate(dtype, given.threads, batch) / 1e9:.0f} (batch {batch})" for batch in BATCHES
        )
        print(f"{str(dtype).removeprefix('torch.')}, {given.threads} threads: {rates} GFLOP/s")


if __name__ == "__main__":
    main()
